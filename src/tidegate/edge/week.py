"""How the gateway was in the last week, in a line and in figures, over HTTP."""

from starlette.requests import Request
from starlette.responses import Response

from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.runtime.week import Weeks


class WeekPage:
    """The handler over the summary."""

    def __init__(self, weeks: Weeks) -> None:
        self._summaries = weeks

    async def show(self, _: Request) -> Response:
        """Answer the summary."""
        found = await self._summaries.read()
        return Json(
            {
                "line": found.line,
                "uptime_s": found.uptime_ms // 1_000,
                "span_s": found.span_ms // 1_000,
                "came": found.came,
                "went": found.went,
                "memory_bytes": found.memory_bytes,
                "trend": found.trend,
                "spend": found.micros / 1_000_000,
                "unpriced": found.unpriced,
            }
        )

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [
            Endpoint(
                method="GET",
                path="/api/growth/summary",
                handler=self.show,
                summary="How the gateway was in the last seven days, in a line",
            )
        ]
