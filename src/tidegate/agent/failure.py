"""What the library says when a provider fails, in the gateway's own errors and words, without the key."""

import math
import re
from typing import Any

from pydantic_ai.exceptions import (
    AgentRunError,
    ModelAPIError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    UserError,
)

from tidegate.agent import dialect, window
from tidegate.agent.limit import Flood
from tidegate.agent.target import Target
from tidegate.agent.unstreamed import Page
from tidegate.config.preset import Dialect
from tidegate.errors import (
    AnswerTooLarge,
    ContentFiltered,
    ContextOverflow,
    HistoryRefused,
    ModelBusy,
    ModelFailed,
    ModelLimited,
)

QUOTE_CHARS = 300
SPEAKERS = {Dialect.OPENAI: "an OpenAI-compatible endpoint", Dialect.ANTHROPIC: "Anthropic's API"}
CHECK_URL = {
    Dialect.OPENAI: "check base_url, which mostly ends in /v1",
    Dialect.ANTHROPIC: "check base_url",
}

#: what the library raises over events that are JSON but of another shape, and over settings that make no sense
STUMBLES = (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
#: everything that asking can raise and that is a failure of the model
FAILURES = (AgentRunError, UserError, Flood, Page, TimeoutError, *STUMBLES)

# What the library does not know yet. Sources: the error lists of llama.cpp, Anthropic, Google and xAI.
_OVERFLOW_TYPES = frozenset({"exceed_context_size_error", "request_too_large", "context_length_exceeded"})
_OVERFLOW_WORDS = (
    "exceed context limit",
    "exceeds the available context size",
    "exceeds the maximum number of tokens",
    "maximum prompt length",
    "maximum context length",
    "context length of only",
)
_FILTER_CODES = frozenset({"content_filter", "content_policy_violation"})
# Of what is said inside a stream without a status. Sources: the error lists of OpenAI, Anthropic, Google.
_PASSING_TYPES = frozenset(
    {"overloaded_error", "overloaded", "rate_limit_error", "rate_limit_exceeded", "server_error", "api_error"}
    | {"timeout_error", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "service_unavailable", "internal_server_error"}
)
_PASSING_WORDS = ("overloaded", "rate limit", "too many requests", "try again", "temporarily")
# Of a 400 that is about what was said before, not about a setting.
_HISTORY = re.compile(
    r"\b(messages?|roles?|content|contents|tool\w*|functions?|call_ids?|thinking|thought\w*|signature|reasoning\w*"
    r"|alternat\w+|assistant|history|conversation|turns?)\b",
    re.IGNORECASE,
)
REFUSED_HINT = (
    "send /new to begin afresh or /compact to leave out what is older, or fork it before what is refused"
)
_HINTS = {
    401: "check the key that api_key_env or api_key_file names",
    403: "check what the key may do",
    404: "check the model's name and base_url",
    429: "the provider limits the rate, or the account is out of credit",
}


def explain(error: Exception, target: Target) -> ModelFailed:
    """Return what went wrong when *target* was asked; what is worth asking again is a `ModelBusy`."""
    where = target.where
    match _own(error) or error:
        case Flood() as flood:
            return AnswerTooLarge(f"{where} {flood}")
        case TimeoutError():
            return _silent(target)
        case ModelConnectionError() as lost:
            return _lost(lost, target)
        case ModelAPIError() as refusal if not isinstance(refusal.__cause__, ValueError):
            return _refused(refusal, target)
        case UserError():
            return ModelFailed(f"{where} cannot be asked this way: {error}"[: 2 * QUOTE_CHARS])
        case own:  # a page, no event, no JSON, or JSON of another shape
            did = str(own) if isinstance(own, Page) else f"does not answer as {SPEAKERS[target.dialect]}"
            return ModelFailed(f"{where} {did}", hint=CHECK_URL[target.dialect])


def _lost(error: ModelConnectionError, target: Target) -> ModelBusy:
    """Return what became of the connection."""
    if error.phase in {"connect", "pool"}:
        hint = "check base_url, and that the server runs"
        return ModelBusy(f"there is no connection to {target.where}{_reason(error)}", hint=hint)
    if isinstance(error, ModelTimeoutError):
        return _silent(target)
    return ModelBusy(f"{target.where} broke off its answer")


def _silent(target: Target) -> ModelBusy:
    hint = "raise timeout if the model needs longer for its next word"
    return ModelBusy(f"{target.where} was silent for {target.timeout_s:g} s", hint=hint)


def _refused(error: ModelAPIError, target: Target) -> ModelFailed:
    """Return what a provider's own word means, as a status or inside a stream."""
    if _is_overflow(error):
        hint = "start another session, or set a context_window that the model has"
        what = f"the conversation is too long for {target.where}{_quote(error, target)}"
        return ContextOverflow(what, hint=hint, window=_window(error))
    status = _status(error)
    quote = "" if status in {401, 403} else _quote(error, target)
    is_said_inside = error.in_stream and isinstance(error, ModelHTTPError)
    did = f"answered {status}" if status and not is_said_inside else "broke off its answer"
    message, hint = f"{target.where} {did}{quote}", _HINTS.get(status, "")
    if error.provider_error_code in _FILTER_CODES:
        return ContentFiltered(message)
    passing = None if isinstance(error, ModelQuotaExceededError) else _passing(error, status)
    if passing is not None:
        return passing(message, hint=hint, retry_after_s=_pause_s(error))
    if status in {400, 422} and _HISTORY.search(_said(error)):
        return HistoryRefused(message, hint=REFUSED_HINT)
    return ModelFailed(message, hint=hint)


def _passing(error: ModelAPIError, status: int) -> type[ModelBusy] | None:
    """Return what a failure is that asking again may mend; None for any other.

    Who says nothing has broken off; who says something inside a stream is asked again if it says so.
    """
    if isinstance(error, ModelRateLimitError):
        return ModelLimited
    return ModelBusy if _pause_s(error) is not None or _passes(error, status) else None


def _status(error: ModelAPIError) -> int:
    """Return the status that a refusal came with; 0 for what is said inside a stream and has none."""
    if isinstance(error, ModelHTTPError):
        return error.status_code
    status = getattr(error.__cause__, "status_code", 0)  # a redirect, to which the library gives no class
    return status if isinstance(status, int) and status >= 300 else 0


def _own(error: BaseException | None) -> Flood | Page | None:
    """Return what this house has raised below the wrappings of the libraries, if it has."""
    while error is not None and not isinstance(error, Flood | Page):
        error = error.__cause__
    return error


def _pause_s(error: ModelAPIError) -> float | None:
    """Return how long the provider wants to be left alone, if it says so in a header or in its words."""
    if error.retry_after is not None:
        return error.retry_after
    inner = _inner(error)
    more = inner.get("metadata")
    found = (inner | more if isinstance(more, dict) else inner).get("retry_after")
    return float(found) if isinstance(found, int | float) and 0 <= found < math.inf else None


def _passes(error: ModelAPIError, status: int) -> bool:
    """Whether an error says, by its status or by a word, that it will pass; one that says nothing has broken off."""
    if status:
        return isinstance(error, ModelUnavailableError | ModelServerError) or status in {408, 425}
    kinds = {error.provider_error_type, error.provider_error_code, str(_inner(error).get("status"))}
    words = _said(error).lower()
    return not error.body or bool(kinds & _PASSING_TYPES) or any(one in words for one in _PASSING_WORDS)


def _is_overflow(error: ModelAPIError) -> bool:
    if isinstance(error, ModelContextWindowExceededError):
        return True
    if {error.provider_error_type, error.provider_error_code} & _OVERFLOW_TYPES:
        return True
    said = _said(error).lower()
    return any(words in said for words in _OVERFLOW_WORDS)


def _window(error: ModelAPIError) -> int | None:
    """Return the window that a refusal names: llama.cpp has a field for it, the others a word."""
    own = _inner(error).get("n_ctx")
    return window.said(f"n_ctx: {own}") if isinstance(own, int) else window.said(_said(error))


def _inner(error: ModelAPIError) -> dict[str, Any]:
    """Return the provider's error object; Anthropic's client leaves it wrapped in ``error``, Google in a list."""
    body = error.body[0] if isinstance(error.body, list) and error.body else error.body
    inner = body.get("error", body) if isinstance(body, dict) else body
    return inner if isinstance(inner, dict) else {"message": inner}


def _said(error: ModelAPIError) -> str:
    """Return the provider's own words; a page is none."""
    inner = _inner(error)
    words = inner.get("message")
    return words if isinstance(words, str) and not words.lstrip().startswith("<") else ""


def _quote(error: ModelAPIError, target: Target) -> str:
    """Return what the provider says about the error, short and without the key."""
    text = " ".join(_said(error).split())
    if not text:
        return ""
    safe = text.replace(target.api_key, "***") if target.api_key else text
    return f": {dialect.clean(safe[:QUOTE_CHARS])}"


def _reason(error: BaseException) -> str:
    """Return what the network said, below the two wrappings of the library."""
    cause = error.__cause__.__cause__ if error.__cause__ else None
    return f": {cause}" if cause and str(cause) else ""
