"""The agents as runs have them: with which tools, and how many tokens.

A sub-agent has no tool that one above it has not. What comes from outside, through a hook, has the tools that only
read, or those that the hook's configuration names, and so has everything below it; the same goes for the
tools of a job.
"""

from collections.abc import Mapping, Sequence

import msgspec

from tidegate.agent.loop import Agent
from tidegate.agent.tools import ToolBox
from tidegate.domain.run import Origin
from tidegate.domain.session import Kind, Session
from tidegate.errors import ModelFailed
from tidegate.store.admission import Claimed
from tidegate.store.port import Store

GROUP = "hook:"


def group(hook: str) -> str:
    """Return the cap group of a hook's sessions, which tells them apart from those of others."""
    return f"{GROUP}{hook}"


class Agents:
    """The agents by name; *hooks* are the tools that each hook names, None where it names none."""

    def __init__(
        self,
        store: Store,
        agents: Mapping[str, Agent],
        hooks: Mapping[str, Sequence[str] | None] | None = None,
    ) -> None:
        self._store = store
        self._agents = agents
        self._hooks = hooks or {}

    def get(self, name: str) -> Agent | None:
        """Return an agent as it is configured."""
        return self._agents.get(name)

    def of(self, claimed: Claimed) -> Agent:
        """Return the agent of a run with the tools and the share of tokens that the run has.

        Raises:
            ModelFailed: It is not configured any more.
        """
        agent = self._agents.get(claimed.session.agent)
        if agent is None:
            raise ModelFailed(
                f"there is no agent {claimed.session.agent!r} any more", hint="add it to the config"
            )
        limit = claimed.run.max_tokens
        budget = agent.budget if limit is None else agent.budget.within(limit)
        return msgspec.structs.replace(agent, tools=self._tools(agent, claimed), budget=budget)

    def _tools(self, agent: Agent, claimed: Claimed) -> ToolBox:
        tools, session = agent.tools, claimed.session
        while session.kind is Kind.SUBAGENT and session.parent is not None:
            above = self._store.session_by_id(session.parent)
            if above is None:
                break
            if above.agent in self._agents:
                tools = tools.only(self._agents[above.agent].tools.names)
            session = above
        rights = self._store.job_rights(session.id, None) if session.kind is Kind.CRON else None
        if rights is not None and rights.tools is not None:
            tools = tools.only(rights.tools)
        if session.kind is Kind.HOOK:
            return self._of_hook(tools, session)
        return tools.reading() if claimed.run.origin is Origin.HOOK else tools

    def _of_hook(self, tools: ToolBox, session: Session) -> ToolBox:
        """Return what a session of a hook has; a hook that is not configured any more has what only reads."""
        named = self._hooks.get((session.cap_group or "").removeprefix(GROUP))
        return tools.reading() if named is None else tools.only(named)
