"""Skills over HTTP: what an agent has now, and what is wrong with it."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from tidegate.agent.loop import Agent
from tidegate.agent.skills.telling import page_of
from tidegate.edge import query
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.runtime.skills import Skills


class SkillList:
    """The handler of the list."""

    def __init__(self, skills: Skills, agents: Mapping[str, Agent]) -> None:
        self._skills = skills
        self._agents = agents

    async def page(self, request: Request) -> Response:
        """List the skills of an agent by name; broken and shadowed ones stand there as well."""
        asked = request.query_params
        agent = query.agent_name(self._agents, asked.get("agent") or None)
        first, limit = query.integer(asked, "cursor", 0), query.limit_of(asked)
        return Json(page_of(self._skills.choice(agent), first, limit))

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [
            Endpoint(
                method="GET",
                path="/api/skills",
                handler=self.page,
                summary="List the skills of an agent",
                query={"agent": "the name of an agent; the first one by default"} | query.PAGE | query.CURSOR,
                errors=(400, 404),
            )
        ]
