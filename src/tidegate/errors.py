"""Everything that can go wrong, sorted by what the caller can do about it.

::

    TidegateError
    ├── Refused              do not repeat: the request itself cannot be done
    │   ├── BadRequest       400  ├── BadMessage, BadText
    │   ├── NotAuthorized    401  ├── SignatureWrong
    │   ├── Forbidden        403
    │   ├── NotFound         404  ├── SessionNotFound, RunNotFound, BlobNotFound, AgentNotFound,
    │   │                     │   ApprovalNotFound, HookNotFound, JobNotFound, FactNotFound
    │   ├── Conflict         409  ├── SessionFinished, SessionRunning, SessionPinned, AgentMismatch,
    │   │                         │   KeyReused, AlreadyDone, AlreadyDecided, WrongState, FenceLost,
    │   │                         │   JobExists, JobInConfig, JobRunning, TraceRunning, SessionExists, FactRefused
    │   ├── SpawnRefused, TooLarge (413), HookLoop (508)
    │   └── WrongHost        421
    ├── Unavailable          repeat later
    │   ├── LimitReached     429  ├── QueueFull, SessionBusy, TooManySessions, ReceiptsFull,
    │   │                     │   TooManyApprovals, TooManyJobs, RateLimited
    │   │                     └── Short  ├── MemoryShort, DiskShort, SpendShort
    │   ├── Busy             503  ├── Stopping
    │   └── DiskFull         507  ├── DiskReadOnly, DiskBudget
    └── Broken               tell a person; the process may have to stop
        ├── ConfigError      exit 78  ├── FolderUnsafe
        ├── FolderHeld       exit 75
        ├── StorageFailed    exit 74  ├── Corrupt (a row, a file), StoreBroken (all of it: the process ends)
        ├── ModelFailed      the run fails, the gateway goes on
        │                    ├── ModelBusy (503)  ├── ModelLimited (429)
        │                    ├── ModelCut, ContextOverflow, ContentFiltered, HistoryRefused, AnswerTooLarge
        ├── CompactionFailed everything is as it was
        └── NoAnswer    400  what an OpenAI client then gets

A class docstring is the default message. ``code`` and ``status`` are part of the public contract; ``edge/wire``
turns them into HTTP and ``cli`` into exit codes, so that nothing else has to know either.
"""

from typing import ClassVar


class TidegateError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None, *, hint: str = "") -> None:
        """Take the *message*, by default the first line of the class docstring, and a *hint* at the remedy."""
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        super().__init__(self.message)


class Refused(TidegateError):
    """The request cannot be done, and repeating it will not help."""

    code = "refused"
    status = 400


class BadRequest(Refused):
    """The request is not well formed."""

    code = "bad_request"


class BadMessage(BadRequest):
    """The body is not the JSON that was expected."""

    code = "bad_json"


class BadText(BadRequest):
    """The text holds characters that cannot be stored."""

    code = "bad_text"


class NotAuthorized(Refused):
    """The request has no valid token."""

    code = "unauthorized"
    status = 401


class SignatureWrong(NotAuthorized):
    """The signature is missing or wrong."""

    code = "bad_signature"


class Forbidden(Refused):
    """The request comes from a page of another origin."""

    code = "forbidden"
    status = 403


class NotFound(Refused):
    """There is no such thing."""

    code = "not_found"
    status = 404


class SessionNotFound(NotFound):
    """There is no session with this key."""

    code = "session_not_found"


class RunNotFound(NotFound):
    """There is no run with this id."""

    code = "run_not_found"


class BlobNotFound(NotFound):
    """There is no blob with this hash."""

    code = "blob_not_found"


class AgentNotFound(NotFound):
    """There is no agent with this name."""

    code = "model_not_found"


class ApprovalNotFound(NotFound):
    """There is no approval with this id."""

    code = "approval_not_found"


class JobNotFound(NotFound):
    """There is no job with this name."""

    code = "job_not_found"


