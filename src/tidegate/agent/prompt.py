"""From a transcript to a prompt: what the model gets to read, in an order that providers accept."""

from collections.abc import Iterator, Sequence

import msgspec

from tidegate.agent import measure
from tidegate.agent.model import Prompt, ToolCall, ToolSpec
from tidegate.agent.pairing import pairs
from tidegate.agent.skills.catalog import TOOL as SKILL_TOOL
from tidegate.agent.tools import interrupted
from tidegate.domain.entry import Assistant, Body, Call, Notice, Result, Summary, System, User

CATALOG_SHARE = 20  # of a prompt, the part that skills are told in,
MAX_CATALOG_BYTES = 16 << 10  # up to this
WHOLE_RESULTS = 3  # the last turns whose results are read whole
OLD_RESULT_CHARS = 2_000  # of an older result; above them it is shortened
OLD_BEGINNING_CHARS = 1_000  # to so much
LEAST_TEXT_BYTES = 200  # what stays of each text of a turn that is too long for the model
BEGINNING_SHARE = 2 / 3  # of what stays of a text, beside its end


def build(
    instructions: str,
    bodies: Sequence[Body],
    tools: Sequence[ToolSpec],
    max_bytes: int | None,
    *,
    in_part: bool = True,
) -> Prompt:
    """Build a prompt: the summary and what is read beside it, then the newest turns that fit into *max_bytes*.

    Instructions of a client stay, and so does the last turn; where that is too long by itself its longest texts are
    told *in_part*, with a mark. None is no limit.
    """
    told: list[Body] = [body for body in bodies if not isinstance(body, Notice) and not _is_empty(body)]
    start = max((at for at, body in enumerate(told, 1) if isinstance(body, Summary)), default=0)
    head = told[:start]
    if max_bytes is not None:
        room = max_bytes - measure.text_size(instructions) - measure.tools_size(tools) - _size(head)
        newest = _newest_turns(told[start:], room)
        told = [*head, *(_in_part(newest, room) if in_part else newest)]
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
    """Drop whole turns from the front; a turn starts with a user's message, and instructions are part of none."""
    start = 0
    size = _size(bodies)
    starts = [index for index, body in enumerate(bodies) if isinstance(body, User)]
    for index in starts:
        if size <= max_bytes:
            break
        size -= _size([body for body in bodies[start:index] if not isinstance(body, System)])
        start = index
    return [*(body for body in bodies[:start] if isinstance(body, System)), *bodies[start:]]


def _in_part(bodies: list[Body], max_bytes: int) -> list[Body]:
    """Cut the longest texts down to one length, with which all fit; the shorter ones stay whole."""
    over = _size(bodies) - max_bytes
    if over <= 0:
        return bodies
    sizes = sorted((measure.text_size(body.text) for body in bodies), reverse=True)
    most = sizes[0]
    for count, size in enumerate([*sizes[1:], 0], 1):  # the longest ones come down to the next, and so on
        step = min(over, (most - size) * count)
        over -= step
        most -= -(-step // count)
        if over <= 0 or most <= LEAST_TEXT_BYTES:
            break
    most = max(most, LEAST_TEXT_BYTES)
    return [_beginning_and_end(body, most) for body in bodies]


def _beginning_and_end(body: Body, max_bytes: int) -> Body:
    """Return a body with what fits of its text, and a word on what is missing; arguments have to stay JSON."""
    size = measure.text_size(body.text)
    if size <= max_bytes:
        return body
    if isinstance(body, Call):
        return msgspec.structs.replace(body, text=f'{{"left_out": "{size:,} bytes"}}')
    mark = (
        f"\n[{size - max_bytes:,} bytes are left out here: this is longer than the model can read at once]\n"
    )
    room = max_bytes - len(mark)
    beginning = int(room * BEGINNING_SHARE)
    raw = body.text.encode(errors="replace")
    parts = (raw[:beginning], raw[len(raw) - (room - beginning) :])
    first, last = (part.decode(errors="ignore") for part in parts)
    return msgspec.structs.replace(body, text=f"{first}{mark}{last}")


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
