"""Turns for work that takes more than the event loop's time: so many at once, so many waiting, and no more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

from tidegate.agent.tools import ToolFailed
from tidegate.threads import on_thread

T = TypeVar("T")


class Turns:
    """So many turns at once; who comes when too many wait already is sent away."""

    def __init__(self, turns: int, max_waiting: int) -> None:
        self.limit = turns + max_waiting
        #: who has a turn or waits for one
        self.taken = 0
        self._turns = asyncio.Semaphore(turns)
        # a thread is not freed by cancelling who waits for it, so it has a limit of its own
        self._threads = anyio.CapacityLimiter(turns)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and have it for as long as this is open.

        Raises:
            ToolFailed: Too many wait.
        """
        if self.taken >= self.limit:
            raise ToolFailed("too many tools are at work", hint="try again later")
        self.taken += 1
        try:
            async with self._turns:
                yield
        finally:
            self.taken -= 1

    async def thread(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread when it is its turn.

        Raises:
            ToolFailed: Too many wait.
        """
        async with self.turn():
            return await on_thread(work, self._threads)