class FactNotFound(NotFound):
    """There is no fact with this id."""

    code = "fact_not_found"


class HookNotFound(NotFound):
    """There is no hook with this name."""

    code = "hook_not_found"


class Conflict(Refused):
    """The request does not fit the present state."""

    code = "conflict"
    status = 409


class SessionFinished(Conflict):
    """The session is finished; it takes no more messages."""

    code = "session_finished"


class SessionRunning(Conflict):
    """The session, or one below it, has an open run."""

    code = "session_running"


class SessionPinned(Conflict):
    """The session, or one below it, is pinned."""

    code = "session_pinned"


class AgentMismatch(Conflict):
    """The session belongs to another agent."""

    code = "agent_mismatch"


class KeyReused(Conflict):
    """The idempotency key was used before, with another body."""

    code = "idempotency_key_reused"


class AlreadyDone(Conflict):
    """The message with this idempotency key was taken before, and its session has been deleted since."""

    code = "already_done"


class AlreadyDecided(Conflict):
    """The approval has been decided, otherwise."""

    code = "already_decided"


class WrongState(Conflict):
    """The session is not in a state that allows this."""

    code = "wrong_state"


class FenceLost(Conflict):
    """The run has been taken over or closed; this writer may no longer write to it."""

    code = "fence_lost"


class JobExists(Conflict):
    """There is a job with this name already."""

    code = "job_exists"


class JobInConfig(Conflict):
    """The job stands in the configuration, which alone can change it."""

    code = "job_in_config"


class JobRunning(Conflict):
    """The job still runs and may not overlap."""

    code = "job_running"


class TraceRunning(Conflict):
    """Allocations are being traced already."""

    code = "trace_running"


class SessionExists(Conflict):
    """There is a session with this key already."""

    code = "session_exists"


class FactRefused(Conflict):
    """What comes from outside does not change what is remembered."""

    code = "fact_refused"


class HookLoop(Refused):
    """The call has come through too many hooks of a chain that leads back to itself."""

    code = "hook_loop"
    status = 508


class SpawnRefused(Refused):
    """No further sub-agent may be born here."""

    code = "spawn_refused"


class TooLarge(Refused):
    """The body is larger than what is taken."""

    code = "too_large"
    status = 413


class WrongHost(Refused):
    """The Host header names a host that this gateway does not serve."""

    code = "wrong_host"
    status = 421


class Unavailable(TidegateError):
    """This cannot be done now; repeat it later."""

    code = "unavailable"
    status = 503
    exit_code = 69

    def __init__(self, message: str | None = None, *, hint: str = "", retry_after_s: int = 1) -> None:
        """Take what every error takes, and after how many seconds a repetition makes sense."""
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class LimitReached(Unavailable):
    """A limit has been reached."""

    code = "limit_reached"
    status = 429


class QueueFull(LimitReached):
    """Too many runs are queued in this lane."""

    code = "queue_full"


class SessionBusy(LimitReached):
    """Too many messages are queued in this session."""

    code = "session_busy"


class TooManySessions(LimitReached):
    """As many sessions of this kind are running as its policy allows."""

    code = "max_running"


class ReceiptsFull(LimitReached):
    """Too many idempotency keys were used within 24 hours."""

    code = "receipts_full"


class TooManyApprovals(LimitReached):
    """Too many approvals wait for a decision, or are given for always."""

    code = "approvals_full"


class TooManyJobs(LimitReached):
    """There are as many jobs as there may be."""

    code = "jobs_full"


class RateLimited(LimitReached):
    """Too many requests came within a minute, or are open."""

    code = "rate_limited"


class Short(LimitReached):
    """Something is short; no new sessions are taken but chats."""

    code = "short"


class MemoryShort(Short):
    """Memory is short; no new sessions are taken but chats."""

    code = "memory_short"


class DiskShort(Short):
    """The disk budget is nearly used up; no new sessions are taken but chats."""

    code = "disk_short"


