"""``tidegate skills``: which skills an agent has, what they say, and what is wrong with them.

A running gateway is asked what it has; without one the folders are read here. `check` always reads the folders.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import click

from tidegate.cli.client import Client
from tidegate.cli.options import config_option, json_option, state_option
from tidegate.cli.table import Side, table
from tidegate.cli.text import plain
from tidegate.config import find, read, state_folder
from tidegate.errors import AgentNotFound, NotFound, StorageFailed, Unavailable
from tidegate.folder import WORKSPACE
from tidegate.units import print_size

if TYPE_CHECKING:
    from tidegate.agent.skills.reach import Reach
    from tidegate.agent.skills.telling import Page
    from tidegate.domain.skill import Problem

agent_option = click.option("--agent", metavar="NAME", help="The agent (default: the first one).")


class Told(TypedDict):
    """A problem, as it is told."""

    severity: str
    path: str
    line: int
    message: str
    remedy: str


class Skill(TypedDict):
    """A skill, as far as people see it."""

    name: str
    description: str
    source: str
    path: str
    hash: str | None
    bytes: int
    used: bool
    shadowed: bool
    problems: list[Told]
    license: str
    compatibility: str
    metadata: Mapping[str, str]
    allowed_tools: list[str]


@click.group()
def skills() -> None:
    """List, show and check skills."""


@skills.command("list")
@agent_option
@state_option
@config_option
@json_option
def list_(agent: str | None, state: Path | None, config: Path | None, *, as_json: bool) -> None:
    """List the skills of an agent; what is wrong with them is told in `check`."""
    found = _found(agent, state, config)
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [
        [skill["name"], _standing(skill), skill["source"], print_size(skill["bytes"]), skill["description"]]
        for skill in cast("list[Skill]", found["skills"])
    ]
    columns: dict[str, Side] = {
        "name": "left",
        "": "left",
        "source": "left",
        "size": "right",
        "description": "left",
    }
    table(columns, rows, spare=("size", "source"))


@skills.command()
@click.argument("name")
@agent_option
@click.option("--body", is_flag=True, help="Print the file itself.")
@state_option
@config_option
@json_option
def show(  # noqa: PLR0913 - one parameter an option
    name: str, agent: str | None, state: Path | None, config: Path | None, *, body: bool, as_json: bool
) -> None:
    """Show a skill: what it is for, where it lies, what is wrong with it."""
    found = cast("list[Skill]", _found(agent, state, config)["skills"])
    skill = next((one for one in found if one["name"] == name), None)
    if skill is None:
        raise NotFound(f"there is no skill {name!r}", hint="`tidegate skills list` shows what there is")
    text = _text(skill["path"]) if body else None
    if as_json:
        click.echo(json.dumps(skill if text is None else skill | {"body": text}))
    elif text is not None:
        click.echo(plain(text) if sys.stdout.isatty() else text, nl=False)
    else:
        _show(skill)


@skills.command()
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("--agent", metavar="NAME", help="Only the skills of this agent (default: of every agent).")
@state_option
@config_option
@json_option
def check(
    folder: Path | None, agent: str | None, state: Path | None, config: Path | None, *, as_json: bool
) -> None:
    """Say what is wrong with skills, with file and line; exit 1 on errors.

    DIR is a skill, or a folder of skills; without it, all that agents would read are checked.
    """
    from tidegate.agent.skills.telling import told  # noqa: PLC0415 - `tidegate --help` must not pay for it
    from tidegate.domain.skill import Severity  # noqa: PLC0415

    count, problems = _checked_folder(folder) if folder else _checked(agent, state, config)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    if as_json:
        summary = {"skills": count, "errors": errors, "warnings": len(problems) - errors}
        click.echo(json.dumps(summary | {"problems": [told(problem) for problem in problems]}))
    else:
        for problem in problems:
            click.echo(plain(f"{problem.place}: {problem.severity}: {problem.message}; {problem.remedy}"))
        click.echo(f"skills {count}, errors {errors}, warnings {len(problems) - errors}")
    if errors:
        raise click.exceptions.Exit(1)


def _found(agent: str | None, state: Path | None, config: Path | None) -> "Page":
    """Return what an agent has, from the running gateway, else from the folders."""
    from tidegate.agent.skills.choice import choose  # noqa: PLC0415
    from tidegate.agent.skills.shelf import Shelf  # noqa: PLC0415
    from tidegate.agent.skills.telling import page_of  # noqa: PLC0415

    try:
        client = Client(state)
        listed = list(client.pages("/api/skills", "skills", {"agent": agent}, None))
        problems = client.get("/api/skills", agent=agent, limit=1)["problems"]
        return cast("Page", {"skills": listed, "next": None, "problems": problems})
    except Unavailable:
        (reach,) = _reaches(agent, state, config, is_one=True)
        shelf = Shelf(reach.places)
        shelf.look()
        return page_of(choose(shelf, reach.places, reach.allowed), 0, sys.maxsize)


def _reaches(
    agent: str | None, state: Path | None, config: Path | None, *, is_one: bool = False
) -> "list[Reach]":
    from tidegate.agent.skills.reach import reaches  # noqa: PLC0415

    folder = state_folder(state)
    found = reaches(read(find(config, folder)), folder / WORKSPACE)
    if agent is not None and agent not in found:
        raise AgentNotFound(f"there is no agent {agent[:80]!r}", hint=f"there is: {', '.join(found)}"[:300])
    if agent is None and not is_one:
        return list(found.values())
    return [found[agent or next(iter(found))]]


def _checked(agent: str | None, state: Path | None, config: Path | None) -> "tuple[int, list[Problem]]":
    """Check what agents would read; what several of them read is told once."""
    from tidegate.agent.skills.choice import choose  # noqa: PLC0415
    from tidegate.agent.skills.shelf import Shelf  # noqa: PLC0415

    reaches = _reaches(agent, state, config)
    shelf = Shelf([place for reach in reaches for place in reach.places])
    shelf.look()
    problems: dict[tuple[str, str], Problem] = {}
    files: set[str] = set()
    for reach in reaches:
        choice = choose(shelf, reach.places, reach.allowed)
        files.update(listing.file for listing in choice.listings if listing.book.skill)
        for problem in (*choice.problems, *(one for each in choice.listings for one in each.problems)):
            problems[problem.place, problem.message] = problem
    return len(files), list(problems.values())


def _checked_folder(folder: Path) -> "tuple[int, list[Problem]]":
    from tidegate.agent.skills.choice import choose  # noqa: PLC0415
    from tidegate.agent.skills.place import Place, Source  # noqa: PLC0415
    from tidegate.agent.skills.shelf import FILE, Shelf, read_book  # noqa: PLC0415

    folder = folder.absolute()
    if not folder.is_dir():
        raise NotFound(f"there is no folder {str(folder)!r}", hint="name a skill or a folder of skills")
    if (folder / FILE).exists():
        book = read_book(Place(Source.AGENT, folder.parent, folder.parent), folder)
        return int(book.skill is not None), list(book.problems)
    place = Place(Source.AGENT, folder, folder)
    shelf = Shelf([place])
    shelf.look()
    choice = choose(shelf, [place], None)
    count = sum(listing.book.skill is not None for listing in choice.listings)
    return count, [*choice.problems, *(one for listing in choice.listings for one in listing.problems)]


def _standing(skill: Skill) -> str:
    """Say how it stands with a skill, in one word; none if it is used without a remark."""
    if skill["shadowed"]:
        return "shadowed"
    if not skill["used"]:
        return "not used"
    return "see check" if skill["problems"] else ""


def _text(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be read: {error.strerror}") from error


def _show(skill: Skill) -> None:
    _line("name", skill["name"])
    _line("for", skill["description"])
    _line("source", f"{skill['source']}{f', {_standing(skill)}' if _standing(skill) else ''}")
    _line("file", skill["path"])
    _line("size", print_size(skill["bytes"]))
    _line("sha-256", skill["hash"] or "")
    _line("license", skill["license"])
    _line("needs", skill["compatibility"])
    _line("tools", ", ".join(skill["allowed_tools"]))
    _line("metadata", ", ".join(f"{key}: {value}" for key, value in skill["metadata"].items()))
    for problem in skill["problems"]:
        _line(problem["severity"], f"line {problem['line']}: {problem['message']}; {problem['remedy']}")


def _line(name: str, value: str) -> None:
    if value:
        click.echo(f"{name:<10}{plain(value)}")
