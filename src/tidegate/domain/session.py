"""What is kept: a session, its kind, its state and where it stands in its life."""

from enum import StrEnum

import msgspec

from tidegate.ids import SessionId


class Kind(StrEnum):
    """Who a session is for; fixed at its creation and never guessed from its key."""

    CHAT = "chat"
    SUBAGENT = "subagent"
    CRON = "cron"
    HOOK = "hook"
    API = "api"


class PolicyName(StrEnum):
    """Which policy a session lives under: its kind, and for ``api`` whether the client named it."""

    CHAT = "chat"
    SUBAGENT = "subagent"
    CRON = "cron"
    HOOK = "hook"
    API = "api"
    API_NAMED = "api_named"

    @property
    def kind(self) -> Kind:
        """The kind of the sessions under this policy."""
        return Kind.API if self is PolicyName.API_NAMED else Kind(self.value)

    @property
    def is_conversation(self) -> bool:
        """Whether such a session goes on after a turn, and to and fro between active and archived."""
        return self in {PolicyName.CHAT, PolicyName.API_NAMED}


class State(StrEnum):
    """The states of a session; after the last one it is deleted."""

    CREATED = "created"
    ACTIVE = "active"
    COMPLETED = "completed"
    ARCHIVED = "archived"


class Outcome(StrEnum):
    """How a session or a run ended."""

    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"


class DueTo(StrEnum):
    """Where a session goes when its date comes; for a named api session ``completed`` ends its turn alone."""

    COMPLETED = "completed"
    ARCHIVED = "archived"
    DELETED = "deleted"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a session: everything but its transcript."""

    id: SessionId
    key: str
    policy: PolicyName
    state: State
    outcome: Outcome | None
    parent: SessionId | None
    #: sessions of one cap group are kept up to ``Policy.keep``: a parent's, a job's with one outcome
    cap_group: str | None
    agent: str
    title: str
    created_at: int
    #: the last entry or message
    updated_at: int
    #: when the clock of the present state started: its beginning, an unpin, a restore
    since_at: int
    #: start of the open turn; None while no run is queued, running or waiting
    turn_at: int | None
    #: start of the running run; None while none runs
    running_at: int | None
    due_at: int | None
    due_to: DueTo | None
    #: entries ever, which is also the last seq
    entries: int
    #: the last seq that lies in a segment; later ones are hot rows
    cold_through: int
    #: bytes of hot bodies and compressed segments
    bytes: int
    pinned: bool
    #: rises with each change; a conditional update names it
    version: int
    #: since when the open run waits for a person; its clock stands meanwhile
    waiting_at: int | None = None
    #: how long this turn, or this ephemeral session, has waited for a person before
    waited_ms: int = 0
    #: its own limit, where that is below the policy's
    max_runtime_ms: int | None = None
    #: the top of the tree it stands in, and how far below it; None for a top
    root: SessionId | None = None
    depth: int = 0
    #: the name of the snapshot of its skills; None while it has none
    snapshot: str | None = None
    #: where the summary stands that is read in the place of older entries
    summary_seq: int | None = None
    #: a digest of what its client has instructed last; empty for nothing
    instructions: str = ""

    @property
    def kind(self) -> Kind:
        """Who the session is for."""
        return self.policy.kind

    @property
    def hot_entries(self) -> int:
        """How many entries are rows, not in segments."""
        return self.entries - self.cold_through

    @property
    def is_live(self) -> bool:
        """Whether it counts as running for ``max_running``."""
        return self.state in {State.CREATED, State.ACTIVE}

    @property
    def is_running(self) -> bool:
        """Whether work of its own is open, so that nothing may archive or delete it."""
        return self.turn_at is not None or (self.is_live and not self.policy.is_conversation)
