"""From a transcript to a prompt: what the model gets to read, in an order that providers accept."""

from collections.abc import Iterator, Sequence

from tidegate.agent.model import Prompt, ToolCall, ToolSpec
from tidegate.agent.tools import interrupted
from tidegate.domain.entry import Body, Call, Notice, Result, User, opaque_of

BYTES_PER_TOKEN = 4  # a rough rule for English; providers count for real
CATALOG_SHARE = 20  # of a prompt, the part that skills are told in,
MAX_CATALOG_BYTES = 16 << 10  # up to this


def build(instructions: str, bodies: Sequence[Body], tools: Sequence[ToolSpec], max_bytes: int) -> Prompt:
    """Build a prompt from the newest turns that fit into *max_bytes* of text; the last turn always stays."""
    kept = _newest_turns([body for body in bodies if not isinstance(body, Notice)], max_bytes)
    return Prompt(instructions=instructions, bodies=list(_paired(kept)), tools=tools)


def catalog_bytes(max_prompt_bytes: int) -> int:
    """Return how many bytes there are to tell of skills."""
    return min(MAX_CATALOG_BYTES, max_prompt_bytes // CATALOG_SHARE)


def with_section(instructions: str, section: str) -> str:
    """Return instructions followed by what is told of skills, or of memory."""
    return f"{instructions}\n\n{section}" if instructions else section


def open_calls(bodies: Sequence[Body]) -> list[ToolCall]:
    """Return the calls without a result, in order; providers may use an id again, so order decides."""
    pending: list[Call] = []
    for body in bodies:
        if isinstance(body, Call):
            pending.append(body)
        elif isinstance(body, Result):
            _take(pending, body)
    return [ToolCall(call_id=call.call_id, tool=call.tool, arguments=call.text) for call in pending]


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
    return sum(len(body.text) + len(opaque_of(body)) for body in bodies)


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
    found: dict[int, Body] = {}
    pending: list[Call] = []
    places: dict[int, int] = {}
    for index, body in enumerate(bodies):
        if isinstance(body, Call):
            pending.append(body)
            places[id(body)] = index
            found[index] = interrupted(ToolCall(call_id=body.call_id, tool=body.tool, arguments=body.text))
        elif isinstance(body, Result) and (call := _take(pending, body)):
            found[places[id(call)]] = body
    return found


def _take(pending: list[Call], result: Result) -> Call | None:
    """Remove and return the oldest pending call that a result answers."""
    call = next((call for call in pending if call.call_id == result.call_id), None)
    if call is not None:
        pending.remove(call)
    return call
