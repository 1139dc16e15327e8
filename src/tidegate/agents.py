"""Builds the agents of a configuration: for each its model, its tools and what one of its runs may spend."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec

from tidegate.agent.loop import Agent
from tidegate.agent.model import Model
from tidegate.agent.offline import OfflineModel, offline_tools
from tidegate.agent.prompt import BYTES_PER_TOKEN
from tidegate.agent.remote import RemoteModel
from tidegate.agent.tools import Tool, ToolBox
from tidegate.config import Config
from tidegate.domain.budget import Budget
from tidegate.errors import ConfigError
from tidegate.toolset import Toolset


@asynccontextmanager
async def built(
    config: Config, toolset: Toolset, tools: Sequence[Tool]
) -> AsyncIterator[Mapping[str, Agent]]:
    """Build every agent by its name, with *tools* beside its own; the clients of their models are closed in the end.

    Raises:
        ConfigError: A model needs what is not installed; the workspace of an agent cannot be used.
    """
    async with AsyncExitStack() as stack:
        models = _models(config)
        for model in models.values():
            if isinstance(model, RemoteModel):
                stack.push_async_callback(model.aclose)
        agents = {}
        for name, agent in config.agents.items():
            model = models.get(agent.model or config.model.name) or next(iter(models.values()))
            more = offline_tools() if isinstance(model, OfflineModel) else []
            agents[name] = _agent(name, config, model, toolset.of(name, agent, [*tools, *more]))
        yield agents


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


def _agent(name: str, config: Config, model: Model, tools: Sequence[Tool]) -> Agent:
    agent = config.agents[name]
    return Agent(
        name=name,
        model=model,
        instructions=agent.instructions,
        tools=ToolBox(tools),
        budget=Budget(
            max_steps=agent.max_steps, max_tokens=agent.max_tokens, max_runtime_ms=agent.max_time_ms
        ),
        max_prompt_bytes=(config.model.context_window - config.model.reserve) * BYTES_PER_TOKEN,
    )
