"""The store as the runtime sees it: each method is one whole transaction, named by intent.

A write has happened, durably, when its method returns; a cancelled caller does not undo it. What changed reaches the
listeners (`Store.listen`) after the commit and before the method returns. No connection, cursor or open transaction
leaves the store. Every sentence of these docstrings has a test in ``tests/contract``, which runs on each store.

Errors common to all writes: `DiskFull` (nothing was written), `Busy` (the queue stayed full), `StorageFailed` (the
process must stop; whether the last writes happened is unknown).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from tidegate.config.job import Job as Definition
from tidegate.domain.approval import Approval, ApprovalState, Decision, Question, Verdict
from tidegate.domain.entry import Entry
from tidegate.domain.event import Audience
from tidegate.domain.job import Firing, Job, JobOrigin, Rights
from tidegate.domain.run import Failure, Lane, Lease, Run, RunState, Step
from tidegate.domain.session import DueTo, Kind, Outcome, PolicyName, Session, State
from tidegate.domain.snapshot import SkillRef
from tidegate.domain.storage import Group
from tidegate.faults import Area
from tidegate.ids import ApprovalId, BlobHash, RunId, SessionId
from tidegate.redaction import Redaction
from tidegate.store.alerts import ToldAlerts
from tidegate.store.facts import Facts
from tidegate.store.growth import Samples
from tidegate.store.outbox import Outbox
from tidegate.store.segments import Segment
from tidegate.store.tx import Effects, Transition
from tidegate.store.usage import Spending
from tidegate.store.weight import Weight

if TYPE_CHECKING:  # what only a forecast needs
    from tidegate.domain.survey import Survey


from tidegate.store.admission import Admission, Admitted, Attempt, Claimed, Excerpt, Said, Shot
from tidegate.store.context import Context, Renewed, Replacement
from tidegate.store.move import Evictable, Move, Settled
from tidegate.store.tally import StorageBytes, Tallies


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions to list: newest first, below the cursor."""

    kinds: Sequence[Kind] = ()
    states: Sequence[State] = ()
    parent: SessionId | None = None
    agent: str | None = None
    text: str | None = None
    before: str | None = None
    limit: int = 100


Listener = Callable[[Effects], None]


