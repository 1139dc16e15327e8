"""Stopping over HTTP, for those who cannot send the process a signal: it may be another machine's, or a container's."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json


class Shutdown:
    """The wish to stop, whoever has it."""

    def __init__(self) -> None:
        #: set once somebody wants the gateway to stop
        self.wanted = asyncio.Event()

    async def stop(self, _: Request) -> Response:
        """Begin to stop as on SIGTERM; what runs gets its time."""
        self.wanted.set()
        return Json({"stopping": True}, status_code=202)

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [
            Endpoint(
                method="POST",
                path="/api/stop",
                handler=self.stop,
                summary="Stop the gateway, as on SIGTERM",
                answers={202: "it stops"},
            )
        ]
