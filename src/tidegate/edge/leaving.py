"""What a client that goes takes along: the run of its request, and with it the model's stream.

Only a request that has no session of its own is that much its client's: a named session goes on, and an
Idempotency-Key promises the answer to whoever asks again.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from tidegate.edge.event_stream import EventStream

T = TypeVar("T")

Abandon = Callable[[], Awaitable[None]]


async def unless_left(request: Request, work: Awaitable[T], abandon: Abandon) -> T:
    """Return what *work* gives; once the client goes, *abandon* is called, which has to end the work."""
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(_watch(request, abandon))
        try:
            result = await work
        except Exception as error:  # noqa: BLE001 - raised below, as itself rather than in a group
            failure: Exception | None = error
        else:
            failure = None
        finally:
            watching.cancel()
    if failure is not None:
        raise failure
    return result


async def _watch(request: Request, abandon: Abandon) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    await abandon()


class LeavingStream(EventStream):
    """A stream that calls *abandon* when it ends before its last event, because nobody is there to hear it."""

    def __init__(
        self, events: AsyncGenerator[bytes, None], headers: dict[str, str], abandon: Abandon
    ) -> None:
        super().__init__(self._whole(events), headers)
        self._abandon = abandon
        self._is_whole = False

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as far as its client hears it."""
        try:
            await super().send(scope, receive, send)
        finally:
            if not self._is_whole:
                await self._abandon()

    async def _whole(self, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(events):
            async for event in events:
                yield event
        self._is_whole = True
