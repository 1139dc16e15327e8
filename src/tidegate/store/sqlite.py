"""The embedded store: SQLite in one folder, one writer thread, a few readers. Its contract stands in ``port.py``."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import apsw
import msgspec

from tidegate.bounded import OLDEST_GOES, LruCache, Registry
from tidegate.clock import Clock
from tidegate.config.job import Job as Definition
from tidegate.domain.approval import Approval, ApprovalState, Decision, Question, Verdict
from tidegate.domain.entry import Assistant, Body, Call, Entry, Summary, opaque_of, text_bytes
from tidegate.domain.event import Audience
from tidegate.domain.job import Firing, Job, JobOrigin, Rights
from tidegate.domain.outbox import Letter
from tidegate.domain.policy import Policies
from tidegate.domain.run import Failure, Lane, Lease, Run, RunState, Step
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session
from tidegate.domain.snapshot import SkillRef
from tidegate.domain.storage import Group
from tidegate.errors import Corrupt, StorageFailed, StoreBroken
from tidegate.faults import Area, Faults, words
from tidegate.ids import ApprovalId, BlobHash, RunId, SessionId
from tidegate.redaction import Redaction
from tidegate.store import (
    approvals,
    aside,
    blobs,
    compactions,
    conversations,
    eviction,
    excerpts,
    file,
    firings,
    jobs,
    lists,
    marker,
    orphans,
    replacement,
    retention,
    roster,
    rows,
    runs,
    sessions,
    snapshots,
    transcript,
    vectors,
    waits,
)
from tidegate.store.admission import Admission, Admitted, Attempt, Claimed, Ending, Excerpt, Said, Shot
from tidegate.store.alerts import ToldAlerts
from tidegate.store.connection import (
    ReaderSlots,
    SqliteReads,
    check_library,
    open_reader,
    open_writer,
    shrink,
)
from tidegate.store.context import Context, Renewed, Replacement
from tidegate.store.facts import Facts
from tidegate.store.growth import Samples
from tidegate.store.migrate import check_version, migrate
from tidegate.store.move import Evictable, Move, Settled
from tidegate.store.outbox import Outbox, letter
from tidegate.store.port import Listener, Page
from tidegate.store.reserve import NAME as RESERVE
from tidegate.store.reserve import Reserve, checkpoint_pages
from tidegate.store.segments import Segment
from tidegate.store.tally import StorageBytes, Tallies
from tidegate.store.tx import Effects, Reads, Transition, Tx
from tidegate.store.usage import Spending
from tidegate.store.weight import Weight
from tidegate.store.writer import MAX_JOBS, Writer, translate
from tidegate.threads import on_thread

if TYPE_CHECKING:  # what only a forecast needs
    from tidegate.domain.survey import Survey

T = TypeVar("T")

NAME = "tidegate.db"
READERS = 2
CACHE_BYTES = 4 << 20
HEAD_BYTES = 1_000  # a head without its key and title
INLINE_BYTES = 128 << 10  # up to here a transcript is read in less time than a thread takes to wake
BLOB_PART_CHUNKS = 16  # 1 MiB


class SqliteStore:
    """The store of one gateway; build it with `SqliteStore.open`."""

    def __init__(self, path: Path, writer: Writer, registry: Registry, faults: Faults) -> None:
        self.path = path
        self._identity = _identity(path)
        self._faults = faults
        writer.on_fault = partial(faults.count, Area.STORE)
        self.writer = writer
        self.transitions: Counter[Transition] = Counter()
        self.born: Counter[PolicyName] = Counter()
        #: takes secrets out of whatever is written
        self.redaction = Redaction()
        self._listeners: list[Listener] = []
        self._inline = _InlineReads(open_reader(path), self._damage)
        self._readers = ReaderSlots(path, READERS)
        self.outbox = Outbox(writer.write, self._read, self._readable_deliveries)
        self.facts = Facts(writer.write, self._read, self._inline, self.redaction)
        self.weight = Weight(self._read)
        self.samples = Samples(writer.write, self._read)
        self.spending = Spending(self._read)
        self.alerts = ToldAlerts(writer.write, self._read)
        self._limiter = anyio.CapacityLimiter(READERS)
        self._heads: LruCache[str, Session] = LruCache(CACHE_BYTES, _head_size)
        registry.add(
            "session_heads", lambda: self._heads.bytes, CACHE_BYTES, when_full=OLDEST_GOES, is_bytes=True
        )
        registry.add(
            "writes_foreground", lambda: len(writer.foreground.jobs), MAX_JOBS, when_full="callers wait"
        )
        registry.add(
            "writes_background", lambda: len(writer.background.jobs), MAX_JOBS, when_full="callers wait"
        )

    @classmethod
    async def open(
        cls,
        folder: Path,
        clock: Clock,
        policies: Policies,
        registry: Registry,
        faults: Faults | None = None,
    ) -> "SqliteStore":
        """Open the store in a folder, creating or migrating it; what it costs does not depend on what is stored.

        Raises:
            StorageFailed, DiskReadOnly: The file cannot be opened or written, or there was one and it is gone.
            ConfigError: It was written by a release too far ahead.
        """
        check_library()
        path = folder / NAME
        reserve = Reserve(folder / RESERVE)
        publish: list[Callable[[Effects], None]] = []
        try:
            replacement.settle(path)
            reserve.make_way()
            marker.check(path)
            _look_first(path)
            path.touch(mode=0o600)  # the log gets the mode of the main file
            connection = open_writer(path)
            migrate(connection, folder / "backups")
            marker.leave(path)
        except apsw.Error as error:
            raise translate(error) from error
        except OSError as error:
            raise StorageFailed(f"{path}: {error.strerror}") from error
        tell = lambda effects: publish[0](effects)  # noqa: E731, PLW0108 - filled below
        writer = Writer(connection, clock, policies, tell, reserve)
        store = cls(path, writer, registry, faults or Faults(clock))
        publish.append(store._publish)
        return store

    def check_place(self) -> None:
        """See that the file that is written to is still the one that the next start will find.

        Raises:
            StoreBroken: It was removed, or another one is in its place.
        """
        if _identity(self.path) != self._identity:
            raise StoreBroken(
                f"{str(self.path)!r} was removed or replaced while the gateway was running",
                hint="what was written since then is lost; `tidegate restore FILE` brings a backup back",
            )

    async def close(self) -> None:
        """Finish what is queued and close every connection; the log is folded into the main file."""
        self._readers.close()
        self._inline.connection.close()
        await self.writer.close()

    async def shed(self) -> None:
        """Forget heads and pages."""
        self._heads.clear()
        self._inline.shrink()
        self._readers.shrink()
        await self.writer.maintain(shrink)

    def load_vectors(self) -> None:
        """Let reads compare vectors; called before anybody reads on a thread.

        Raises:
            ConfigError: What that takes is not installed.
        """
        self._readers.load(vectors.extension())

    def listen(self, listener: Listener) -> None:
        """Call *listener* with the effects of each commit."""
        self._listeners.append(listener)

    def tell(self, audience: Audience) -> None:
        """Tell *audience* what happens to sessions and runs."""
        self.writer.audience = audience

    async def _clean(self, bodies: Sequence[Body]) -> Sequence[Body]:
        """Take secrets out of what is to be written; what takes long is done on a thread."""
        if sum(len(body.text) + len(opaque_of(body)) for body in bodies) > INLINE_BYTES:
            return await on_thread(partial(clean, self.redaction, bodies))
        return clean(self.redaction, bodies)

    async def _clean_said(self, said: Said) -> Said:
        return [
            (lease, msgspec.structs.replace(step, bodies=await self._clean(step.bodies)))
            for lease, step in said
        ]

    def _asked(self, question: Question) -> Question:
        return msgspec.structs.replace(question, arguments=self.redaction(question.arguments))

    # Work -----------------------------------------------------------------------------------------------------------

    async def admit(self, admission: Admission) -> Admitted:
        """Accept a piece of work."""
        title = admission.birth.title
        admission = msgspec.structs.replace(
            admission,
            bodies=await self._clean(admission.bodies),
            birth=msgspec.structs.replace(admission.birth, title=title and self.redaction(title)),
        )
        offered = admission.skills.bodies.values() if admission.skills else ()
        size = _size(admission.bodies) + sum(map(len, offered))
        return await self.writer.write(partial(runs.admit, admission=admission), size=size)

    async def claim(
        self, lane: Lane, *, with_api: bool = True, without: Collection[str] = ()
    ) -> Claimed | None:
        """Take the oldest run that may run."""
        return await self.writer.write(partial(runs.claim, lane=lane, with_api=with_api, without=without))

    async def append(self, lease: Lease, step: Step) -> list[Entry]:
        """Append one step."""
        step = msgspec.structs.replace(step, bodies=await self._clean(step.bodies))
        return await self.writer.write(partial(runs.append, lease=lease, step=step), size=_size(step.bodies))

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
        """Append the last step and close the run."""
        if step is not None:
            step = msgspec.structs.replace(step, bodies=await self._clean(step.bodies))
        error, notice = self.redaction(error), self.redaction(notice)
        ending = Ending(outcome=outcome, step=step, error=error, notice=notice, failure=failure)
        size = _size(step.bodies) if step else 0
        return await self.writer.write(partial(runs.finish, lease=lease, ending=ending), size=size)

    async def compact(self, lease: Lease, replacement: Replacement) -> Entry:
        """Let a summary take the place of older entries."""
        [summary] = await self._clean([replacement.summary])
        if isinstance(summary, Summary):
            replacement = msgspec.structs.replace(replacement, summary=summary)
        size = text_bytes(replacement.summary) + sum(len(one.body) for one in replacement.segments)
        operation = partial(compactions.compact, lease=lease, replacement=replacement)
        return await self.writer.write(operation, size=size)

    def running(self) -> list[RunId]:
        """Return every run that is running."""
        return [RunId(row[0]) for row in self._inline.all("running")]

    def running_below(self, *, session: SessionId | None = None, run: RunId | None = None) -> list[RunId]:
        """Return the running runs that are closed with a session, or with a run."""
        return [RunId(row[0]) for row in self._inline.all("running_below", session=session, run=run)]

    async def cancel_run(self, run: RunId, said: Said = ()) -> Run:
        """Close an open run as cancelled."""
        said = await self._clean_said(said)
        return await self._relief(partial(runs.cancel_run, run_id=run, said=said))

    async def wait(self, lease: Lease, questions: Sequence[Question]) -> Run:
        """Let a run wait for a person's word on some calls."""
        asked = [self._asked(question) for question in questions]
        return await self.writer.write(partial(approvals.wait, lease=lease, questions=asked))

    async def verdict(self, lease: Lease, question: Question, *, is_new: bool) -> Verdict:
        """Say what may become of a call."""
        operation = partial(approvals.verdict, lease=lease, question=self._asked(question), is_new=is_new)
        return await self.writer.write(operation)

    async def decide(self, approval: ApprovalId, decision: Decision) -> Approval:
        """Write a person's word."""
        return await self.writer.write(partial(approvals.decide, approval_id=approval, decision=decision))

    async def park(self, lease: Lease) -> Run:
        """Let a running run wait until it is let go."""
        return await self.writer.write(partial(waits.park, lease=lease))

    async def unpark(self) -> int:
        """Queue a slice of the parked runs again."""
        return await self.writer.write(waits.unpark)

    async def set_aside(self, run: RunId, error: str) -> int:
        """Queue a run again that could not be closed."""
        return await self._relief(partial(aside.run, run_id=run, error=error))

    async def set_aside_next(
        self, lane: Lane, *, with_api: bool, without: Collection[str], error: str
    ) -> tuple[RunId, int] | None:
        """Put the run aside that would be claimed next."""
        return await self._relief(
            partial(aside.next_run, lane=lane, with_api=with_api, without=without, error=error)
        )

    async def give_up(self, run: RunId, error: str) -> None:
        """Close a run as failed."""
        with self._faults.wall(Area.RUNNER, run) as wall:
            await self._relief(partial(aside.give_up, run_id=run, error=error))
        if wall.error is not None:
            await self._relief(partial(aside.drop, run_id=run, error=error))

    async def set_aside_job(self, name: str, error: str) -> None:
        """Let a job come back later."""
        await self._relief(partial(aside.job, name=name, error=error))

    async def set_aside_session(self, session: SessionId, error: str) -> None:
        """Let a session that is due come back later."""
        await self._relief(partial(aside.session, session_id=session, error=error))

    async def rest(self, part: Area, item: str, error: str) -> None:
        """Let what was in vain rest."""
        await self.writer.write(partial(aside.rest, part=part, item=item, error=error))

    async def rests(self, part: Area, item: str) -> bool:
        """Say whether it is too early to try again."""
        return await self.writer.write(partial(aside.rests, part=part, item=item))

    async def works(self, part: Area, item: str) -> None:
        """Forget that it has failed."""
        if self.why_aside(part, item) is not None:
            await self.writer.write(partial(aside.works, part=part, item=item))

    def aside(self, part: Area) -> Mapping[str, str]:
        """Return what is put aside of a part, and why."""
        return {row[0]: row[1] for row in self._inline.all("aside_of_part", part=part)}

    def why_aside(self, part: Area, item: str) -> str | None:
        """Return why something is put aside."""
        row = self._inline.one("aside_of", part=part, item=item)
        return row[0] if row else None

    async def recover(self) -> int:
        """Queue every running run again."""
        return await self._relief(runs.recover)

    async def cancel_unattended(self) -> int:
        """Cancel what began with a request whose client cannot come back."""
        found = await self._read(runs.unattended)
        with self._faults.wall(Area.RUNNER):
            await self.writer.write_each(
                [partial(runs.cancel_session, session_id=session) for session in found],
                is_background=False,
                is_relief=True,
            )
        return len(found)

    # Jobs -----------------------------------------------------------------------------------------------------------

    async def put_job(self, definition: Definition, origin: JobOrigin, creator: str = "") -> Job:
        """Make a job."""
        definition = msgspec.structs.replace(definition, prompt=self.redaction(definition.prompt))
        operation = partial(jobs.put, definition=definition, origin=origin, creator=creator)
        return await self.writer.write(operation)

    async def alter_job(self, name: str, change: Callable[[Definition], Definition]) -> Job:
        """Change what a job is."""

        def changed(definition: Definition) -> Definition:
            after = change(definition)
            return msgspec.structs.replace(after, prompt=self.redaction(after.prompt))

        return await self.writer.write(partial(jobs.alter, name=name, change=changed))

    async def pause_job(self, name: str, *, paused: bool) -> Job:
        """Pause a job or let it go on."""
        return await self.writer.write(partial(jobs.pause, name=name, paused=paused))

    async def remove_job(self, name: str) -> Job:
        """Remove a job."""
        return await self._relief(partial(roster.remove, name=name))

    async def reconcile_jobs(self, definitions: Sequence[Definition]) -> int:
        """Make the jobs of the configuration match it."""
        cleaned = [
            msgspec.structs.replace(definition, prompt=self.redaction(definition.prompt))
            for definition in definitions
        ]
        return await self.writer.write(partial(roster.reconcile, definitions=cleaned))

    async def fire(self, attempts: Sequence[Attempt]) -> list[Shot]:
        """Carry out plans; they share commits."""
        operations = [partial(firings.fire, attempt=attempt) for attempt in attempts]
        return await self.writer.write_each(operations, is_background=True)

    async def ask_job(self, job: Job, admission: Admission) -> Admitted:
        """Make a run of a job now."""
        return await self.writer.write(partial(firings.ask, known=job, admission=admission))

    # A session's life -----------------------------------------------------------------------------------------------

    async def cancel_session(self, session: SessionId, said: Said = ()) -> Session:
        """Close all that is open in a session."""
        said = await self._clean_said(said)
        return await self._relief(partial(runs.cancel_session, session_id=session, said=said))

    async def pin(self, session: SessionId, *, pinned: bool) -> Session:
        """Pin or unpin a session."""
        return await self.writer.write(partial(sessions.pin, session_id=session, pinned=pinned))

    async def restore(self, session: SessionId) -> Session:
        """Bring an archived session back."""
        return await self.writer.write(partial(sessions.restore, session_id=session))

    async def renew(self, session: SessionId, key: str | None = None) -> Renewed:
        """Let a conversation begin afresh."""
        return await self.writer.write(partial(conversations.renew, session_id=session, key=key))

    async def fork(self, key: str | None, excerpt: Excerpt) -> Session:
        """Make a chat out of a part of another conversation."""
        size = sum(len(one.body) for one in excerpt.segments)
        return await self.writer.write(partial(conversations.fork, key=key, excerpt=excerpt), size=size)

    async def settle(self, moves: Sequence[Move]) -> list[Settled]:
        """Carry out moves; they share commits, and one that fails does not hold the others."""
        operations = [partial(retention.settle, move=move, rules=self.facts.rules) for move in moves]
        return await self.writer.write_each(operations, is_background=True, is_relief=True)

    async def doom(self, sessions: Sequence[SessionId]) -> int:
        """Date finished sessions for deletion now."""
        return await self._background(partial(eviction.doom, chosen=sessions))

    async def postpone(self, session: SessionId) -> None:
        """Let a failed move come back later."""
        await self._background(partial(retention.postpone, session_id=session))

    async def freeze(self, session: SessionId, segments: Sequence[Segment]) -> Settled:
        """Put the oldest hot entries into segments."""
        return await self._background(partial(retention.freeze, session_id=session, segments=list(segments)))

    async def trim(self, session: SessionId) -> bool:
        """Remove hot rows that segments hold."""
        through = await self._read(partial(transcript.check_segments, session_id=session))
        return await self._background(partial(retention.trim, session_id=session, through=through))

    async def redate(self, policy: PolicyName, after: SessionId | None) -> SessionId | None:
        """Recompute the dates of a slice of sessions."""
        return await self._background(partial(retention.redate, name=policy, after=after))

    async def tidy(self) -> int:
        """Forget what has expired."""
        return await self._background(partial(retention.tidy, rules=self.facts.rules))

    async def compact_file(self) -> bool:
        """Give free pages back to the disk."""
        return await self.writer.maintain(partial(file.compact, path=self.path))

    async def fold(self) -> None:
        """Fold the log into the main file, whose size then says all there is to say; not while somebody reads."""
        await self.writer.maintain(file.fold)

    async def remember(self, key: str, value: str) -> None:
        """Keep a value."""
        await self.writer.write(lambda tx: tx.run("meta_kept", key=key, value=value))

    # Reads inline: by primary key, in the loop ----------------------------------------------------------------------

    def session(self, key: str) -> Session | None:
        """Return the head of a session."""
        head = self._heads.get(key)
        if head is None:
            row = self._inline.one("session_by_key", key=key)
            if row is not None:
                head = rows.session(row)
                self._heads.put(key, head)
        return head

    def newest_key(self) -> str | None:
        """Return the key of the newest session."""
        row = self._inline.one("newest_key")
        return row[0] if row else None

    def key_of(self, session: SessionId | None) -> str | None:
        """Return the key of a session, whether or not the rest of its head can be read."""
        row = self._inline.one("session_by_id", id=session) if session else None
        return row[1] if row else None

    def session_by_id(self, session: SessionId) -> Session | None:
        """Return the head of a session by its id."""
        row = self._inline.one("session_by_id", id=session)
        return self.session(row[1]) if row else None

    def run(self, run: RunId) -> Run | None:
        """Return a run."""
        row = self._inline.one("run_by_id", id=run)
        return rows.run(row) if row else None

    def open_runs(self, session: SessionId) -> list[Run]:
        """Return the open runs of a session."""
        return [rows.run(row) for row in self._inline.all("open_runs", session=session)]

    def queued(self) -> Collection[Lane]:
        """Return the lanes with queued runs."""
        return [Lane(row[0]) for row in self._inline.all("queued")]

    def tallies(self) -> Tallies:
        """Return the counts."""
        return lists.tallies(self._inline)

    def meta(self, key: str) -> str | None:
        """Return a remembered value."""
        row = self._inline.one("meta", key=key)
        return row[0] if row else None

    def next_due(self, *, with_deletes: bool) -> int | None:
        """Return the earliest date."""
        row = self._inline.one("next_due", with_deletes=with_deletes)
        return row[0] if row else None

    def blob_size(self, name: BlobHash) -> int:
        """Return how many bytes a blob has."""
        return blobs.size(self._inline, name)

    def job(self, name: str) -> Job | None:
        """Return a job."""
        row = self._inline.one("job_by_name", name=name)
        return rows.job(row) if row else None

    def next_firing(self) -> int | None:
        """Return when the next job is to be looked at."""
        row = self._inline.one("next_firing")
        return row[0] if row else None

    def job_rights(self, session: SessionId, run: RunId | None) -> Rights | None:
        """Return what a run may use because a job has fired it."""
        return jobs.rights(self._inline, session, run)

    # Reads on a thread ----------------------------------------------------------------------------------------------

    async def due(self, until: int, limit: int, *, with_deletes: bool) -> list[Session]:
        """Return sessions that are due."""
        while found := await self._all("due", until=until, limit=limit, with_deletes=with_deletes):
            readable = await self._readable(found, rows.session, Area.SWEEP, self.set_aside_session)
            if readable:
                return readable
        return []

    async def due_counts(self, until: int, *, with_deletes: bool) -> dict[DueTo, int]:
        """Count what is due."""
        found = await self._all("due_counts", until=until, with_deletes=with_deletes)
        return {DueTo(due_to): count for due_to, count in found}

    async def evictable(self, group: Group, after: SessionId, before: int, limit: int) -> list[Evictable]:
        """Return finished sessions that may go."""
        return await self._read(
            partial(eviction.evictable, group=group, after=after, before=before, limit=limit)
        )

    async def trims(self, after: SessionId, limit: int) -> list[SessionId]:
        """Return sessions whose hot rows are to go."""
        return [SessionId(row[0]) for row in await self._all("trims", after=after, limit=limit)]

    async def idle_longest(self) -> Session | None:
        """Return the named api session idle longest."""
        while found := await self._all("idle_longest"):
            readable = await self._readable(found, rows.session, Area.SWEEP, self.set_aside_session)
            if readable:
                return readable[0]
        return None

    async def sessions(self, page: Page) -> list[Session]:
        """Return one page of sessions."""
        return await self._page(partial(lists.sessions, page=page))

    async def entries(self, session: SessionId, after: int, limit: int) -> list[Entry]:
        """Return entries after a seq."""
        operation = partial(transcript.page, session=session, after=after, limit=limit)
        found = self._short(operation, session)
        return await self._read(operation) if found is None else found

    async def context(self, session: SessionId, max_bytes: int) -> Context:
        """Return what a model reads."""
        operation = partial(transcript.context, session=session, max_bytes=max_bytes)
        found = self._short(operation, session)
        return await self._read(operation) if found is None else found

    async def excerpt(self, session: SessionId, before: int, max_bytes: int) -> Excerpt:
        """Pack what a model read before an entry."""
        return await self._read(
            partial(excerpts.excerpt, session=session, before=before, max_bytes=max_bytes)
        )

    async def pack(self, session: SessionId, max_bytes: int, through: int | None = None) -> list[Segment]:
        """Compress the oldest hot entries."""
        operation = partial(transcript.pack, session=session, max_bytes=max_bytes, through=through)
        return await self._read(operation)

    async def runs(
        self, *, state: RunState | None, session: SessionId | None, before: int, limit: int
    ) -> list[Run]:
        """Return one page of runs."""
        return await self._page(partial(lists.runs, state=state, session=session, before=before, limit=limit))

    async def approvals(
        self, *, state: ApprovalState | None, session: SessionId | None, before: str | None, limit: int
    ) -> list[Approval]:
        """Return one page of approvals."""
        operation = partial(lists.approvals, state=state, session=session, before=before, limit=limit)
        return await self._page(operation)

    async def jobs(self, after: str, limit: int) -> list[Job]:
        """Return one page of jobs."""
        return await self._page(partial(lists.jobs, after=after, limit=limit))

    async def jobs_due(self, until: int, limit: int, *, with_isolated: bool) -> list[Job]:
        """Return jobs that are to be looked at."""
        while found := await self._all("jobs_due", until=until, limit=limit, with_isolated=with_isolated):
            readable = await self._readable(found, rows.job, Area.JOBS, self.set_aside_job)
            if readable:
                return readable
        return []

    async def firings(self, job: str, before: int, limit: int) -> list[Firing]:
        """Return one page of a job's history."""
        return await self._page(partial(lists.firings, job=job, before=before, limit=limit))

    async def blob_part(self, name: BlobHash, first: int) -> bytes:
        """Return up to 1 MiB of a blob."""
        return await self._read(partial(blobs.part, name=name, first=first, limit=BLOB_PART_CHUNKS))

    async def blob(self, name: BlobHash) -> bytes:
        """Return all of a blob."""
        return await self._read(partial(blobs.whole, name=name))

    async def skills(self, snapshot: str) -> list[SkillRef]:
        """Return the skills of a snapshot."""
        return await self._read(partial(snapshots.skills, snapshot=snapshot))

    async def storage(self) -> StorageBytes:
        """Measure the disk."""
        tallies = self.tallies()
        size = await self._read(lambda reads: file.measure(reads, self.path))
        return StorageBytes(
            live=size.live,
            main=size.main,
            wal=size.wal,
            free=size.free,
            blobs=tallies.blob_bytes,
            segments=tallies.segment_bytes,
        )

    @property
    def live_bytes(self) -> int:
        """Return how much is in use, and on its way to being so."""
        return self.writer.live_bytes + self.writer.foreground.bytes

    @property
    def reserve_bytes(self) -> int | None:
        """Return how much is kept back."""
        return None if self.writer.reserve.is_out else self.writer.reserve.held_bytes

    async def keep_reserve(self, size: int) -> bool:
        """Keep some of the disk back."""
        return await self.writer.maintain(partial(_keep, reserve=self.writer.reserve, size=size))

    async def survey(self, now: int) -> "Survey":
        """Return what a forecast needs to know."""
        from tidegate.store import survey  # noqa: PLC0415 - only a forecast asks

        return await self._read(partial(survey.take, policies=self.writer.policies, now=now))

    async def orphans(self) -> dict[str, int]:
        """Count what has lost its owner."""
        return await self._read(orphans.count)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _publish(self, effects: Effects) -> None:
        for key, head in effects.heads.items():
            held = self._heads.get(key)
            if head is None:
                self._heads.drop(key)
            elif held is None or held.id != head.id or held.version < head.version:
                self._heads.put(key, head)
        if effects.transitions:
            self.transitions.update(effects.transitions)
        if effects.born:
            self.born.update(effects.born)
        for listener in self._listeners:
            with self._faults.wall(Area.STORE, type(getattr(listener, "__self__", listener)).__name__):
                listener(effects)

    async def _page(self, operation: Callable[..., list[T]]) -> list[T]:
        """Read a page; what of it cannot be read is counted."""
        damaged: list[Corrupt] = []
        found = await self._read(partial(operation, damaged=damaged.append))
        for error in damaged:
            self._faults.count(Area.STORE, error)
        return found

    async def _readable(
        self,
        found: Sequence[rows.Row],
        read: Callable[[rows.Row], T],
        part: Area,
        set_aside: Callable[[Any, str], Awaitable[None]],
    ) -> list[T]:
        """Return what can be read; what cannot is put aside, so that it holds up nothing behind it."""
        readable: list[T] = []
        for row in found:
            with self._faults.wall(part, str(row[0])) as wall:
                readable.append(read(row))
            if wall.error is not None:
                await set_aside(row[0], words(wall.error))
        return readable

    async def _readable_deliveries(self, found: Sequence[rows.Row]) -> list[Letter]:
        """Return the deliveries that can be read, with what is sent."""

        async def set_aside(number: int, error: str) -> None:
            await self._relief(partial(aside.delivery, number=number, error=error))

        return await self._readable(found, letter, Area.OUTBOX, set_aside)

    async def _background(self, operation: Callable[[Tx], T]) -> T:
        return await self.writer.write(operation, is_background=True, is_relief=True)

    async def _relief(self, operation: Callable[[Tx], T]) -> T:
        """Carry out what makes room, or is small and must not wait for it."""
        return await self.writer.write(operation, is_relief=True)

    async def _all(self, query: str, **values: rows.Value) -> list[rows.Row]:
        return await self._read(lambda reads: reads.all(query, **values))

    def _short(self, operation: Callable[[Reads], T], session: SessionId) -> T | None:
        """Read a transcript inline if it is short and none of it is compressed; None if it is for a thread."""
        try:
            with self._inline.snapshot():
                row = self._inline.one("session_by_id", id=session)
                head = rows.session(row) if row else None
                is_short = head is not None and head.bytes <= INLINE_BYTES and not head.cold_through
                return operation(self._inline) if is_short else None
        except apsw.Error as error:
            raise self._damage(error) from error

    async def _read(self, operation: Callable[[Reads], T]) -> T:
        """Run an operation on a reader's thread, over one state of the database."""
        try:
            return await on_thread(partial(self._read_on_thread, operation), self._limiter)
        except apsw.Error as error:
            raise self._damage(error) from error

    def _read_on_thread(self, operation: Callable[[Reads], T]) -> T:
        reads = self._readers.take()
        try:
            with reads.snapshot():
                return operation(reads)
        finally:
            self._readers.give(reads)

    def _damage(self, error: apsw.Error) -> Exception:
        """Say in our words what a read has met, and look whether the whole store is broken."""
        if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.IOError):
            self.writer.suspect()
        return self.writer.broken or translate(error)


