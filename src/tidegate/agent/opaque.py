"""A provider's own data: kept with the answer that they came in, and put back in their places.

An answer is kept as a text and its calls. What else was in it, such as thoughts with their signatures, goes back to the
model that made it, byte for byte and in the same order, since some providers refuse an answer of theirs without it. So
the first body of the answer holds its parts as the library writes them, with gaps for the text and the calls, whose
place is the bodies themselves. To another model, or to another host, none of it is sent.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from pydantic import TypeAdapter
from pydantic_ai.messages import (
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)

from tidegate.domain.entry import Assistant, Call, opaque_of

MAX_BYTES = 1 << 20  # of an answer; what thinks more than that is kept without its thoughts

_Part = dict[str, Any]
_parts: TypeAdapter[list[ModelResponsePart]] = TypeAdapter(list[ModelResponsePart])


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What `opaque` holds as JSON."""

    #: whose data these are
    by: str
    #: the library's name of the provider, without which it sends nothing back
    provider: str
    #: the parts in order; in the place of a text stands its length, in the place of a call nothing
    parts: list[_Part]
    details: _Part | None = None


def keep(response: ModelResponse, by: str) -> str:
    """Return what of an answer its text and calls do not hold, as JSON; empty where that is nothing."""
    parts = [part for part in response.parts if not _is_loose(part)]
    if all(_is_plain(part) for part in parts):
        return ""
    kept = Kept(
        by=by,
        provider=response.provider_name or "",
        parts=[_hollow(part) for part in _parts.dump_python(parts, mode="json")],
        details=response.provider_details,
    )
    try:
        data = msgspec.json.encode(kept, enc_hook=str)
    except ValueError:  # half a surrogate pair in a thought
        return ""
    return data.decode() if len(data) <= MAX_BYTES else ""


def restore(bodies: Sequence[Assistant | Call], by: str) -> ModelResponse | None:
    """Return an answer as *by* gave it; None if it is another's, or no longer what it was."""
    try:
        kept = msgspec.json.decode(opaque_of(bodies[0]), type=Kept)
        if kept.by != by:
            return None
        parts = _parts.validate_python(list(_filled(kept.parts, bodies)))
    except (ValueError, LookupError):
        return None
    return ModelResponse(parts=parts, provider_name=kept.provider, provider_details=kept.details)


def _is_plain(part: ModelResponsePart) -> bool:
    """Whether a part is wholly told by a text or a call."""
    return isinstance(part, TextPart | ToolCallPart) and not (part.provider_details or part.id)


def _is_loose(part: ModelResponsePart) -> bool:
    """Whether a part is a thought that the model wrote into its text, between tags: no provider wants it back."""
    return isinstance(part, ThinkingPart) and not part.signature and part.id in {None, "content"}


def _hollow(part: _Part) -> _Part:
    """Take out what the bodies hold, and what says nothing."""
    told = {key: value for key, value in part.items() if value is not None}
    match part["part_kind"]:
        case "text":
            return told | {"content": len(part["content"])}
        case "tool-call":
            return {key: told[key] for key in told.keys() - {"tool_name", "args", "tool_call_id"}}
        case _:
            return told


def _filled(parts: Sequence[_Part], bodies: Sequence[Assistant | Call]) -> Iterator[_Part]:
    """Put text and calls back into their gaps.

    Raises:
        LookupError: They do not fit.
    """
    text = bodies[0].text if isinstance(bodies[0], Assistant) else ""
    calls = [body for body in bodies if isinstance(body, Call)]
    for part in parts:
        match part["part_kind"]:
            case "text":
                yield part | {"content": text[: part["content"]]}
                text = text[part["content"] :]
            case "tool-call":
                call = calls.pop(0)
                yield part | {"tool_name": call.tool, "args": call.text, "tool_call_id": call.call_id}
            case _:
                yield part
    if text or calls:
        raise LookupError
