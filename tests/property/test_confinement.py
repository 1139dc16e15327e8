import asyncio
import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calling import call
from tidegate.agent.place import Place
from tidegate.agent.reading import reading_tools
from tidegate.agent.tools import Tool
from tidegate.agent.turns import Turns
from tidegate.agent.writing import writing_tools

SECRET = "the-secret-that-lies-outside"  # noqa: S105 - no secret of anybody
NAMES = ["a", "b", "é", "A", "skills", ".agents"]
TARGETS = ["..", "../outside", "../outside/secret", "a", "../ws/a", "../../", "a/../../outside", "."]

TOOLS = ["list_files", "read_file", "write_file", "edit_file"]
#: what may lie behind something that was planted
BEHIND = ["", "/secret", "/outside/secret"]

name = st.sampled_from(NAMES)
branch = st.lists(name, min_size=1, max_size=3).map("/".join)
#: what is planted in the workspace: where, and a folder, a file or a link to somewhere
plants = st.lists(st.tuples(branch, st.sampled_from(["folder", "file", *TARGETS])), max_size=12)
piece = st.one_of(
    name, st.sampled_from(["..", ".", "", "secret", "outside", "ws", "~", "%2e%2e"]), st.text(max_size=3)
)
path = st.one_of(
    st.lists(piece, max_size=5).map("/".join),
    st.lists(piece, max_size=4).map(lambda names: "/" + "/".join(names)),
)
calls = st.lists(st.tuples(st.sampled_from(TOOLS), path), max_size=8)


def tools(root: Path) -> list[Tool]:
    """Return the tools of a workspace."""
    place, turns = Place(root), Turns(2, 50)
    return [*reading_tools(place, turns), *writing_tools(place, turns)]


def arguments(tool: str, where: str) -> dict[str, object]:
    """Return the arguments of a call that reads or changes what is at *where*."""
    match tool:
        case "write_file":
            return {"path": where, "text": "changed"}
        case "edit_file":
            return {"path": where, "old": SECRET[:3], "new": "changed"}
        case "list_files":
            return {"path": where, "depth": 4}
        case _:
            return {"path": where}


def plant(root: Path, where: str, what: str) -> None:
    """Put something into the workspace, where there is room for it."""
    spot = root / where
    try:
        if not Path(os.path.realpath(spot.parent)).is_relative_to(os.path.realpath(root)):
            return  # through a link that was planted before
        spot.parent.mkdir(parents=True, exist_ok=True)
        if what == "folder":
            spot.mkdir(exist_ok=True)
        elif what == "file":
            spot.write_text("of the workspace")
        else:
            spot.symlink_to(what)
    except OSError:
        return


def outside(home: Path) -> dict[str, bytes]:
    """Return all that lies beside the workspace."""
    found = {}
    for folder, folders, files in os.walk(home):
        folders[:] = [one for one in folders if Path(folder, one) != home / "ws"]
        found[folder] = b""
        for one in files:
            found[f"{folder}/{one}"] = Path(folder, one).read_bytes()
    return found


def _skills(root: Path) -> list[Path]:
    """Return all that lies where skills lie."""
    return sorted([*root.glob("skills/**/*"), *root.glob(".agents/skills/**/*")])


@contextmanager
def house() -> Iterator[Path]:
    """Make a folder with a workspace and a secret beside it."""
    home = Path(tempfile.mkdtemp())
    try:
        (home / "ws").mkdir()
        (home / "outside").mkdir()
        (home / "outside/secret").write_text(SECRET)
        (home / "secret").write_text(SECRET)
        yield home
    finally:
        shutil.rmtree(home)


@settings(max_examples=60, deadline=None)
@given(plants, calls)
def test_nothing_outside_is_read_or_changed(
    planted: list[tuple[str, str]], asked: list[tuple[str, str]]
) -> None:
    """Whatever links are planted and whatever paths are asked for, what is outside stays unseen and whole."""
    with house() as home:
        root = home / "ws"
        for where, what in planted:
            if where.split("/")[0] in {"skills", ".agents"} and what not in {"folder", "file"}:
                continue  # skills may lie elsewhere, where a person has linked them
            plant(root, where, what)
        before, skills = outside(home), _skills(root)

        async def main() -> None:
            through = [
                (tool, f"{where}{more}") for tool in TOOLS for where, _ in planted[:4] for more in BEHIND
            ]
            for tool, where in [*asked, *through]:
                result = await call(tools(root), tool, **arguments(tool, where))
                assert SECRET not in result.text

        asyncio.run(main())
        assert before == outside(home)
        assert skills == _skills(root)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("at", ["a", "a/b"])
def test_a_swap_meanwhile_leads_nowhere(tool: str, at: str) -> None:
    """A folder that turns into a link and back while tools are at work never lets them out."""
    with house() as home:
        root = home / "ws"
        (root / "a/b").mkdir(parents=True)
        swapped, aside = root / at, home / "aside"
        is_over = threading.Event()

        def swap() -> None:
            while not is_over.is_set():
                swapped.rename(aside)
                with contextlib.suppress(FileExistsError):  # a tool that writes has made a folder meanwhile
                    swapped.symlink_to(home / "outside")
                    swapped.unlink()
                while aside.exists():
                    shutil.rmtree(swapped, ignore_errors=True)
                    with contextlib.suppress(OSError):
                        aside.rename(swapped)

        thread = threading.Thread(target=swap)
        thread.start()
        try:

            async def main() -> None:
                hands = tools(root)
                for _ in range(150):
                    where = "a" if tool == "list_files" else f"{at}/secret"
                    result = await call(hands, tool, **arguments(tool, where))
                    assert SECRET not in result.text
                    assert tool != "list_files" or "secret" not in result.text

            asyncio.run(main())
        finally:
            is_over.set()
            thread.join()
        assert (home / "outside/secret").read_text() == SECRET
        assert [one.name for one in (home / "outside").iterdir()] == ["secret"]
