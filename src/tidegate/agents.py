"""Builds the agents of a configuration: for each its model, its tools and what one of its runs may spend."""

from collections.abc import AsyncIterator, Mapping, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import msgspec

from tidegate.agent.fallback import FallbackModel
from tidegate.agent.loop import Agent
from tidegate.agent.measure import BYTES_PER_TOKEN
from tidegate.agent.model import Model
from tidegate.agent.offline import OfflineModel, offline_tools
from tidegate.agent.remote import RemoteModel
from tidegate.agent.skills.catalog import TOOL as SKILL_TOOL
from tidegate.agent.target import Target
from tidegate.agent.tools import Tool, ToolBox
from tidegate.agent.window import Windows
from tidegate.config import Config
from tidegate.config.source import Source, sources
from tidegate.config.tree import Agent as AgentConfig
from tidegate.config.tree import default_reserve
from tidegate.domain.budget import Budget
from tidegate.errors import ConfigError
from tidegate.extras import how_to_install
from tidegate.faults import Area, Faults
from tidegate.ids import SessionId
from tidegate.prices import price_of
from tidegate.runtime.library import Library
from tidegate.runtime.memory import Memory
from tidegate.toolset import Toolset

RECALL_TOOL = "recall"


@asynccontextmanager
async def built(  # noqa: PLR0913, PLR0917 - what agents are made of
    config: Config,
    toolset: Toolset,
    library: Library,
    memory: Memory,
    tools: Sequence[Tool],
    faults: Faults,
    windows: Windows,
) -> AsyncIterator[Mapping[str, Agent]]:
    """Build every agent by its name, with *tools* beside its own; the clients of their models are closed in the end.

    Raises:
        ConfigError: A model needs a key that is missing or what is not installed; the workspace of an agent
            cannot be used.
    """
    async with AsyncExitStack() as stack:
        remotes = _Remotes({}, windows)
        agents = {name: _agent(name, config, remotes, toolset, tools) for name in config.agents}
        for model in remotes.models.values():
            stack.push_async_callback(model.aclose)
        yield {
            name: _reminded(_told(agent, library, faults), memory, faults) for name, agent in agents.items()
        }


def _told(agent: Agent, library: Library, faults: Faults) -> Agent:
    """Let an agent that can read skills be told of them."""
    can_read = any(spec.name == SKILL_TOOL for spec in agent.tools.specs)

    async def catalog(session: SessionId, max_bytes: int) -> str:
        with faults.wall(Area.PROMPT, "skills"):  # what cannot be told is left out
            return await library.catalog(session, max_bytes)
        return ""

    return msgspec.structs.replace(agent, catalog=catalog) if can_read else agent


def _reminded(agent: Agent, memory: Memory, faults: Faults) -> Agent:
    """Let an agent that can recall be told what it remembers."""

    async def told(session: SessionId, question: str, max_bytes: int) -> str:
        with faults.wall(Area.PROMPT, "memory"):
            return await memory.told(session, question, max_bytes)
        return ""

    return msgspec.structs.replace(agent, memory=told) if RECALL_TOOL in agent.tools.names else agent


def _agent(
    name: str,
    config: Config,
    remotes: "_Remotes",
    toolset: Toolset,
    tools: Sequence[Tool],
) -> Agent:
    agent = config.agents[name]
    candidates = sources(config, agent)
    asked = {source: _target(source, agent, config) for source in candidates if not source.is_offline}
    offline = offline_tools() if any(source.is_offline for source in candidates) else []
    return Agent(
        name=name,
        model=_model(candidates, asked, remotes),
        instructions=agent.instructions,
        tools=ToolBox(toolset.of(name, agent, [*tools, *offline])),
        budget=Budget(
            max_steps=agent.max_steps, max_tokens=agent.max_tokens, max_runtime_ms=agent.max_time_ms
        ),
        whole_results=config.compaction.whole_results,
        # what is asked of one has to fit into all
        max_prompt_bytes=min(source.window - source.reserve for source in candidates) * BYTES_PER_TOKEN,
        tells_in_part=bool(asked),
        learnt_prompt_bytes=partial(_learnt, list(asked.values()), remotes.windows),
    )


class _Remotes(NamedTuple):
    """The models that are asked over a network, each once, and what is known of their windows."""

    models: MutableMapping[Target, RemoteModel]
    windows: Windows


def _learnt(targets: Sequence[Target], windows: Windows) -> int | None:
    """Return what a prompt may have that all of them take, in bytes; None where none of them has said so."""
    known = [(target, window) for target in targets if (window := windows.of(target.where)) is not None]
    rooms = [window - min(target.max_tokens, default_reserve(window)) for target, window in known]
    return min(rooms, default=0) * BYTES_PER_TOKEN or None


def _model(
    candidates: Sequence[Source],
    asked: Mapping[Source, Target],
    remotes: "_Remotes",
) -> Model:
    """Return what answers for an agent; agents that ask the same model in the same way share its client."""
    chain: list[Model] = []
    for source in candidates:
        if source.is_offline:
            chain.append(OfflineModel())
            continue
        target = asked[source]
        chain.append(remotes.models.setdefault(target, RemoteModel(target, remotes.windows)))
    return chain[0] if isinstance(chain[0], OfflineModel) else FallbackModel(chain)


def _target(source: Source, agent: AgentConfig, config: Config) -> Target:
    missing = next((part for part in ("pydantic_ai", source.dialect) if find_spec(part) is None), None)
    if missing:
        raise ConfigError(
            f"the model {source.name!r} needs what is not installed", hint=how_to_install("models")
        )
    return Target(
        name=source.name,
        model=source.model,
        base_url=source.base_url,
        dialect=source.dialect,
        api_key=source.api_key(),
        timeout_s=source.timeout_ms / 1_000,
        max_tokens=source.reserve,
        thinking=agent.thinking,
        price=price_of(config.prices, source),
    )
