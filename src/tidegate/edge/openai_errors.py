"""Errors in the shape that OpenAI clients read.

Source: https://platform.openai.com/docs/guides/error-codes
"""

from tidegate.edge.wire import Json, retry_header
from tidegate.errors import Broken, LimitReached, NotAuthorized, Refused, TidegateError


def failed(error: TidegateError) -> Json:
    """Answer an error."""
    headers = retry_header(error)
    if isinstance(error, Broken):
        headers["x-should-retry"] = (
            "false"  # OpenAI's own clients repeat every 5xx without it, and so the whole run
        )
    return Json({"error": content(error)}, status_code=error.status, headers=headers)


def content(error: TidegateError) -> dict[str, object]:
    """Return what stands under ``error``."""
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return {"message": message, "type": _type(error), "param": None, "code": error.code}


def _type(error: TidegateError) -> str:
    match error:
        case NotAuthorized():
            return "authentication_error"
        case LimitReached():
            return "rate_limit_error"
        case Refused():
            return "invalid_request_error"
        case _:
            return "server_error"
