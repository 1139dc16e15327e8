"""Errors in the shape that OpenAI clients read, with statuses that those act upon rightly.

Clients repeat 408, 409, 429 and everything from 500 on, most of them whatever ``x-should-retry`` says. So these are
kept for what may pass and can be repeated without harm; what would be refused again, or would do the work of its tools
again, is a 400.

Source: https://platform.openai.com/docs/guides/error-codes
"""

from tidegate.edge.wire import Json, retry_header
from tidegate.errors import (
    AlreadyDone,
    Conflict,
    ContentFiltered,
    ContextOverflow,
    HistoryRefused,
    KeyReused,
    LimitReached,
    ModelLimited,
    NoAnswer,
    NotAuthorized,
    Refused,
    TidegateError,
    Unavailable,
)

_CODES = {ContextOverflow.code: "context_length_exceeded"}  # where OpenAI has a code of its own
_OF_THE_REQUEST = frozenset({ContextOverflow.code, ContentFiltered.code, HistoryRefused.code})


def failed(error: TidegateError) -> Json:
    """Answer an error."""
    headers = retry_header(error)
    if isinstance(error, NoAnswer) and error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if not headers:
        headers["x-should-retry"] = "false"
    return Json({"error": content(error)}, status_code=_status(error), headers=headers)


def content(error: TidegateError) -> dict[str, object]:
    """Return what stands under ``error``."""
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    code = error.reason if isinstance(error, NoAnswer) else error.code
    return {"message": message, "type": _type(error), "param": None, "code": _CODES.get(code, code)}


def _status(error: TidegateError) -> int:
    match error:
        case NoAnswer(retry_after_s=int()):
            return ModelLimited.status if error.reason == ModelLimited.code else Unavailable.status
        case Conflict() if not isinstance(
            error, KeyReused | AlreadyDone
        ):  # whoever sends a key reads its 409
            return Refused.status
        case _:
            return error.status


def _type(error: TidegateError) -> str:
    match error:
        case NotAuthorized():
            return "authentication_error"
        case LimitReached():
            return "rate_limit_error"
        case Refused():
            return "invalid_request_error"
        case NoAnswer() if error.reason in _OF_THE_REQUEST:
            return "invalid_request_error"
        case NoAnswer() if _status(error) == ModelLimited.status:
            return "rate_limit_error"
        case _:
            return "server_error"
