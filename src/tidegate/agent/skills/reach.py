"""Where each agent of a configuration looks for skills, and which names it may use."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tidegate.agent.skills.place import SHARED, Place, Source, bundled
from tidegate.config import Config, config_home
from tidegate.config.tree import Agent
from tidegate.errors import ConfigError
from tidegate.folder import SKILLS


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """The places of one agent, the one whose word counts first on top; None allows every name."""

    places: tuple[Place, ...]
    allowed: frozenset[str] | None = None


def reaches(config: Config, workspace: Path) -> Mapping[str, Reach]:
    """Return the reach of every agent; *workspace* is that of those that have none of their own."""
    users = _users()
    return {name: _reach(agent, workspace, users) for name, agent in config.agents.items()}


def _reach(agent: Agent, shared: Path, users: tuple[Place, ...]) -> Reach:
    workspace = (agent.workspace or shared).absolute()
    own = tuple(Place(Source.WORKSPACE, workspace / name, workspace) for name in (Path(SKILLS), SHARED))
    named = tuple(Place(Source.AGENT, folder.absolute(), folder.absolute()) for folder in agent.skills)
    allowed = None if agent.allow_skills is None else frozenset(agent.allow_skills)
    return Reach(places=(*own, *named, *users, bundled()), allowed=allowed)


def _users() -> tuple[Place, ...]:
    """Return the places of the user; without a home there is none."""
    try:
        folders = (config_home() / "tidegate" / SKILLS, Path.home() / SHARED)
    except (ConfigError, RuntimeError):
        return ()
    return tuple(Place(Source.USER, folder, folder) for folder in folders)
