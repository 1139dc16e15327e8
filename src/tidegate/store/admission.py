"""A piece of work at the door of the store, and what becomes of it."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

import msgspec

from tidegate.domain.entry import Body
from tidegate.domain.job import Job, Plan
from tidegate.domain.run import Failure, Lane, Lease, Origin, Run, Step
from tidegate.domain.session import Outcome, PolicyName, Session
from tidegate.domain.snapshot import Snapshot
from tidegate.domain.spawn import SpawnLimits
from tidegate.errors import Unavailable
from tidegate.ids import BlobHash, SessionId
from tidegate.store.segments import Segment


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is created as, if its key is not known yet."""

    policy: PolicyName
    agent: str
    parent: SessionId | None = None
    #: a parent's children are grouped by themselves; jobs and hooks name their group
    cap_group: str | None = None
    #: a limit of its own, where that is below the policy's
    max_runtime_ms: int | None = None
    #: instead of the beginning of its first message
    title: str | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for a child, and how far that may go: the call of a running run."""

    lease: Lease
    call_id: str
    tool: str
    label: str
    #: the call waits for the result, else it comes as a run of the parent
    waits: bool
    limits: SpawnLimits
    #: what the parent's agent may spend in one run, and the child's
    max_tokens: int
    child_max_tokens: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The promise to do a piece of work once: same key and body, same run, for 24 hours."""

    scope: str
    key: str
    body_hash: bytes
    #: only for as long as the run is not done: what is said again after that is meant again
    while_open: bool = False


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The skills that an agent has now, for a session of it."""

    agent: str
    snapshot: Snapshot
    #: the bytes of blobs; needed are only those that the store does not have
    bodies: Mapping[BlobHash, bytes] = {}


class SnapshotMissing(Exception):
    """The store needs the bytes of some blobs of the snapshot that was offered."""

    def __init__(self, blobs: frozenset[BlobHash]) -> None:
        super().__init__(f"{len(blobs)} blobs are missing")
        self.blobs = blobs


class Excerpt(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a transcript that a fork shares, packed; what came before stays with the original."""

    source: SessionId
    #: the first entry that is not shared
    before: int
    segments: Sequence[Segment]
    blobs: Collection[BlobHash]
    #: where the summary stands among the shared entries
    summary_seq: int | None


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of work at the door."""

    #: None: a session of its own
    key: str | None
    birth: Birth
    #: a named agent must be the one that the session has
    agent_is_named: bool = False
    lane: Lane
    origin: Origin
    bodies: Sequence[Body]
    receipt: Receipt | None = None
    #: what is open in a conversation ends as interrupted instead of going first; None is no
    interrupts: bool | None = None
    #: for a sub-agent: the call that asks for it
    order: Order | None = None
    #: an existing conversation begins afresh with it
    is_fresh: bool = False
    #: the one session it is for; nothing else is accepted
    only: SessionId | None = None
    #: what a new session begins with
    excerpt: Excerpt | None = None
    #: what a new session gets, and a conversation whose skills have changed since; None: they stay as they are
    skills: Offer | None = None
    #: claim it in the same transaction if it is the next one of its lane; somebody waits to carry it out
    claims: bool = False
    #: why it may not be taken now; a repetition is found all the same
    refusal: Unavailable | None = None
    #: how many runs may be queued in the lane, and open in the session
    max_queued: int = 1_000
    max_open: int = 100


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted piece of work; `is_repeat` when the receipt was known."""

    run: Run
    session: Session
    is_repeat: bool = False


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is now running, and its session."""

    run: Run
    session: Session


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ends: with which last step, outcome, error in one line and word to the reader."""

    outcome: Outcome
    step: Step | None = None
    error: str = ""
    notice: str = ""
    failure: Failure | None = None


#: what runs were saying when they were stopped
Said = Sequence[tuple[Lease, Step]]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An instant at the door: the job as it was when the plan was made, and its run."""

    job: Job
    plan: Plan
    admission: Admission


class Shot(StrEnum):
    """What became of an attempt."""

    DONE = "done"
    #: the job has changed since it was read, or the instant is dealt with; nothing was touched
    LOST = "lost"
    #: there is no room for its run now; nothing was touched
    FULL = "full"
    #: the offer of its run lacks bytes that the store needs; nothing was touched
    BARE = "bare"
