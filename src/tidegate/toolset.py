"""Which tools an agent has.

All are built in one place, `Toolset.of`; what an agent's configuration says is applied to them afterwards. What the
agents share (turns for files and programs) exists once.
"""

from collections.abc import Sequence
from pathlib import Path

from tidegate.agent.place import Place
from tidegate.agent.shell import shell_tool
from tidegate.agent.tools import Tool
from tidegate.agent.turns import Turns
from tidegate.bounded import Registry
from tidegate.config import Config
from tidegate.config.tree import Agent
from tidegate.errors import ConfigError
from tidegate.folder import workspace

PROGRAMS_AT_ONCE = 8
MAX_WAITING = 256

#: tools that an agent has only if its configuration names them
BY_NAME_ALONE = frozenset({"shell"})


class Toolset:
    """The tools of every agent of a gateway."""

    def __init__(self, config: Config, state: Path, registry: Registry) -> None:
        self._config = config
        self._state = state
        self._programs = Turns(PROGRAMS_AT_ONCE, MAX_WAITING)
        registry.add("programs", lambda: self._programs.taken, self._programs.limit)

    def of(self, name: str, agent: Agent, more: Sequence[Tool] = ()) -> list[Tool]:
        """Return the tools of an agent: all, or those it names; *more* are those that come with its model.

        Raises:
            ConfigError: It names a tool that does not exist, or its workspace cannot be used.
        """
        place = Place(self._workspace(name, agent))
        tools = [shell_tool(place, self._programs), *more]
        if agent.tools is None:
            return [tool for tool in tools if tool.spec.name not in BY_NAME_ALONE]
        known = {tool.spec.name for tool in tools}
        unknown = next((tool for tool in agent.tools if tool not in known), None)
        if unknown is not None:
            raise ConfigError(
                f"[agents.{name}] tools: there is no tool {unknown!r}",
                hint=f"there is: {', '.join(sorted(known))}",
            )
        return [tool for tool in tools if tool.spec.name in agent.tools]

    def _workspace(self, name: str, agent: Agent) -> Path:
        """Return the folder of an agent's files; its own has to be there, the shared one is made."""
        if agent.workspace is None:
            return workspace(self._state)
        if not agent.workspace.is_dir():
            raise ConfigError(
                f"[agents.{name}] workspace: {str(agent.workspace)!r} is no folder", hint="create it first"
            )
        return agent.workspace
