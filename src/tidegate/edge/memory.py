"""Memory over HTTP: what agents remember, listed, searched, added to and taken from."""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidegate.agent.loop import Agent
from tidegate.clock import Clock
from tidegate.domain.fact import (
    USUAL_IMPORTANCE,
    Category,
    Fact,
    FactOrigin,
    Importance,
    Name,
    Note,
    Text,
    Value,
)
from tidegate.edge import query, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest
from tidegate.ids import FactId
from tidegate.runtime.memory import Memory
from tidegate.store.port import Store
from tidegate.units import duration_ms

MANY = 1 << 62
MOST_FOUND = 100
MAX_FACT_BYTES = 64 << 10


class FactIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something to remember: a text, or an entity with a key and a value, or both."""

    text: Text = ""
    entity: Name = ""
    key: Name = ""
    value: Value = ""
    category: Category = ""
    importance: Importance = USUAL_IMPORTANCE
    #: after how long to forget it, such as "30d"
    expires: str | None = None
    agent: str | None = None


class MemoryPage:
    """Handlers over facts."""

    def __init__(self, store: Store, memory: Memory, agents: Mapping[str, Agent], clock: Clock) -> None:
        self._store = store
        self._memory = memory
        self._agents = agents
        self._clock = clock

    async def page(self, request: Request) -> Response:
        """List facts, newest first; with ``q`` those that answer it, best first, in one page."""
        asked = request.query_params
        limit = query.limit_of(asked)
        if asked.get("q", "").strip():
            agent = query.agent_name(self._agents, asked.get("agent") or None)
            found = await self._memory.search(agent, asked["q"], min(limit, MOST_FOUND))
            return Json({"facts": [self._shown(fact) for fact in found], "next": None})
        before = query.integer(asked, "cursor", MANY)
        found = await self._store.facts.page(asked.get("agent") or None, self._clock.now(), before, limit)
        following = str(found[-1].number) if len(found) == limit else None
        return Json({"facts": [self._shown(fact) for fact in found], "next": following})

    async def remember(self, request: Request) -> Response:
        """Let an agent remember something."""
        wanted = await wire.decode(await wire.body_of(request, MAX_FACT_BYTES), FactIn)
        agent = query.agent_name(self._agents, wanted.agent)
        kept = await self._memory.remember(agent, self._note(wanted))
        return Json({**self._shown(kept.fact), "kept": kept.kept})

    async def forget(self, request: Request) -> Response:
        """Take a fact away."""
        return Json(self._shown(await self._memory.forget(FactId(request.path_params["id"]))))

    def _note(self, wanted: FactIn) -> Note:
        try:
            expires_at = self._clock.now() + duration_ms(wanted.expires) if wanted.expires else None
        except ValueError as error:
            raise BadRequest(f"expires: {error}") from None
        return Note(
            text=wanted.text,
            entity=wanted.entity,
            key=wanted.key,
            value=wanted.value,
            category=wanted.category,
            importance=wanted.importance,
            expires_at=expires_at,
            origin=FactOrigin.PERSON,
        )

    def _shown(self, fact: Fact) -> dict[str, object]:
        return wire.fact_out(fact, self._store.key_of(fact.source))

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        filters = {"q": "what to look for", "agent": "whose; all without it, with q the first one"}
        return [
            Endpoint(
                method="GET",
                path="/api/memory",
                handler=self.page,
                summary="List facts, newest first, or search them, best first",
                query=filters | query.PAGE | query.CURSOR,
                errors=(400, 404),
            ),
            Endpoint(
                method="POST",
                path="/api/memory",
                handler=self.remember,
                body=FactIn,
                summary="Let an agent remember something",
                errors=(400, 404, 409, 413, 507),
            ),
            Endpoint(
                method="DELETE",
                path="/api/memory/{id}",
                handler=self.forget,
                summary="Take a fact out of an agent's memory",
                errors=(404, 507),
            ),
        ]
