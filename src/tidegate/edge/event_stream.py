"""An answer of server-sent events.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import AsyncGenerator, Mapping

from starlette.types import Receive, Scope, Send

from tidegate.edge import wire
from tidegate.edge.stream import Stream

ALIVE = b": alive\n\n"  # a comment, which clients pass over


class EventStream(Stream):
    """Sends events, each of them whole, so that the connection may put a comment between two of them."""

    def __init__(self, events: AsyncGenerator[bytes, None], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(events, "text/event-stream", {**wire.STREAM_HEADERS, **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        scope.setdefault("state", {})["between"] = ALIVE
        await super().__call__(scope, receive, send)
