"""Which lines allocated what is still there: Python's own tracing, for a short while, because somebody asked.

Nothing is traced otherwise. While it is, all of Python slows down, the more frames the more (``bench/explain.py``), and
each traced block takes some hundred bytes. So one trace goes on at a time, of few frames, and it ends early when its
own memory gets above a bound. However it ends, tracing is over.
"""

import asyncio
import sys
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread
import msgspec

from tidegate.clock import MINUTE_MS, SECOND_MS
from tidegate.errors import TraceRunning

LEAST_MS, MOST_MS = 1 * SECOND_MS, 5 * MINUTE_MS
FRAMES = 4  # of each block, of which one is told
LINES = 20
MOST_TRACE_BYTES = 8 << 20  # of tracing itself
LOOK_S = 0.5
COST = (
    "while it traces, a run takes two to four times as much of the processor, work that mostly allocates more than ten "
    "times as much; what was there before is not seen"
)
HERE = str(Path(__file__).parents[1])


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of Python, and what it allocated that is still there."""

    #: as ``tidegate/store/rows.py:12``, the innermost line of ours, else of the library
    place: str
    blocks: int
    bytes: int


class Allocations(msgspec.Struct, frozen=True, kw_only=True):
    """What stayed of what was allocated in a while, the most first."""

    asked_ms: int
    traced_ms: int
    bytes: int
    blocks: int
    lines: list[Line]
    #: what tracing itself took at its end
    trace_bytes: int
    #: it ended before its time: it took too much, nobody waited any more, or the gateway stops
    is_cut: bool
    cost: str = COST


class Tracer:
    """Traces, one at a time."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)

    async def trace(self, ms: int, is_awaited: Callable[[], Awaitable[bool]]) -> Allocations:
        """Trace for a while, or until nobody awaits it, and tell which lines hold what was allocated meanwhile.

        Raises:
            TraceRunning: Somebody traces already.
        """
        if tracemalloc.is_tracing():
            raise TraceRunning(
                hint="wait for its end; with PYTHONTRACEMALLOC it goes on as long as the process"
            )
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        tracemalloc.start(FRAMES)
        try:
            is_cut = await _wait(started_s + ms / SECOND_MS, is_awaited)
            trace_bytes = tracemalloc.get_tracemalloc_memory()
            traced_ms = int((loop.time() - started_s) * SECOND_MS)
            traces = tracemalloc.take_snapshot().traces
        finally:
            tracemalloc.stop()
        found = await anyio.to_thread.run_sync(_lines, traces, limiter=self._limiter)
        return Allocations(
            asked_ms=ms,
            traced_ms=traced_ms,
            bytes=sum(line.bytes for line in found),
            blocks=sum(line.blocks for line in found),
            lines=found[:LINES],
            trace_bytes=trace_bytes,
            is_cut=is_cut,
        )


class _Tally(NamedTuple):
    """What was found of one line."""

    blocks: int
    bytes: int


async def _wait(until_s: float, is_awaited: Callable[[], Awaitable[bool]]) -> bool:
    """Wait for an end; say whether it came early."""
    loop = asyncio.get_running_loop()
    while (left_s := until_s - loop.time()) > 0:
        await asyncio.sleep(min(LOOK_S, left_s))
        if tracemalloc.get_tracemalloc_memory() > MOST_TRACE_BYTES or not await is_awaited():
            return loop.time() < until_s
    return False


def _lines(traces: Iterable[tracemalloc.Trace]) -> list[Line]:
    """Return the lines, the heaviest first; most blocks share few ways to them, and only those are looked at."""
    ways: Counter[tracemalloc.Traceback] = Counter()
    sizes: Counter[tracemalloc.Traceback] = Counter()
    for trace in traces:
        way = trace.traceback
        ways[way] += 1
        sizes[way] += trace.size
    tallies: dict[str, _Tally] = defaultdict(lambda: _Tally(0, 0))
    for way, count in ways.items():
        place = _place(way)
        blocks, size = tallies[place]
        tallies[place] = _Tally(blocks + count, size + sizes[way])
    lines = [Line(place=place, blocks=tally.blocks, bytes=tally.bytes) for place, tally in tallies.items()]
    return sorted(lines, key=lambda line: (-line.bytes, line.place))


def _place(frames: tracemalloc.Traceback) -> str:
    """Return the innermost line of ours; a library's where none is."""
    ours = (frame for frame in reversed(frames) if frame.filename.startswith(HERE))
    frame = next(ours, frames[-1])
    return f"{_short(frame.filename)}:{frame.lineno}"


def _short(name: str) -> str:
    """Return a path without where it lies on this machine."""
    folders = sorted(filter(None, sys.path), key=len, reverse=True)
    path = Path(name)
    return next(
        (str(path.relative_to(folder)) for folder in folders if path.is_relative_to(folder)), path.name
    )
