"""Which tools an agent has.

Those that the agent floor has are built in `Toolset._every`; those of the runtime are handed in. What an agent's
configuration says is applied to all of them. What agents share (turns, the HTTP client, a place for each folder) exists
once.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tidegate.agent.fetch import fetch_tool
from tidegate.agent.place import Place
from tidegate.agent.reading import reading_tools
from tidegate.agent.shell import shell_tool
from tidegate.agent.skills.reach import reaches
from tidegate.agent.tools import Tool
from tidegate.agent.turns import Turns
from tidegate.agent.writing import writing_tools
from tidegate.bounded import Registry
from tidegate.config import Config, config_home
from tidegate.config.source import sources
from tidegate.config.tree import Agent, Hook, Webhook
from tidegate.domain.budget import Budget
from tidegate.egress.address import Rules, rule
from tidegate.egress.client import Egress
from tidegate.errors import ConfigError
from tidegate.folder import WORKSPACE, workspace
from tidegate.runtime.tools.status import Who

FILES_AT_ONCE = 4
PROGRAMS_AT_ONCE = 8
FETCHES_AT_ONCE = 8
MAX_WAITING = 256

#: tools that an agent has only if its configuration names them
BY_NAME_ALONE = frozenset({"shell"})


class Toolset:
    """The tools of every agent of a gateway."""

    def __init__(self, config: Config, state: Path, registry: Registry) -> None:
        self._state = state
        self._files = _turns("files", FILES_AT_ONCE, registry)
        self._programs = _turns("programs", PROGRAMS_AT_ONCE, registry)
        self._fetches = _turns("fetches", FETCHES_AT_ONCE, registry)
        #: also for the webhooks that are told
        self.egress = Egress(
            Rules(
                allow=[rule(entry) for entry in config.egress.allow],
                deny=[rule(entry) for entry in config.egress.deny],
            )
        )
        self._protected = protected(config, state)
        #: one for each folder, so that agents that share it wait for each other's changes; bounded by the agents
        self._places: dict[Path, Place] = {}

    def of(self, name: str, agent: Agent, more: Sequence[Tool] = ()) -> list[Tool]:
        """Return the tools of an agent: all, or those it names; *more* are those of the runtime and of its model.

        Raises:
            ConfigError: Its workspace cannot be used.
        """
        tools = [*self._every(self._place(name, agent)), *more]
        if agent.tools is None:
            return [tool for tool in tools if tool.spec.name not in BY_NAME_ALONE]
        return [tool for tool in tools if tool.spec.name in agent.tools]

    def _every(self, place: Place) -> list[Tool]:
        return [
            *reading_tools(place, self._files),
            *writing_tools(place, self._files),
            fetch_tool(self.egress, self._fetches),
            shell_tool(place, self._programs),
        ]

    def _place(self, name: str, agent: Agent) -> Place:
        _check_workspace(name, agent, self._state)
        folder = (agent.workspace or workspace(self._state)).resolve()
        return self._places.setdefault(folder, Place(agent.workspace or folder, self._protected))


def protected(config: Config, state: Path) -> frozenset[Path]:
    """Return what tools do not write: where any agent looks for skills, and what the gateway is configured with."""
    places = {place.folder for reach in reaches(config, workspace(state)).values() for place in reach.places}
    hooks: list[Hook | Webhook] = [*config.hooks.values(), *config.webhooks.values()]
    files = {
        config.gateway.tls_cert,
        config.gateway.tls_key,
        config.model.api_key_file,
        *(provider.api_key_file for provider in config.providers.values()),
        *(file for hook in hooks for file in hook.secret_file),
    }
    with suppress(ConfigError):  # without a home there is none
        places.add(config_home() / "tidegate")
    return frozenset(places | {file for file in files if file})


def check_workspaces(config: Config, state: Path) -> None:
    """Refuse workspaces that cannot be, for a gateway on the folder *state*.

    Raises:
        ConfigError: The state folder lies in one.
    """
    for name, agent in config.agents.items():
        _check_workspace(name, agent, state)


def _check_workspace(name: str, agent: Agent, state: Path) -> None:
    if agent.workspace is None:
        return
    folder, state = agent.workspace.resolve(), state.resolve()
    if state.is_relative_to(folder):
        raise ConfigError(
            f"[agents.{name}] workspace: the state folder lies in it, and with it the token and every session",
            hint="name a folder of its own",
        )
    if folder.is_relative_to(state) and not folder.is_relative_to(state / WORKSPACE):
        raise ConfigError(
            f"[agents.{name}] workspace: it lies in the state folder", hint="name a folder of its own"
        )


def _turns(name: str, at_once: int, registry: Registry) -> Turns:
    turns = Turns(at_once, MAX_WAITING)
    registry.add(
        name, lambda: turns.taken, turns.limit, when_full="a call of a tool fails, and may be repeated"
    )
    return turns


def who(config: Config) -> Mapping[str, Who]:
    """Return what the tool ``session_status`` tells about each agent."""
    return {
        name: Who(
            model=sources(config, agent)[0].name,
            budget=Budget(
                max_steps=agent.max_steps, max_tokens=agent.max_tokens, max_runtime_ms=agent.max_time_ms
            ),
        )
        for name, agent in config.agents.items()
    }
