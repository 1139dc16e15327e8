"""An answer in pieces that ends with its client, and holds little while it lasts.

Starlette keeps all that has led to an answer until the answer is out, a dozen coroutines, and a second task that waits
until the client goes. A `Stream` is sent at the door instead, after everything behind it has ended, and by the one task
that its request has.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import cast

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

#: takes what is to be called once the client has gone, None for nothing
Watch = Callable[[Callable[[], None] | None], None]
#: where in a scope a stream is put that the door has to send
AT_THE_DOOR = "tidegate.stream"


class Stream(StreamingResponse):
    """What a generator yields, for as long as the client is there; the generator is closed then."""

    def __init__(
        self, parts: AsyncGenerator[bytes, None], media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(parts, media_type=media_type, headers=headers)
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave it to the door; where there is none, send it."""
        if AT_THE_DOOR in scope:
            scope[AT_THE_DOOR] = self
        else:
            await self.send(scope, receive, send)

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as far as its client hears it."""
        watch: Watch | None = scope.get("state", {}).get("watch")
        async with aclosing(self._parts):
            if watch is None:  # another server, or the client has gone
                await super().__call__(scope, receive, send)
            else:
                await self._send_while_watched(watch, send)

    async def _send_while_watched(self, watch: Watch, send: Send) -> None:
        task, has_left = cast("asyncio.Task[None]", asyncio.current_task()), False

        def leave() -> None:
            nonlocal has_left
            has_left = True
            task.cancel()

        watch(leave)
        try:
            await self.stream_response(send)
        except asyncio.CancelledError:
            if not has_left or task.uncancel():  # somebody else wants it to end, too
                raise
        finally:
            watch(None)
