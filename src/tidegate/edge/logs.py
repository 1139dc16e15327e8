"""The latest events of the log over HTTP, for those who do not see the gateway's standard error."""

import json

from starlette.requests import Request
from starlette.responses import Response

from tidegate import log
from tidegate.bounded import OLDEST_GOES, Registry
from tidegate.edge import query
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json


class Logs:
    """The handler of the log."""

    def __init__(self, registry: Registry) -> None:
        registry.add("log_events", lambda: len(log.recent()), log.RECENT, when_full=OLDEST_GOES)

    async def page(self, request: Request) -> Response:
        """List events in order; `next` is what to ask for after them."""
        after = query.integer(request.query_params, "after", 0)
        found = log.recent(after)
        shown = found[-query.limit_of(request.query_params) :]
        following = shown[-1].number if shown else after
        return Json({"logs": [json.loads(line.text) for line in shown], "next": following})

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [
            Endpoint(
                method="GET",
                path="/api/logs",
                handler=self.page,
                summary="List the latest events of the log",
                query=query.PAGE | {"after": "the `next` of the answer before: only what came since"},
                errors=(400,),
            )
        ]
