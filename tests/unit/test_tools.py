import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from tidegate.agent.model import ToolCall, ToolSpec
from tidegate.agent.tools import INTERRUPTED, MAX_ERROR_CHARS, MAX_RESULT_BYTES, Tool, ToolBox, interrupted
from tidegate.domain.entry import Result

CALL = ToolCall(call_id="c1", tool="probe", arguments='{"n":1}')


def probe(
    run: Callable[[str], Awaitable[str]], *, deadline_s: float = 20.0, is_idempotent: bool = False
) -> ToolBox:
    """Return a box with one tool, named as in `CALL`."""
    spec = ToolSpec(name="probe", description="a probe", parameters={"type": "object"})
    return ToolBox([Tool(spec=spec, run=run, deadline_s=deadline_s, is_idempotent=is_idempotent)])


def answering(text: str) -> Callable[[str], Awaitable[str]]:
    """Return a tool function that answers *text*."""

    async def run(arguments: str) -> str:
        return text

    return run


def raising(error: Exception) -> Callable[[str], Awaitable[str]]:
    """Return a tool function that raises *error*."""

    async def run(arguments: str) -> str:
        raise error

    return run


async def forever(arguments: str) -> str:
    """Wait for what never happens."""
    await asyncio.Event().wait()
    return "never"


def test_a_result_names_its_call() -> None:
    """A tool gets the arguments as written, and its answer carries the ids of the call."""

    async def run(arguments: str) -> str:
        return f"got {arguments}"

    expected = Result(tool="probe", call_id="c1", text='got {"n":1}')
    assert asyncio.run(probe(run).call(CALL)) == expected


def test_an_unknown_tool_is_told() -> None:
    """Calling a tool that does not exist is an error that the model can read."""
    expected = Result(tool="probe", call_id="c1", text="there is no tool 'probe'", is_error=True)
    assert asyncio.run(ToolBox().call(CALL)) == expected


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
    assert asyncio.run(probe(raising(error)).call(CALL)) == expected


def test_the_deadline_ends_a_call() -> None:
    """A tool that takes longer than its deadline is cancelled, and the model is told."""
    result = asyncio.run(probe(forever, deadline_s=0.01).call(CALL))
    assert (result.text, result.is_error) == ("probe took longer than 0.01 s", True)


def test_cancellation_goes_through() -> None:
    """A cancelled run cancels its call; no result is made up."""

    async def main() -> None:
        started = asyncio.Event()

        async def run(arguments: str) -> str:
            started.set()
            return await forever(arguments)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(probe(run).call(CALL))
            await started.wait()
            task.cancel()
        assert task.cancelled()

    asyncio.run(main())


@pytest.mark.parametrize(("extra", "is_error"), [(0, False), (1, True)])
def test_a_result_has_a_limit(extra: int, *, is_error: bool) -> None:
    """16 MiB of UTF-8 pass; one byte more is refused, and the refusal is short."""
    result = asyncio.run(probe(answering("é" * (MAX_RESULT_BYTES // 2) + "x" * extra)).call(CALL))
    assert result.is_error is is_error
    assert not is_error or result.text == "the result has more than 16 MiB"


def test_an_error_is_cut() -> None:
    """However much an exception says, the model reads only its beginning."""
    result = asyncio.run(probe(raising(ValueError("x" * 1_000_000))).call(CALL))
    assert len(result.text) == MAX_ERROR_CHARS


@pytest.mark.parametrize("run", [answering("a\ud83db"), raising(ValueError("a\ud83db"))])
def test_text_can_always_be_stored(run: Callable[[str], Awaitable[str]]) -> None:
    """Half of a surrogate pair, which UTF-8 cannot spell, is replaced; nothing is raised."""
    assert asyncio.run(probe(run).call(CALL)).text.endswith("a?b")


def test_specs_are_what_the_model_sees() -> None:
    """A box shows its tools in order, and knows which may be repeated."""
    box = probe(forever, is_idempotent=True)
    assert [spec.name for spec in box.specs] == ["probe"]
    assert box.is_idempotent("probe")
    assert not box.is_idempotent("other")


def test_interrupted_is_an_error() -> None:
    """A call that a crash cut off gets a result which says that its outcome is unknown."""
    assert interrupted(CALL) == Result(tool="probe", call_id="c1", text=INTERRUPTED, is_error=True)
