"""What a person is asked before a tool runs: the call, its state, and what may become of the call."""

import hashlib
from enum import StrEnum

import msgspec

from tidegate.clock import DAY_MS, MINUTE_MS
from tidegate.ids import ApprovalId, RunId, SessionId

MAX_ARGUMENT_BYTES = 16 << 10  # a longer call cannot be judged by a person
KEEP_DECIDED_MS = 30 * DAY_MS
KEEP_UNUSED_MS = 90 * DAY_MS  # what is always allowed and no longer used
STANDING_MS = 15 * MINUTE_MS  # a word on a call that nobody waits for holds so long, however often it is made
NO_RUN = RunId("")  # of a question that nobody waits for


class ApprovalState(StrEnum):
    """Where a question stands."""

    PENDING = "pending"
    #: once, for the call that asked
    ALLOWED = "allowed"
    #: and whenever the same agent makes exactly this call again
    ALWAYS = "always"
    DENIED = "denied"
    EXPIRED = "expired"


class Decision(StrEnum):
    """What a person says."""

    ONCE = "once"
    ALWAYS = "always"
    DENY = "deny"

    @property
    def state(self) -> ApprovalState:
        """Where the question stands then."""
        return _STATES[self]


class Verdict(StrEnum):
    """What may become of a call."""

    GO = "go"
    DENIED = "denied"
    EXPIRED = "expired"
    #: it was begun before a crash, so whether it happened is unknown
    UNKNOWN = "unknown"
    #: a person has to decide
    UNDECIDED = "undecided"
    #: it cannot be put to a person
    UNFIT = "unfit"
    #: a person may allow it, and nobody waits for that
    REFUSED = "refused"
    #: too many questions are open
    CROWDED = "crowded"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it is put to a person; `arguments` is the JSON text exactly as the model wrote it."""

    call_id: str
    tool: str
    arguments: str

    def digest(self, agent: str) -> str:
        """Return what names exactly this call of an agent, however its JSON is spaced or ordered."""
        try:
            arguments = msgspec.json.encode(msgspec.json.decode(self.arguments), order="deterministic")
        except msgspec.DecodeError:
            arguments = self.arguments.encode(errors="replace")
        return hashlib.sha256(msgspec.json.encode([agent, self.tool, arguments.decode()])).hexdigest()


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A question and its answer."""

    id: ApprovalId
    #: None once it is always allowed: it then belongs to the agent and outlives the session
    session: SessionId | None
    #: `NO_RUN` where none waits for it
    run: RunId
    agent: str
    question: Question
    state: ApprovalState
    #: the call that asked was begun
    is_used: bool
    created_at: int
    #: a pending one counts as expired then; any other is forgotten
    expires_at: int
    decided_at: int | None


def standing(asked: Approval | None) -> Verdict:
    """Say what may become of a call whose run waits for nobody, by the word that was given on the same call."""
    match asked.state if asked else ApprovalState.PENDING:
        case ApprovalState.ALLOWED | ApprovalState.ALWAYS:
            return Verdict.GO
        case ApprovalState.DENIED:
            return Verdict.DENIED
        case ApprovalState.PENDING | ApprovalState.EXPIRED:
            return Verdict.REFUSED


def verdict(asked: Approval | None, *, is_granted: bool, is_new: bool) -> Verdict:
    """Say what may become of a call that needs a person's word.

    *asked* is the question that this very call has put, *is_granted* whether it is always allowed, *is_new* whether
    the model has asked for it just now: what is not new may have been begun before a crash.
    """
    if is_new or asked is None:
        if is_granted:
            return Verdict.GO if is_new else Verdict.UNKNOWN
        return Verdict.UNDECIDED
    match asked.state:
        case ApprovalState.PENDING:
            return Verdict.UNDECIDED
        case ApprovalState.ALLOWED | ApprovalState.ALWAYS:
            return Verdict.UNKNOWN if asked.is_used else Verdict.GO
        case ApprovalState.DENIED:
            return Verdict.DENIED
        case ApprovalState.EXPIRED:
            return Verdict.EXPIRED


_STATES = {
    Decision.ONCE: ApprovalState.ALLOWED,
    Decision.ALWAYS: ApprovalState.ALWAYS,
    Decision.DENY: ApprovalState.DENIED,
}
