"""Builds the agents of a configuration: for each its model, its tools and what one of its runs may spend."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec

from tidegate.agent.loop import Agent, no_skills
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
async def built(config: Config, library: Library) -> AsyncIterator[Mapping[str, Agent]]:
    """Build every agent by its name; the clients of their models are closed in the end.

    Raises:
        ConfigError: A model needs what is not installed; an agent names a tool that does not exist.
    """
    async with AsyncExitStack() as stack:
        models = _models(config)
        for model in models.values():
            if isinstance(model, RemoteModel):
                stack.push_async_callback(model.aclose)
        yield {name: _agent(name, config, models, library) for name in config.agents}


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


def _agent(name: str, config: Config, models: Mapping[str, Model], library: Library) -> Agent:
    agent = config.agents[name]
    model = models.get(agent.model or config.model.name) or next(iter(models.values()))
    known = offline_tools() if isinstance(model, OfflineModel) else []
    tools = _tools(name, agent, [*known, skill_tool(library)])
    return Agent(
        name=name,
        model=model,
        instructions=agent.instructions,
        tools=ToolBox(tools),
        budget=Budget(
            max_steps=agent.max_steps, max_tokens=agent.max_tokens, max_runtime_ms=agent.max_time_ms
        ),
        max_prompt_bytes=(config.model.context_window - config.model.reserve) * BYTES_PER_TOKEN,
        catalog=library.catalog if any(tool.spec.name == SKILL_TOOL for tool in tools) else no_skills,
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
