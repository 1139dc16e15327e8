"""Builds the agents of a configuration: for each its model, its tools and what one of its runs may spend."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec

import msgspec

from tidegate.agent.loop import Agent
from tidegate.agent.model import Model
from tidegate.agent.offline import OfflineModel, offline_tools
from tidegate.agent.prompt import BYTES_PER_TOKEN
from tidegate.agent.remote import RemoteModel
from tidegate.agent.skills.catalog import TOOL as SKILL_TOOL
from tidegate.agent.skills.tool import skill_tool
from tidegate.agent.tools import Tool, ToolBox
from tidegate.config import Config
from tidegate.config.tree import Agent as AgentConfig
from tidegate.domain.budget import Budget
from tidegate.errors import ConfigError
from tidegate.runtime.library import Library


@asynccontextmanager
async def built(
    config: Config, library: Library, tools: Sequence[Tool]
) -> AsyncIterator[Mapping[str, Agent]]:
    """Build every agent by its name, with *tools* beside its own; the clients of their models are closed in the end.

    Raises:
        ConfigError: A model needs what is not installed; an agent names a tool that does not exist.
    """
    async with AsyncExitStack() as stack:
        models = _models(config)
        for model in models.values():
            if isinstance(model, RemoteModel):
                stack.push_async_callback(model.aclose)
        every = [*tools, skill_tool(library)]
        agents = [_agent(name, config, models, every) for name in config.agents]
        yield {agent.name: _told(agent, library) for agent in agents}


def _models(config: Config) -> Mapping[str, Model]:
    """Build each model that some agent names, once."""
    model = config.model
    if model.provider == "offline":
        return {model.name: OfflineModel()}
    if find_spec("pydantic_ai") is None:
        raise ConfigError("[model] needs what is not installed", hint='pip install "tidegate[models]"')
    key = model.api_key() or ""
    names = {model.name} | {agent.model for agent in config.agents.values() if agent.model}
    return {
        name: RemoteModel(name, base_url=model.base_url, api_key=key, timeout_s=model.timeout_ms / 1_000)
        for name in names
    }


def _told(agent: Agent, library: Library) -> Agent:
    """Let an agent that can read skills be told of them."""
    can_read = any(spec.name == SKILL_TOOL for spec in agent.tools.specs)
    return msgspec.structs.replace(agent, catalog=library.catalog) if can_read else agent


def _agent(name: str, config: Config, models: Mapping[str, Model], tools: Sequence[Tool]) -> Agent:
    agent = config.agents[name]
    model = models.get(agent.model or config.model.name) or next(iter(models.values()))
    return Agent(
        name=name,
        model=model,
        instructions=agent.instructions,
        tools=ToolBox(
            _tools(name, agent, [*tools, *(offline_tools() if isinstance(model, OfflineModel) else [])])
        ),
        budget=Budget(
            max_steps=agent.max_steps, max_tokens=agent.max_tokens, max_runtime_ms=agent.max_time_ms
        ),
        max_prompt_bytes=(config.model.context_window - config.model.reserve) * BYTES_PER_TOKEN,
    )


def _tools(name: str, agent: AgentConfig, tools: list[Tool]) -> list[Tool]:
    if agent.tools is None:
        return tools
    known = {tool.spec.name for tool in tools}
    unknown = next((tool for tool in agent.tools if tool not in known), None)
    if unknown is not None:
        raise ConfigError(
            f"[agents.{name}] tools: there is no tool {unknown!r}",
            hint=f"there is: {', '.join(sorted(known)) or 'none with this model'}",
        )
    return [tool for tool in tools if tool.spec.name in agent.tools]
