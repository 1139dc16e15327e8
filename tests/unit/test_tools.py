import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
import pytest

from tidegate.agent.model import ToolCall, ToolSpec
from tidegate.agent.tools import (
    INTERRUPTED,
    MAX_ERROR_CHARS,
    MAX_RESULT_BYTES,
    Caller,
    Later,
    Tool,
    ToolBox,
    ToolFailed,
    decoded,
    interrupted,
    spec,
)
from tidegate.domain.entry import Result
from tidegate.ids import RunId, SessionId

CALLER = Caller(session=SessionId("s"), run=RunId("r"), agent="main")
CALL = ToolCall(call_id="c1", tool="probe", arguments='{"n":1}')


def probe(
    run: Callable[[str, Caller], Awaitable[str | Later]],
    *,
    deadline_s: float = 20.0,
    is_idempotent: bool = False,
) -> ToolBox:
    """Return a box with one tool, named as in `CALL`."""
    shape = ToolSpec(name="probe", description="a probe", parameters={"type": "object"})
    return ToolBox([Tool(spec=shape, run=run, deadline_s=deadline_s, is_idempotent=is_idempotent)])


def called(box: ToolBox, call: ToolCall) -> Result:
    """Call a tool and return its result."""
    result = asyncio.run(box.call(call, CALLER))
    assert isinstance(result, Result)
    return result


def answering(text: str) -> Callable[[str, Caller], Awaitable[str]]:
    """Return a tool function that answers *text*."""

    async def run(arguments: str, _: Caller) -> str:
        return text

    return run


def raising(error: Exception) -> Callable[[str, Caller], Awaitable[str]]:
    """Return a tool function that raises *error*."""

    async def run(arguments: str, _: Caller) -> str:
        raise error

    return run


async def forever(arguments: str, _: Caller) -> str:
    """Wait for what never happens."""
    await asyncio.Event().wait()
    return "never"


def test_a_result_names_its_call() -> None:
    """A tool gets the arguments as written, and its answer carries the ids of the call."""

    async def run(arguments: str, _: Caller) -> str:
        return f"got {arguments}"

    expected = Result(tool="probe", call_id="c1", text='got {"n":1}')
    assert called(probe(run), CALL) == expected


def test_an_unknown_tool_is_told() -> None:
    """Calling a tool that does not exist is an error that the model can read."""
    expected = Result(tool="probe", call_id="c1", text="there is no tool 'probe'", is_error=True)
    assert called(ToolBox(), CALL) == expected


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("too odd"), "probe failed: ValueError: too odd"),
        (msgspec.ValidationError("Expected `int`"), "wrong arguments: Expected `int`"),
        (TimeoutError("the disk"), "probe failed: TimeoutError: the disk"),
    ],
)
def test_an_error_becomes_a_result(error: Exception, text: str) -> None:
    """Whatever a tool raises is told to the model; a time-out of its own is not taken for the deadline."""
    expected = Result(tool="probe", call_id="c1", text=text, is_error=True)
    assert called(probe(raising(error)), CALL) == expected


def test_the_deadline_ends_a_call() -> None:
    """A tool that takes longer than its deadline is cancelled, and the model is told."""
    result = called(probe(forever, deadline_s=0.01), CALL)
    assert (result.text, result.is_error) == ("probe took longer than 0.01 s", True)


def test_cancellation_goes_through() -> None:
    """A cancelled run cancels its call; no result is made up."""

    async def main() -> None:
        started = asyncio.Event()

        async def run(arguments: str, _: Caller) -> str:
            started.set()
            return await forever(arguments, CALLER)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(probe(run).call(CALL, CALLER))
            await started.wait()
            task.cancel()
        assert task.cancelled()

    asyncio.run(main())


@pytest.mark.parametrize(("extra", "is_error"), [(0, False), (1, True)])
def test_a_result_has_a_limit(extra: int, *, is_error: bool) -> None:
    """16 MiB of UTF-8 pass; one byte more is refused, and the refusal is short."""
    result = called(probe(answering("é" * (MAX_RESULT_BYTES // 2) + "x" * extra)), CALL)
    assert result.is_error is is_error
    assert not is_error or result.text == "the result has more than 16 MiB"


def test_an_error_is_cut() -> None:
    """However much an exception says, the model reads only its beginning."""
    result = called(probe(raising(ValueError("x" * 1_000_000))), CALL)
    assert len(result.text) == MAX_ERROR_CHARS


@pytest.mark.parametrize("run", [answering("a\ud83db"), raising(ValueError("a\ud83db"))])
def test_text_can_always_be_stored(run: Callable[[str, Caller], Awaitable[str]]) -> None:
    """Half of a surrogate pair, which UTF-8 cannot spell, is replaced; nothing is raised."""
    assert called(probe(run), CALL).text.endswith("a?b")


def test_specs_are_what_the_model_sees() -> None:
    """A box shows its tools in order, and knows which may be repeated."""
    box = probe(forever, is_idempotent=True)
    assert [spec.name for spec in box.specs] == ["probe"]
    assert box.is_idempotent("probe")
    assert not box.is_idempotent("other")


def test_interrupted_is_an_error() -> None:
    """A call that a crash cut off gets a result which says that its outcome is unknown."""
    assert interrupted(CALL) == Result(tool="probe", call_id="c1", text=INTERRUPTED, is_error=True)


class Reading(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a tool that reads lines."""

    path: Annotated[str, msgspec.Meta(description="Where to read.")]
    lines: Annotated[int, msgspec.Meta(ge=1, description="How many lines.")] = 10


def test_a_struct_describes_the_arguments() -> None:
    """The model sees each argument with its type, bounds and description, and which of them it must give."""
    expected = {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "Where to read."},
            "lines": {"type": "integer", "minimum": 1, "description": "How many lines.", "default": 10},
        },
        "required": ["path"],
        "additionalProperties": False,
    }
    assert spec("read", "Read.", Reading).parameters == expected


@pytest.mark.parametrize(
    ("arguments", "text", "is_error"),
    [
        ('{"path": "a", "lines": 2}', "a:2", False),
        ('{"path": "a"}', "a:10", False),
        ("", "wrong arguments: Object missing required field `path`", True),
        ('{"path": 1}', "wrong arguments: Expected `str`, got `int` - at `$.path`", True),
        ('{"path": "a", "line": 1}', "wrong arguments: Object contains unknown field `line`", True),
        ("no JSON", "wrong arguments: the text is not JSON: Expecting value at line 1, column 1", True),
    ],
)
def test_arguments_are_checked_first(arguments: str, text: str, is_error: bool) -> None:  # noqa: FBT001 - a case
    """A tool gets arguments of its own type; what is wrong with others is told to the model."""

    async def read(reading: Reading, _: Caller) -> str:
        return f"{reading.path}:{reading.lines}"

    call = ToolCall(call_id="c1", tool="probe", arguments=arguments)
    result = called(probe(decoded(Reading, read)), call)
    assert (result.text, result.is_error) == (text, is_error)


def test_a_tool_says_what_it_cannot_do() -> None:
    """A tool's own refusal reaches the model word for word, with the remedy."""
    result = called(probe(raising(ToolFailed("no such file", hint="list_files shows them"))), CALL)
    assert result == Result(
        tool="probe", call_id="c1", text="no such file; list_files shows them", is_error=True
    )