class SpendShort(Short):
    """The spend of the day is used up; no new sessions are taken but chats."""

    code = "spend_short"


class Busy(Unavailable):
    """The store has more to write than it can take."""

    code = "busy"


class Stopping(Unavailable):
    """The gateway is stopping."""

    code = "stopping"


class DiskFull(Unavailable):
    """The disk is full; nothing was written."""

    code = "disk_full"
    status = 507
    exit_code = 74


class DiskReadOnly(DiskFull):
    """The disk cannot be written to; nothing was written."""

    code = "disk_read_only"


class DiskBudget(DiskFull):
    """The disk budget is used up; nothing was written."""

    code = "disk_budget"


class Broken(TidegateError):
    """Something is broken and needs a person."""

    code = "broken"


class ConfigError(Broken):
    """The configuration cannot be used."""

    code = "config"
    exit_code = 78


class FolderUnsafe(ConfigError):
    """Something in the state folder is not its owner's alone."""

    code = "folder_unsafe"


class FolderHeld(Broken):
    """Another gateway holds this state folder."""

    code = "folder_held"
    exit_code = 75


class StorageFailed(Broken):
    """The storage failed."""

    code = "storage_failed"
    exit_code = 74


class StoreBroken(StorageFailed):
    """The store can acknowledge nothing more; the gateway ends."""

    code = "store_broken"
    status = 503


class Corrupt(StorageFailed):
    """Stored data does not match its checksum."""

    code = "corrupt"


class ModelFailed(Broken):
    """The model did not answer."""

    code = "model_failed"


class ModelBusy(ModelFailed):
    """The model cannot be reached or has no room now; nothing of an answer has come."""

    code = "model_busy"
    status = 503

    def __init__(
        self, message: str | None = None, *, hint: str = "", retry_after_s: float | None = None
    ) -> None:
        """Take what every error takes, and how long the provider wants to be left alone, if it says so."""
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class ModelLimited(ModelBusy):
    """The model's provider limits the rate."""

    code = "model_limited"
    status = 429


class ContentFiltered(ModelFailed):
    """The model's provider withheld the answer."""

    code = "content_filter"


class AnswerTooLarge(ModelFailed):
    """The model's answer is above what an answer may have."""

    code = "answer_too_large"


class ModelCut(ModelFailed):
    """The model broke off its answer."""

    code = "model_cut"

    def __init__(
        self,
        failure: ModelFailed,
        *,
        text: str,
        model: str,
        tokens: tuple[int, int],
        cost: tuple[int, int, int] = (0, 1, 0),
    ) -> None:
        """Take why it broke off, what it had said and which model it was.

        *tokens* are those it read and wrote, *cost* micro-dollars and how many answers of unknown cost, and of
        estimated tokens, there are.
        """
        super().__init__(failure.message, hint=failure.hint)
        self.failure = failure
        self.text = text
        self.model = model
        self.tokens = tokens
        self.cost = cost


class ContextOverflow(ModelFailed):
    """The conversation is too long for the model."""

    code = "context_overflow"

    def __init__(self, message: str | None = None, *, hint: str = "", window: int | None = None) -> None:
        """Take what the provider says it takes, in tokens, beside the words."""
        super().__init__(message, hint=hint)
        self.window = window


class HistoryRefused(ModelFailed):
    """The provider does not take the conversation as it is."""

    code = "history_refused"


class CompactionFailed(Broken):
    """The conversation could not be compacted; everything is as it was."""

    code = "compaction_failed"


class NoAnswer(Broken):
    """The run ended without an answer; asking again would start another one."""

    code = "no_answer"
    status = 400

    def __init__(
        self, message: str, *, hint: str = "", reason: str = code, retry_after_s: int | None = None
    ) -> None:
        """Take what every error takes, the code of what ended the run, and when a repetition makes sense, if ever."""
        super().__init__(message, hint=hint)
        self.reason = reason
        self.retry_after_s = retry_after_s
