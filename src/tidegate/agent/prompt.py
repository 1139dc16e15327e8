"""From a transcript to a prompt: what the model gets to read, in an order that providers accept."""

from collections.abc import Iterator, Sequence

import msgspec

from tidegate.agent import measure
from tidegate.agent.model import Prompt, ToolCall, ToolSpec
from tidegate.agent.pairing import pairs
from tidegate.agent.skills.catalog import TOOL as SKILL_TOOL
from tidegate.agent.tools import interrupted
from tidegate.domain.entry import Assistant, Body, Call, Notice, Result, Summary, User

CATALOG_SHARE = 20  # of a prompt, the part that skills are told in,
MAX_CATALOG_BYTES = 16 << 10  # up to this
WHOLE_RESULTS = 3  # the last turns whose results are read whole
OLD_RESULT_CHARS = 2_000  # of an older result; above them it is shortened
OLD_BEGINNING_CHARS = 1_000  # to so much


def build(
    instructions: str, bodies: Sequence[Body], tools: Sequence[ToolSpec], max_bytes: int | None
) -> Prompt:
    """Build a prompt: the summary and what is read beside it, then the newest turns that fit into *max_bytes*.

    The last turn always stays. None is no limit.
    """
    told: list[Body] = [body for body in bodies if not isinstance(body, Notice) and not _is_empty(body)]
    start = max((at for at, body in enumerate(told, 1) if isinstance(body, Summary)), default=0)
    head = told[:start]
    if max_bytes is not None:
        room = max_bytes - measure.text_size(instructions) - _size(head)
        told = [*head, *_newest_turns(told[start:], room)]
    return Prompt(instructions=instructions, bodies=list(_paired(told)), tools=tools)


def shortened(bodies: Sequence[Body], whole_turns: int) -> list[Body]:
    """Shorten the large results of tools that are older than the last *whole_turns*; skills are read whole."""
    starts = [at for at, body in enumerate(bodies) if isinstance(body, User)]
    old = starts[-whole_turns] if len(starts) >= whole_turns else 0
    return [_shortened(body) if at < old else body for at, body in enumerate(bodies)]


def reminded(bodies: Sequence[Body], reminder: str) -> Sequence[Body]:
    """Put a reminder before the latest message of a user; what comes before that is as in the prompt before."""
    last = next((at for at in range(len(bodies) - 1, -1, -1) if isinstance(bodies[at], User)), None)
    if not reminder or last is None:
        return bodies
    message = msgspec.structs.replace(bodies[last], text=with_section(reminder, bodies[last].text))
    return [*bodies[:last], message, *bodies[last + 1 :]]


def catalog_bytes(max_prompt_bytes: int) -> int:
    """Return how many bytes there are to tell of skills."""
    return min(MAX_CATALOG_BYTES, max_prompt_bytes // CATALOG_SHARE)


def with_section(instructions: str, section: str) -> str:
    """Return instructions followed by what is told of skills, or of memory."""
    return f"{instructions}\n\n{section}" if instructions else section


def open_calls(bodies: Sequence[Body]) -> list[ToolCall]:
    """Return the calls without a result, in order."""
    paired = pairs(bodies)
    return [_asked(body) for at, body in enumerate(bodies) if isinstance(body, Call) and at not in paired]


def _is_empty(body: Body) -> bool:
    """Whether a body is an answer that says nothing, which strict providers refuse."""
    return isinstance(body, Assistant) and not (body.text or body.blob or body.opaque)


def _newest_turns(bodies: list[Body], max_bytes: int) -> list[Body]:
    """Drop whole turns from the front; a turn starts with a user's message."""
    start = 0
    size = _size(bodies)
    starts = [index for index, body in enumerate(bodies) if isinstance(body, User)]
    for index in starts:
        if size <= max_bytes:
            break
        size -= _size(bodies[start:index])
        start = index
    return bodies[start:]


def _size(bodies: Sequence[Body]) -> int:
    return sum(map(measure.size, bodies))


def _shortened(body: Body) -> Body:
    if not isinstance(body, Result) or body.tool == SKILL_TOOL or len(body.text) <= OLD_RESULT_CHARS:
        return body
    left_out = len(body.text) - OLD_BEGINNING_CHARS
    mark = f"\n[an old result: {left_out:,} more characters are left out here]"
    return msgspec.structs.replace(body, text=body.text[:OLD_BEGINNING_CHARS] + mark)


def _paired(bodies: list[Body]) -> Iterator[Body]:
    """Put every result right behind its calls; a call that never got one is answered by an interruption."""
    results = _results(bodies)
    calls: list[int] = []
    is_answered = False  # a call after a result belongs to the next answer of the model
    for index, body in enumerate(bodies):
        if isinstance(body, Result):
            is_answered = True
            continue
        if is_answered or not isinstance(body, Call):
            yield from (results[call] for call in calls)
            calls, is_answered = [], False
        if isinstance(body, Call):
            calls.append(index)
        yield body
    yield from (results[call] for call in calls)


def _results(bodies: list[Body]) -> dict[int, Body]:
    """Return the result of the call at each index."""
    paired = pairs(bodies)
    return {
        at: bodies[paired[at]] if at in paired else interrupted(_asked(body))
        for at, body in enumerate(bodies)
        if isinstance(body, Call)
    }


def _asked(call: Call) -> ToolCall:
    return ToolCall(call_id=call.call_id, tool=call.tool, arguments=call.text)
