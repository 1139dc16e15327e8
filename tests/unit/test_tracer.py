import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tidegate import bounded
from tidegate.bounded import LruCache
from tidegate.errors import TraceRunning
from tidegate.runtime import tracer
from tidegate.runtime.tracer import Allocations, Tracer

BLOCKS = 500
SIZE = 10_000

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


class Listener:
    """Somebody who waits for the answer, until he does not."""

    def __init__(self) -> None:
        self.is_there = True
        self.looks = asyncio.Event()

    async def awaits(self) -> bool:
        """Say whether he still waits."""
        self.looks.set()
        return self.is_there


@asynccontextmanager
async def tracing(listener: Listener, ms: int = 60_000) -> AsyncIterator[asyncio.Task[Allocations]]:
    """Trace while the block goes on, at least until the first look."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(Tracer().trace(ms, listener.awaits))
        await listener.looks.wait()
        yield task


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often whether it is over."""
    monkeypatch.setattr(tracer, "LOOK_S", 0.01)


async def test_what_stays_is_told_by_line() -> None:
    """What was allocated meanwhile and is still there is told by the line of ours that did it; what is gone is not."""
    listener, cache = Listener(), LruCache[int, bytes](1 << 30, len)
    old = [bytes(SIZE) for _ in range(BLOCKS)]
    async with tracing(listener) as task:
        for number in range(BLOCKS):
            cache.put(number, b"")
            bytearray(SIZE)
        listener.is_there = False
    found = task.result()

    assert [one for one in found.lines if one.place.startswith("tidegate/bounded.py:") and one.blocks >= 1]
    assert found.bytes < BLOCKS * SIZE
    assert found.bytes == sum(one.bytes for one in found.lines) or len(found.lines) == tracer.LINES
    assert len(old) == len(cache)
    assert bounded.__file__ not in {one.place for one in found.lines}


async def test_lines_are_few_and_the_largest_come_first() -> None:
    """Nobody is told more lines than he can read, nor a path of this machine."""
    listener = Listener()
    kept: list[bytes] = []
    async with tracing(listener) as task:
        for number in range(tracer.LINES + 20):
            exec(compile(f"kept.append(bytes({SIZE}))", f"/somewhere/line{number}.py", "exec"))  # noqa: S102
        listener.is_there = False
    lines = task.result().lines

    assert (tracer.LINES, tracer.LINES + 20) == (len(lines), len(kept))
    assert sorted((one.bytes for one in lines), reverse=True) == [one.bytes for one in lines]
    assert [] == [one.place for one in lines if one.place.startswith("/")]


async def test_it_ends_when_nobody_waits() -> None:
    """Who asked has gone: tracing ends at the next look, long before its time."""
    listener = Listener()
    async with tracing(listener) as task:
        assert tracemalloc.is_tracing()
        assert tracer.FRAMES == tracemalloc.get_traceback_limit()
        listener.is_there = False

    assert (True, False) == (task.result().is_cut, tracemalloc.is_tracing())


async def test_its_time_is_its_time() -> None:
    """It ends after so many milliseconds, and says how long it was."""
    found = await Tracer().trace(50, Listener().awaits)

    assert (50, False, False) == (found.asked_ms, found.is_cut, tracemalloc.is_tracing())
    assert found.traced_ms >= 50


async def test_it_ends_when_it_takes_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace that itself takes more memory than it may is cut."""
    monkeypatch.setattr(tracer, "MOST_TRACE_BYTES", 1 << 20)
    kept: list[object] = []
    async with tracing(Listener()) as task:
        kept += [[number] for number in range(100_000)]

    assert (True, False) == (task.result().is_cut, tracemalloc.is_tracing())
    assert task.result().trace_bytes > 1 << 20


async def test_one_at_a_time() -> None:
    """Who asks while one is on is refused, and the one that is on goes on."""
    listener = Listener()
    async with tracing(listener) as task:
        with pytest.raises(TraceRunning):
            await Tracer().trace(50, listener.awaits)
        assert tracemalloc.is_tracing()
        listener.is_there = False

    assert task.result().lines


async def test_tracing_that_somebody_else_began_is_left_alone() -> None:
    """With PYTHONTRACEMALLOC the process is traced for other reasons, and stays so."""
    tracemalloc.start()
    try:
        with pytest.raises(TraceRunning):
            await Tracer().trace(50, Listener().awaits)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


async def test_it_is_over_when_it_is_cancelled() -> None:
    """A gateway that stops, or a request that is cancelled, leaves nothing traced."""
    listener = Listener()
    async with tracing(listener) as task:
        task.cancel()

    assert (True, False) == (task.cancelled(), tracemalloc.is_tracing())


async def test_it_is_over_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong, nothing is traced any more."""

    def broken() -> tracemalloc.Snapshot:
        raise MemoryError

    monkeypatch.setattr(tracemalloc, "take_snapshot", broken)
    with pytest.raises(MemoryError):
        await Tracer().trace(20, Listener().awaits)

    assert not tracemalloc.is_tracing()
