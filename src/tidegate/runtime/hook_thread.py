"""A thread of its own for somebody's code, so that nothing it does holds the gateway's loop up.

One thread a plugin, which calls one function at a time: where a call outlives its deadline, nothing further is called
before it has ended, so that threads cannot pile up. A coroutine runs in a loop of its own and is cancelled at the
deadline; what it leaves in that loop ends with the call. The thread is a daemon, unlike those that `anyio` lends: a
function that hangs for ever must not keep the process from ending.
"""

import asyncio
import inspect
import threading
from collections.abc import Awaitable
from contextlib import suppress
from enum import StrEnum
from queue import SimpleQueue
from typing import NamedTuple

from tidegate.domain.event import Event
from tidegate.runtime.plugins import Function, words


class CallOutcome(StrEnum):
    """What became of one event for one plugin."""

    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    #: it was never called: too many events were waiting
    DROPPED = "dropped"


class Report(NamedTuple):
    """How a call went."""

    outcome: CallOutcome
    error: str = ""


class _Call(NamedTuple):
    function: Function
    event: Event
    answer: "asyncio.Future[Report]"


class HookThread:
    """Calls functions one after the other; the thread begins with the first of them."""

    def __init__(self, name: str, deadline_s: float) -> None:
        self._name = name
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()  # holds one call at most, and the end
        self._free = asyncio.Event()
        self._free.set()
        self._thread: threading.Thread | None = None

    async def call(self, function: Function, event: Event) -> Report:
        """Call a function and wait for it no longer than the deadline; call `until_free` before the next one."""
        try:
            self._begin()
        except RuntimeError as error:  # the system has no more threads
            return Report(CallOutcome.FAILED, words(error))
        answer: asyncio.Future[Report] = self._loop.create_future()
        self._free.clear()
        self._calls.put(_Call(function, event, answer))
        try:
            async with asyncio.timeout(self._deadline_s):
                return await answer
        except TimeoutError:
            return _late(self._deadline_s)

    async def until_free(self) -> None:
        """Wait until the last call has ended, however long that takes."""
        await self._free.wait()

    def close(self) -> None:
        """End the thread once the last call has ended; nobody waits for that."""
        self._calls.put(None)

    def _begin(self) -> None:
        if self._thread is None:
            name = f"tidegate-hook-{self._name}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            thread.start()
            self._thread = thread

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            report = _called(call.function, call.event, self._deadline_s)
            with suppress(RuntimeError):  # the gateway's loop is closed already
                self._loop.call_soon_threadsafe(self._end, call.answer, report)

    def _end(self, answer: "asyncio.Future[Report]", report: Report) -> None:
        self._free.set()
        if not answer.done():
            answer.set_result(report)


def _called(function: Function, event: Event, deadline_s: float) -> Report:
    try:
        answer = function(event)
        if inspect.isawaitable(answer):
            return asyncio.run(_awaited(answer, deadline_s))
    except BaseException as error:  # noqa: BLE001 - the wall of a hook: whatever a stranger's code raises, exits included
        return Report(CallOutcome.FAILED, words(error))
    return Report(CallOutcome.OK)


async def _awaited(answer: Awaitable[object], deadline_s: float) -> Report:
    deadline = asyncio.timeout(deadline_s)
    try:
        async with deadline:
            await answer
    except BaseException as error:  # noqa: BLE001 - the same wall; outside, the loop would hold on to the error
        if isinstance(error, TimeoutError) and deadline.expired():
            return _late(deadline_s)
        return Report(CallOutcome.FAILED, words(error))
    return Report(CallOutcome.OK)


def _late(deadline_s: float) -> Report:
    return Report(CallOutcome.TIMED_OUT, f"took longer than {deadline_s:g} s")
