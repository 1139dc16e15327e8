"""Folders of skills for tests."""

from pathlib import Path

from tidegate.agent.skills.choice import Choice, choose
from tidegate.agent.skills.place import Place, Source
from tidegate.agent.skills.shelf import Shelf


def skill(
    folder: Path, name: str, *, description: str = "Does it.", body: str = "# Heading\n\nDo it.\n"
) -> Path:
    """Write a skill into a folder of skills and return the skill's folder."""
    return raw(folder, name, f"---\nname: {name}\ndescription: {description}\n---\n{body}")


def raw(folder: Path, name: str, text: str | bytes) -> Path:
    """Write a SKILL.md as it is."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "SKILL.md").write_bytes(text.encode() if isinstance(text, str) else text)
    return place


def chosen(*folders: Path, allowed: set[str] | None = None) -> Choice:
    """Look at folders of skills, the first of a name wins, and choose."""
    places = [Place(Source.AGENT, folder, folder) for folder in folders]
    shelf = Shelf(places)
    shelf.look()
    return choose(shelf, places, allowed)


def used(choice: Choice) -> list[str]:
    """Return the names of the skills that are used."""
    return [one.name for one in choice.listings if one.is_used]


def told(choice: Choice) -> list[str]:
    """Return every problem in one line: how bad, where from the folder of the skill, what."""
    problems = [*choice.problems, *(problem for one in choice.listings for problem in one.problems)]
    return [
        f"{problem.severity} {'/'.join(problem.place.split('/')[-2:])} {problem.message}"
        for problem in problems
    ]
