"""The sweep over HTTP: what is due, moved now or only counted."""

from starlette.requests import Request
from starlette.responses import Response

from tidegate.edge import query
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.runtime.sweeper import Sweeper


class Sweep:
    """The handler of an asked sweep."""

    def __init__(self, sweeper: Sweeper) -> None:
        self._sweeper = sweeper

    async def run(self, request: Request) -> Response:
        """Carry out what is due, now."""
        if query.flag(request, "dry_run"):
            return Json(await self._sweeper.preview())
        return Json(await self._sweeper.sweep(confirm=query.flag(request, "confirm")))

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [
            Endpoint(
                method="POST",
                path="/api/sweep",
                handler=self.run,
                summary="Carry out what is due, now",
                query={"dry_run": "1: only count", "confirm": "1: trust a clock that was in doubt"},
                errors=(400, 507),
            )
        ]
