"""Approvals over HTTP: what waits for a person's word, and the word."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidegate.domain.approval import Approval, ApprovalState, Decision
from tidegate.edge import query, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest
from tidegate.ids import ApprovalId
from tidegate.store.port import Store


class DecisionIn(msgspec.Struct, forbid_unknown_fields=True):
    """A person's word."""

    decision: Literal["once", "always", "deny"]


class Approvals:
    """Handlers over approvals."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def page(self, request: Request) -> Response:
        """List approvals, newest first."""
        asked = request.query_params
        limit = query.limit_of(asked)
        states = query.choices(asked.get("state"), ApprovalState)
        if len(states) > 1:
            raise BadRequest("approvals are listed in one state or in all of them")
        found = await self._store.approvals(
            state=states[0] if states else None,
            session=query.head_of(self._store, asked["session"]).id if asked.get("session") else None,
            before=query.cursor_of(asked),
            limit=limit,
        )
        following = found[-1].id if len(found) == limit else None
        return Json({"approvals": [self._shown(approval) for approval in found], "next": following})

    async def decide(self, request: Request) -> Response:
        """Take a decision."""
        wanted = await wire.decode(await wire.body_of(request), DecisionIn)
        name = ApprovalId(request.path_params["id"])
        return Json(self._shown(await self._store.decide(name, Decision(wanted.decision))))

    def _shown(self, approval: Approval) -> dict[str, object]:
        return wire.approval_out(approval, self._store.key_of(approval.session))

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        filters = {"state": ", ".join(ApprovalState), "session": "the key of a session"}
        return [
            Endpoint(
                method="GET",
                path="/api/approvals",
                handler=self.page,
                summary="List approvals, newest first",
                query=filters | query.PAGE | query.CURSOR,
                errors=(400, 404),
            ),
            Endpoint(
                method="POST",
                path="/api/approvals/{id}",
                handler=self.decide,
                body=DecisionIn,
                summary="Allow a call once, allow exactly this call always, or deny it",
                errors=(400, 404, 409, 429, 507),
            ),
        ]
