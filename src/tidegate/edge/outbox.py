"""The outbox over HTTP: what is to be sent to webhooks, and what was given up and why."""

from starlette.requests import Request
from starlette.responses import Response

from tidegate.clock import iso
from tidegate.domain.outbox import Delivery, DeliveryState
from tidegate.edge import query
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest
from tidegate.store.port import Store

NEWEST = 1 << 62


class OutboxPage:
    """The handler over the outbox."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(self, request: Request) -> Response:
        """List deliveries, newest first."""
        asked = request.query_params
        limit = query.limit_of(asked)
        states = query.choices(asked.get("state"), DeliveryState)
        if len(states) > 1:
            raise BadRequest("deliveries are listed in one state or in all of them")
        before = query.integer(asked, "cursor", NEWEST)
        state = states[0] if states else None
        found = await self._store.outbox.page(state=state, before=before, limit=limit)
        following = str(found[-1][0]) if len(found) == limit else None
        return Json({"deliveries": [_shown(delivery) for _, delivery in found], "next": following})

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [
            Endpoint(
                method="GET",
                path="/api/outbox",
                handler=self.page,
                summary="List what is to be sent to webhooks, newest first",
                query={"state": ", ".join(DeliveryState)} | query.PAGE | query.CURSOR,
                errors=(400,),
            )
        ]


def _shown(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.id,
        "target": delivery.target,
        "kind": delivery.kind,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "error": delivery.error,
        "bytes": delivery.bytes,
        "created_at": iso(delivery.created_at),
        "due_at": iso(delivery.due_at) if delivery.state is DeliveryState.PENDING else None,
    }
