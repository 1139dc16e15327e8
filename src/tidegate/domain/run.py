"""What is done: one piece of work in a session, why it exists and who may write to it."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from tidegate.domain.entry import Body
from tidegate.domain.session import Outcome
from tidegate.ids import RunId, SessionId


class Origin(StrEnum):
    """Why a run exists."""

    MESSAGE = "message"
    FIRING = "firing"
    SPAWN = "spawn"
    RESULT = "result"
    HOOK = "hook"


class Lane(StrEnum):
    """Which queue a run waits in."""

    INTERACTIVE = "interactive"
    CRON = "cron"
    SUBAGENT = "subagent"


class RunState(StrEnum):
    """The states of a run; all but the last are *open*."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What model answers took: tokens, and money."""

    input_tokens: int = 0
    output_tokens: int = 0
    #: of those that were read, the ones that the provider had in its cache
    cached_tokens: int = 0
    #: cost in micro-dollars
    micros: int = 0
    #: answers whose cost nobody knows, which is counted as none
    unpriced: int = 0
    #: answers whose tokens the provider did not tell; they are estimated
    estimated: int = 0

    @property
    def total(self) -> int:
        """Both directions together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        """Return what both took."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            micros=self.micros + other.micros,
            unpriced=self.unpriced + other.unpriced,
            estimated=self.estimated + other.estimated,
        )


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Which error a run ended with: its stable code, as `errors` has it."""

    code: str
    #: after how long it is worth trying again, where whoever failed has said so
    retry_after_s: int | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one turn of the loop wants kept: bodies in order and, if a model answered, what that took."""

    bodies: Sequence[Body]
    usage: Usage | None = None
    model: str = ""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to write to a running run; it ends when the run's fence is raised."""

    run: RunId
    session: SessionId
    fence: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work."""

    id: RunId
    #: the order in which runs were accepted
    number: int
    session: SessionId
    lane: Lane
    origin: Origin
    state: RunState
    outcome: Outcome | None
    #: what went wrong, in one line; empty otherwise
    error: str
    fence: int
    #: how many model answers it has taken
    steps: int
    usage: Usage
    #: seq of the latest answer without a call; None while there is none
    reply_seq: int | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    #: how long it has waited for a person, or been parked
    waited_ms: int = 0
    #: what it may spend of its parent's budget; None is its agent's budget
    max_tokens: int | None = None
    #: what its children have spent
    children_tokens: int = 0
    #: since when it has been parked, which makes it `waiting`; None if it is not
    parked_at: int | None = None
    #: seq of the last entry of its message, after which its own words come; None until it is claimed
    asked_seq: int | None = None
    #: which error ended it, if one did
    failure: Failure | None = None

    @property
    def spent(self) -> Usage:
        """What the run and the tree below it have taken; what children took counts as read."""
        return msgspec.structs.replace(
            self.usage, input_tokens=self.usage.input_tokens + self.children_tokens
        )

    @property
    def lease(self) -> Lease:
        """The right to write to this run, as it stands in this row."""
        return Lease(run=self.id, session=self.session, fence=self.fence)