class _InlineReads(SqliteReads):
    """Reads in the loop, whose errors are said in our words."""

    def __init__(self, connection: apsw.Connection, damage: Callable[[apsw.Error], Exception]) -> None:
        super().__init__(connection)
        self._damage = damage

    def one(self, query: str, **values: rows.Value) -> rows.Row | None:
        """Return the first row of a named query."""
        try:
            return super().one(query, **values)
        except apsw.Error as error:
            raise self._damage(error) from error

    def all(self, query: str, **values: rows.Value) -> list[rows.Row]:
        """Return every row of a named query."""
        try:
            return super().all(query, **values)
        except apsw.Error as error:
            raise self._damage(error) from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of its name; None where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _look_first(path: Path) -> None:
    """Refuse a store from too far ahead before a single byte of it is changed."""
    if path.exists() and path.stat().st_size:
        connection = open_reader(path)
        try:
            check_version(connection)
        finally:
            connection.close()


def _keep(connection: apsw.Connection, reserve: Reserve, size: int) -> bool:
    """Take the reserve, and let the log grow no larger than it can bear."""
    is_held = reserve.take(size)
    connection.pragma("wal_autocheckpoint", checkpoint_pages(reserve.held_bytes or size))
    return is_held


def clean(redaction: Redaction, bodies: Sequence[Body]) -> Sequence[Body]:
    """Return bodies without secrets; what only its provider can read is kept whole or not at all."""
    cleaned: list[Body] = []
    for body in bodies:
        text, opaque = redaction(body.text), opaque_of(body)
        if isinstance(body, Assistant | Call) and redaction(opaque) is not opaque:
            body = msgspec.structs.replace(body, opaque="")  # noqa: PLW2901 - it is the same one
        cleaned.append(body if text is body.text else msgspec.structs.replace(body, text=text))
    return cleaned


def _head_size(session: Session) -> int:
    return HEAD_BYTES + len(session.key) + len(session.title)


def _size(bodies: Sequence[Body]) -> int:
    return sum(text_bytes(body) + len(opaque_of(body)) for body in bodies)