class Store(Protocol):
    """Everything durable."""

    @property
    def redaction(self) -> Redaction:
        """What takes secrets out of texts, at each write; whoever shows a text before it is written uses it too."""

    @property
    def transitions(self) -> Mapping[Transition, int]:
        """How often each transition has happened since the start."""

    @property
    def born(self) -> Mapping[PolicyName, int]:
        """How many sessions of each policy have been created since the start."""

    @property
    def outbox(self) -> Outbox:
        """What is to be sent to webhooks."""

    @property
    def weight(self) -> Weight:
        """What weighs most."""

    @property
    def samples(self) -> Samples:
        """What was measured while the gateway ran."""

    @property
    def spending(self) -> Spending:
        """What models have cost."""

    @property
    def alerts(self) -> ToldAlerts:
        """What the owner is told."""

    @property
    def facts(self) -> Facts:
        """What agents remember."""

    def listen(self, listener: Listener) -> None:
        """Call *listener*, in the event loop, with the effects of each commit, in the order of the commits."""

    async def shed(self) -> None:
        """Forget what can be read again, so that its memory is free."""

    def tell(self, audience: Audience) -> None:
        """Tell *audience* what happens to sessions and runs from now on.

        Plugins are told through the effects of the commit. What webhooks are told is in the outbox exactly if the thing
        has happened and there was room; where there is none, that is counted and nothing is held up.
        """

    # Work ---------------------------------------------------------------------------------------------------------

    async def admit(self, admission: Admission) -> Admitted:
        """Accept a piece of work: a queued run that holds its message until it is claimed.

        An unknown key becomes a session; an archived conversation is restored first. If it interrupts, the open runs of
        a conversation and the children that they wait for are closed in the same transaction. With a known receipt
        nothing is done and the earlier run comes back. A new session has the skills that are offered for its agent; a
        conversation gets them between two turns; any other session keeps those of its birth.

        If it claims, a run that would be claimed next is claimed at once, which saves a commit; it stands in the
        effects.

        Raises:
            SnapshotMissing: The offer lacks bytes that the store needs; nothing was written.
            SessionFinished: The session is ephemeral and completed or archived.
            AgentMismatch: The session belongs to another agent than the one that was named.
            KeyReused, AlreadyDone: The receipt is known with another body; its session has been deleted.
            QueueFull, SessionBusy, TooManySessions, ReceiptsFull: A bound was met; nothing was written.
            TooLarge: A text has more than 16 MiB.
            SpawnRefused: A tree of sub-agents is as large as it may be, or has nothing left to spend.
            FenceLost: The run that asks for a child may not write any more.
            Unavailable: What the work itself brings along as its refusal; nothing was written.
        """

    async def claim(
        self, lane: Lane, *, with_api: bool = True, without: Collection[str] = ()
    ) -> Claimed | None:
        """Take the oldest queued run of a lane whose session has none running, or nothing.

        Those of api sessions can be left out, and those of the agents *without*.
        Its message is appended in the same transaction; its fence is raised; a created session becomes active.
        """

    async def append(self, lease: Lease, step: Step) -> list[Entry]:
        """Append the bodies of one step in order and count what the model's answer took.

        Raises:
            FenceLost: The run has been taken over or closed; nothing was written.
        """

    async def finish(  # noqa: PLR0913 - a run, and what is told of its end
        self,
        lease: Lease,
        outcome: Outcome,
        *,
        step: Step | None = None,
        error: str = "",
        notice: str = "",
        failure: Failure | None = None,
    ) -> Run:
        """Append the last step and close the run; an ephemeral session with nothing open left completes with it.

        Raises:
            FenceLost: The run has been taken over or closed; nothing was written.
        """

    async def compact(self, lease: Lease, replacement: Replacement) -> Entry:
        """Append a summary and put what it takes the place of into segments, in one step.

        Raises:
            FenceLost: The run has been taken over or closed; nothing was written.
            WrongState: The summary or the segments do not follow what is there; nothing was written.
        """

    def running(self) -> list[RunId]:
        """Return every run that is running."""

    def running_below(self, *, session: SessionId | None = None, run: RunId | None = None) -> list[RunId]:
        """Return the running runs that are closed with a session, or with a run."""

    async def cancel_run(self, run: RunId, said: Said = ()) -> Run:
        """Close an open run as cancelled; a message that was not claimed yet still enters the transcript.

        What it, or one below it, *said* last is kept, in the same transaction, if it is still open. Idempotent: a run
        that is done comes back as it is.

        Raises:
            RunNotFound: There is no such run.
        """

    async def wait(self, lease: Lease, questions: Sequence[Question]) -> Run:
        """Put questions to a person and let the run wait: it has no slot, nobody may write to it, its clock stands.

        The run is queued again when all of them are decided, or have expired after the policy's `max_wait_ms`. A run
        that is closed meanwhile takes its questions back.

        Raises:
            FenceLost: The run has been taken over or closed; nothing was written.
            TooManyApprovals: 1,000 questions wait already.
        """

    async def verdict(self, lease: Lease, question: Question, *, is_new: bool) -> Verdict:
        """Say what may become of a call; `Verdict.GO` is said once for each time a person was asked.

        *is_new*: the model has asked for the call just now, so that it cannot have begun.

        Raises:
            FenceLost: The run has been taken over or closed.
        """

    async def decide(self, approval: ApprovalId, decision: Decision) -> Approval:
        """Write a person's word, durably; idempotent. Denying what is always allowed takes that back.

        Raises:
            ApprovalNotFound: There is no such approval.
            AlreadyDecided: It is decided otherwise, or has expired.
            TooManyApprovals: 1,000 calls are always allowed already.
        """

    async def park(self, lease: Lease) -> Run:
        """Let a running run wait until `unpark`: it has no slot and nobody may write to it.

        Its own clock stands meanwhile; its session's deadline holds.

        Raises:
            FenceLost: The run has been taken over or closed; nothing was written.
        """

    async def unpark(self) -> int:
        """Queue a slice of the parked runs again, the oldest first, and say how many that were."""

    async def recover(self) -> int:
        """Queue every running run and every parked one again, after a crash, and say how many there were."""

    async def cancel_unattended(self) -> int:
        """Cancel, after a crash, what began with a request whose client cannot come back, and all below it.

        That is an unnamed api session without a receipt; say how many there were.
        """

    async def set_aside(self, run: RunId, error: str) -> int:
        """Queue a run again that could not be closed, not to be claimed for a while; say how often it has failed."""

    async def set_aside_next(
        self, lane: Lane, *, with_api: bool, without: Collection[str], error: str
    ) -> tuple[RunId, int] | None:
        """Put the run aside that would be claimed next, and return it with how often it has failed."""

    async def give_up(self, run: RunId, error: str) -> None:
        """Close a run as failed that was put aside too often, with a word to its reader."""

    async def set_aside_job(self, name: str, error: str) -> None:
        """Let a job that could not be planned or fired come back later: after a second at first, an hour at last."""

    async def set_aside_session(self, session: SessionId, error: str) -> None:
        """Let a session that could not be moved come back later, likewise."""

    def aside(self, part: Area) -> Mapping[str, str]:
        """Return what is put aside of a part, 1,000 at most, and why."""

    async def rest(self, part: Area, item: str, error: str) -> None:
        """Let what was asked of a model in vain rest: a minute at first, an hour at last, also over restarts."""

    async def rests(self, part: Area, item: str) -> bool:
        """Say whether it is too early to ask again."""

    async def works(self, part: Area, item: str) -> None:
        """Forget that it has failed; nothing is written where it has not."""

    def why_aside(self, part: Area, item: str) -> str | None:
        """Return why something is put aside; None where it is not."""

    # Jobs -----------------------------------------------------------------------------------------------------------

    async def put_job(self, definition: Definition, origin: JobOrigin, creator: str = "") -> Job:
        """Make a job, whose first instant comes after now.

        Raises:
            JobExists: There is one of this name.
            TooManyJobs: There are 20,000, or 20 that models of this creator made.
        """

    async def alter_job(self, name: str, change: Callable[[Definition], Definition]) -> Job:
        """Change what a job is; instants of a new schedule come after now.

        Raises:
            JobNotFound: There is no such job.
            JobInConfig: It stands in the configuration.
        """

    async def pause_job(self, name: str, *, paused: bool) -> Job:
        """Pause a job or let it go on, from now.

        Raises:
            JobNotFound: There is no such job.
        """

    async def remove_job(self, name: str) -> Job:
        """Remove a job with its history, cancel what it has running, and return it as it was.

        Raises:
            JobNotFound: There is no such job.
            JobInConfig: It stands in the configuration.
        """

    async def reconcile_jobs(self, definitions: Sequence[Definition]) -> int:
        """Make the jobs of the configuration match it and say how many were made, changed or removed."""

    async def fire(self, attempts: Sequence[Attempt]) -> list[Shot]:
        """Carry out plans, each in one transaction: the run, the firing, the watermark and the next date.

        (job, instant) is unique and above the watermark: no instant fires twice.
        """

    async def ask_job(self, job: Job, admission: Admission) -> Admitted:
        """Make a run of a job now, beside its schedule.

        Raises:
            JobNotFound: There is no such job.
            WrongState: It has changed since it was read.
            JobRunning: It still runs and may not overlap.
            SnapshotMissing, Refused, Unavailable: What `admit` raises.
        """

    def job(self, name: str) -> Job | None:
        """Return a job."""

    def next_firing(self) -> int | None:
        """Return when the next job is to be looked at."""

    def job_rights(self, session: SessionId, run: RunId | None) -> Rights | None:
        """Return what a run may use because a job has fired it; None if none has."""

    async def jobs(self, after: str, limit: int) -> list[Job]:
        """Return one page of jobs, by name."""

    async def jobs_due(self, until: int, limit: int, *, with_isolated: bool) -> list[Job]:
        """Return jobs that are to be looked at, the longest due first."""

    async def firings(self, job: str, before: int, limit: int) -> list[Firing]:
        """Return one page of what became of a job's instants, newest first; the last 100, and none after 90 days."""

    # A session's life -----------------------------------------------------------------------------------------------

    async def cancel_session(self, session: SessionId, said: Said = ()) -> Session:
        """Close all open runs; an ephemeral session and everything open below it completes as cancelled.

        What is *said* last is kept, in the same transaction.

        Raises:
            SessionNotFound: There is no such session.
        """

    async def pin(self, session: SessionId, *, pinned: bool) -> Session:
        """Stop archiving and deleting, or let them go on: the time of the present state then counts from now.

        Raises:
            SessionNotFound: There is no such session.
        """

    async def restore(self, session: SessionId) -> Session:
        """Bring an archived session back: a conversation becomes active, any other completed, its time from now.

        Raises:
            SessionNotFound: There is no such session.
            WrongState: It is not archived.
            TooManySessions: A conversation would live again above `max_running`.
        """

    async def renew(self, session: SessionId, key: str | None = None) -> Renewed:
        """Let a conversation begin afresh under its key; what was said so far, and what runs there, gets another key.

        With the *key* that it had when that was asked for, who asks at the same time shares it.

        Raises:
            SessionNotFound: There is no such session.
            WrongState: It is no conversation.
            TooManySessions: `max_running` is reached.
        """

    async def fork(self, key: str | None, excerpt: Excerpt) -> Session:
        """Make a chat that begins with a part of another conversation, which stays as it is; None makes a key.

        Raises:
            SessionExists: The key is taken.
            SessionNotFound: The original has gone meanwhile.
            TooManySessions: `max_running` is reached.
        """

    async def settle(self, moves: Sequence[Move]) -> list[Settled]:
        """Carry out moves, each conditional on its session being as it was read.

        By date, a live session's date is asked again. A move to completed closes the open runs and raises their
        fences (of a conversation, the run that has the turn alone); to archived needs the segments of all hot
        entries; to deleted takes the lowest session first. Nothing running or pinned is archived or deleted; what is
        refused comes back in 30 s.
        """

    async def postpone(self, session: SessionId) -> None:
        """Let a move that failed come back in 30 s, so that it cannot starve the rest."""

    async def doom(self, sessions: Sequence[SessionId]) -> int:
        """Date finished sessions for deletion now, to make room, and say how many that were.

        A chat, what is pinned, has work of its own open or something running or pinned below it, is passed over.
        """

    async def freeze(self, session: SessionId, segments: Sequence[Segment]) -> Settled:
        """Put the oldest hot entries of a session into segments while it lives on."""

    async def trim(self, session: SessionId) -> bool:
        """Verify segments against hot rows and remove up to 500 of these; say whether more are left.

        Raises:
            Corrupt: A segment does not hold what the rows hold; they stay.
        """

    async def redate(self, policy: PolicyName, after: SessionId | None) -> SessionId | None:
        """Recompute dates and caps of the next slice of sessions of a policy; None after the last one."""

    async def tidy(self) -> int:
        """Forget what has expired: receipts, daily usage older than 90 days, decided approvals, dead deliveries, facts.

        Deliveries older than 3 days are given up. Questions that nobody has answered in time are closed as expired.
        Say how many rows that were.
        """

    async def compact_file(self) -> bool:
        """Give one slice of free pages back to the disk; say whether there are more."""

    # Reads ----------------------------------------------------------------------------------------------------------

    def session(self, key: str) -> Session | None:
        """Return the head of a session; the same object while it does not change."""

    def newest_key(self) -> str | None:
        """Return the key of the newest session, if there is any."""

    def key_of(self, session: SessionId | None) -> str | None:
        """Return the key of a session that is there, whether or not the rest of its head can be read."""

    def session_by_id(self, session: SessionId) -> Session | None:
        """Return the head of a session by its id; the same object while it does not change."""

    def run(self, run: RunId) -> Run | None:
        """Return a run."""

    def open_runs(self, session: SessionId) -> list[Run]:
        """Return the queued, running and waiting runs of a session, oldest first."""

    def queued(self) -> Collection[Lane]:
        """Return the lanes in which runs are queued."""

    def tallies(self) -> Tallies:
        """Return the counts."""

    def meta(self, key: str) -> str | None:
        """Return a remembered value."""

    async def remember(self, key: str, value: str) -> None:
        """Keep a value for `meta`."""

    def next_due(self, *, with_deletes: bool) -> int | None:
        """Return the earliest date of all sessions."""

    async def due(self, until: int, limit: int, *, with_deletes: bool) -> list[Session]:
        """Return sessions whose date is not after *until*, the longest due first."""

    async def due_counts(self, until: int, *, with_deletes: bool) -> dict[DueTo, int]:
        """Count the sessions whose date is not after *until*, by where they go."""

    async def evictable(self, group: Group, after: SessionId, before: int, limit: int) -> list[Evictable]:
        """Return finished sessions of a group that nobody has pinned, in the order of their birth, after one of them.

        None that has ended, or been restored, since *before* is among them.
        """

    async def trims(self, after: SessionId, limit: int) -> list[SessionId]:
        """Return archived sessions whose hot rows are still there."""

    async def idle_longest(self) -> Session | None:
        """Return the named api session that has been idle longest and may be archived."""

    async def sessions(self, page: Page) -> list[Session]:
        """Return one page of sessions, newest first."""

    async def entries(self, session: SessionId, after: int, limit: int) -> list[Entry]:
        """Return entries after a seq in order, from segments and rows alike; a page ends early at 4 MiB."""

    async def context(self, session: SessionId, max_bytes: int) -> Context:
        """Return what a model reads: of the entries after the summary the newest, up to *max_bytes* of bodies."""

    async def excerpt(self, session: SessionId, before: int, max_bytes: int) -> Excerpt:
        """Pack what a model read before an entry, up to *max_bytes* of bodies from a user's message on.

        Raises:
            SessionNotFound: There is no such session.
            BadRequest: There is no such entry, nor is it the next one.
        """

    async def pack(self, session: SessionId, max_bytes: int, through: int | None = None) -> list[Segment]:
        """Compress the oldest hot entries into segments, about *max_bytes* of them or up to a seq; nothing is written.

        Raises:
            Corrupt: A row does not match its checksum.
        """

    async def runs(
        self, *, state: RunState | None, session: SessionId | None, before: int, limit: int
    ) -> list[Run]:
        """Return one page of runs, newest first."""

    async def approvals(
        self, *, state: ApprovalState | None, session: SessionId | None, before: str | None, limit: int
    ) -> list[Approval]:
        """Return one page of approvals, newest first."""

    def blob_size(self, name: BlobHash) -> int:
        """Return how many bytes a blob has.

        Raises:
            BlobNotFound: There is no such blob.
        """

    async def blob_part(self, name: BlobHash, first: int) -> bytes:
        """Return up to 1 MiB of a blob from chunk *first* on (64 KiB each); nothing after its end."""

    async def blob(self, name: BlobHash) -> bytes:
        """Return all of a blob, verified.

        Raises:
            BlobNotFound, Corrupt: There is no such blob; its bytes do not match its name.
        """

    async def skills(self, snapshot: str) -> list[SkillRef]:
        """Return the skills of a snapshot by name; a snapshot that is not there has none."""

    async def storage(self) -> StorageBytes:
        """Measure the disk."""

    @property
    def live_bytes(self) -> int:
        """Return how much is in use, and on its way to being so; it costs nothing."""

    @property
    def reserve_bytes(self) -> int | None:
        """Return how much is kept back for deleting on a full disk; None while it is out.

        It is out from the moment at which deleting needed it until there is room again. Meanwhile every write that
        brings texts is refused as `DiskFull`.
        """

    async def keep_reserve(self, size: int) -> bool:
        """Keep *size* bytes of the disk back, less where there is little room; say whether any are."""

    async def survey(self, now: int) -> "Survey":
        """Return what a forecast needs to know; what that costs is bounded, whatever is stored."""

    async def orphans(self) -> dict[str, int]:
        """Count what has lost its owner, by type; every count is 0 unless somebody wrote past the store."""
