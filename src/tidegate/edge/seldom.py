"""Routes that are seldom asked for: what answers them is imported with the first request, not by an idle gateway."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from tidegate.edge.endpoint import Endpoint, Handler


class Late:
    """A handler that is made when it is first asked."""

    def __init__(self, make: Callable[[], Handler]) -> None:
        self._make = make
        self._handler: Handler | None = None

    def __call__(self, request: Request) -> Awaitable[Response]:
        """Let it answer."""
        if self._handler is None:
            self._handler = self._make()
        return self._handler(request)


class Seldom:
    """The routes that explain and foretell growth."""

    def __init__(self, explain: Callable[[], Handler], forecast: Callable[[], Handler]) -> None:
        self._explain = Late(explain)
        self._forecast = Late(forecast)

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        return [
            Endpoint(
                method="GET",
                path="/api/growth/explain",
                handler=self._explain,
                summary="What grew since when, in words, with the setting that would change it",
                query={
                    "since": "how far back, as `1h` (the default) or `7d`, 90d at most",
                    "allocations": "trace Python's allocations for so long first, 1s to 5m; one at a time",
                },
                errors=(400, 409),
            ),
            Endpoint(
                method="GET",
                path="/api/forecast",
                handler=self._forecast,
                summary="What there will be: sessions, disk, memory, and which budget breaks first",
                query={
                    "scale": "how many times as much comes, 1 by default",
                    "rate": "rates that are taken instead, with commas, such as `api=100/h,chat=5/d`",
                },
                errors=(400,),
            ),
        ]
