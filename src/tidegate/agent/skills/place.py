"""A folder in which skills lie, and whose word it is."""

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

SHARED = Path(".agents", "skills")  # in a workspace or a home, where other agents look as well


class Source(StrEnum):
    """Who has put a skill there, the one whose word counts first on top."""

    WORKSPACE = "workspace"
    AGENT = "agent"
    USER = "user"
    BUNDLED = "bundled"


class Place(NamedTuple):
    """A folder whose folders are skills; no link in it may leave it, and it may not leave *root*."""

    source: Source
    folder: Path
    root: Path


def bundled() -> Place:
    """Return the place of the skills that come with the package."""
    folder = Path(__file__).parents[2] / "skills"
    return Place(Source.BUNDLED, folder, folder)
