"""Time that passes only when nothing is left to do, so that months go by in minutes and every date is kept exactly.

`VirtualLoop` is asyncio's own event loop with another idea of time: instead of resting until its next timer, it makes
that timer's moment the present. It does so only when no task is ready, no worker thread is at work and nothing waits
for the writer; while any of them works, time stands still. Everything built on the loop follows: `asyncio.sleep`,
`asyncio.timeout`, the sweeper, the runner; `VirtualClock` gives the store the same time.

uvloop keeps time in C and cannot be taught this, so a soak runs on asyncio's own loop.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import TypeVar

import anyio

# Which worker threads are at work is known to nobody else: anyio is pinned, and tests fail if these names go.
from anyio._backends._asyncio import _threadpool_idle_workers, _threadpool_workers

from tidegate.errors import Broken
from tidegate.soak import interrupt

T = TypeVar("T")

# asyncio runs what is due within its clock's resolution, a nanosecond. A float of 2^24 s, 194 days, holds nothing so
# small: what is due right then would never run, and time stand still.
RESOLUTION_S = 1e-6
STUCK_S = 120.0  # of real time in one thread; longer, and virtual time would never pass again
EPOCH = 1_800_000_000_000  # where virtual time starts, in ms as `clock` has it

_Events = list[tuple[selectors.SelectorKey, int]]


class VirtualSelector(selectors.DefaultSelector):
    """Waits for files in real time while something works, and lets virtual time pass otherwise."""

    def __init__(self, is_at_work: Callable[[], bool], let_pass: Callable[[float], None]) -> None:
        super().__init__()
        self._is_at_work = is_at_work
        self._let_pass = let_pass

    def select(self, timeout: float | None = None) -> _Events:
        """Return what is ready; *timeout* is virtual, None where no timer is set, 0 where a task is ready."""
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if self._is_at_work():
            return self._until_told()
        if timeout is None:
            return super().select(None)
        if events := super().select(0):
            return events
        self._let_pass(timeout)
        return []

    def _until_told(self) -> _Events:
        events = super().select(STUCK_S)
        if not events:
            raise Broken(f"a thread has worked for {STUCK_S:g} s, so that virtual time cannot pass")
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time starts at 0 and jumps to the next timer once nothing is left to do."""

    def __init__(self) -> None:
        self._virtual_s = 0.0
        #: what is at work outside of the loop: each answers how many things are, and changes in the loop alone
        self.works: list[Callable[[], int]] = []
        super().__init__(VirtualSelector(self._is_at_work, self._let_pass))
        self._clock_resolution = RESOLUTION_S

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual_s

    def _is_at_work(self) -> bool:
        return any(count() for count in self.works)

    def _let_pass(self, seconds: float) -> None:
        self._virtual_s += seconds


class VirtualClock:
    """The clock of a virtual loop; any thread may read it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> int:
        """Return the virtual wall time in ms since the epoch."""
        return EPOCH + self.monotonic()

    def monotonic(self) -> int:
        """Return the virtual ms since the start; the loop's time is a whole number of them up to rounding."""
        return round(self._loop.time() * 1_000)


def run(main: Callable[[VirtualLoop], Coroutine[object, object, T]]) -> T:
    """Run *main* in a virtual loop; Ctrl-C, SIGTERM and SIGHUP cancel it, so that it can clean up.

    Raises:
        KeyboardInterrupt: It was cancelled so.
    """
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return interrupt.run(runner, lambda: _prepared(loop, main))


async def _prepared(loop: VirtualLoop, main: Callable[[VirtualLoop], Coroutine[object, object, T]]) -> T:
    """Run *main* in a loop that knows of the worker threads."""
    # the lists of worker threads exist once there is one
    await anyio.to_thread.run_sync(_nothing)
    workers, idle = _threadpool_workers.get(), _threadpool_idle_workers.get()
    # a worker becomes idle in a turn of the loop, before whoever waits for it goes on
    loop.works.append(lambda: len(workers) - len(idle))
    return await main(loop)


def _nothing() -> None:
    """Have a worker thread started."""
