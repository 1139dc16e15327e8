import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shelves import chosen, raw, skill, told, used
from tidegate.agent.skills import shelf as shelf_module
from tidegate.agent.skills.place import Place, Source
from tidegate.agent.skills.shelf import Shelf, body_of

OLD_NS = 1_000_000_000_000_000_000


def test_precedence(tmp_path: Path) -> None:
    """The first of a name is used; the others are shadowed, and both sides say where the other one is."""
    first, second = skill(tmp_path / "1", "a", description="one"), skill(tmp_path / "2", "a")
    skill(tmp_path / "2", "b")
    choice = chosen(tmp_path / "1", tmp_path / "2")
    assert used(choice) == ["a", "b"]
    assert [(one.name, one.book.path, one.is_shadowed) for one in choice.listings[:2]] == [
        ("a", str(first), False),
        ("a", str(second), True),
    ]
    assert told(choice) == [
        f"warning a/SKILL.md:1 'a' takes the place of the one in {second}/SKILL.md",
        f"warning a/SKILL.md:1 'a' is shadowed by the one in {first}/SKILL.md",
    ]


def test_names_that_differ_by_case(tmp_path: Path) -> None:
    """Two folders whose skills have one name are one skill and a shadowed one."""
    raw(tmp_path, "Foo", "---\nname: foo\ndescription: upper\n---\nx")
    skill(tmp_path, "foo", description="lower")
    choice = chosen(tmp_path)
    assert (used(choice), [one.is_shadowed for one in choice.listings]) == (["foo"], [False, True])


def test_allowed_names(tmp_path: Path) -> None:
    """An agent has the skills that it is allowed; a name that is not there is told."""
    for name in ("a", "b", "c"):
        skill(tmp_path, name)
    choice = chosen(tmp_path, allowed={"b", "x"})
    assert ([one.name for one in choice.listings], used(choice)) == (["b"], ["b"])
    assert told(choice) == ["warning allow_skills there is no skill 'x'"]
    assert used(chosen(tmp_path, allowed=set())) == []


def test_a_broken_one_does_not_hide_a_sound_one(tmp_path: Path) -> None:
    """Where the first of a name cannot be used, the next one is."""
    raw(tmp_path / "1", "a", "nonsense")
    skill(tmp_path / "2", "a")
    choice = chosen(tmp_path / "1", tmp_path / "2")
    assert used(choice) == ["a"]
    assert told(choice) == ["error a/SKILL.md:1 there is no front matter"]


def test_links(tmp_path: Path) -> None:
    """A link inside the folder of skills is followed; one that leads out of it is refused, folder or file."""
    place, elsewhere = tmp_path / "skills", tmp_path / "elsewhere"
    skill(place, "real")
    skill(elsewhere, "secret")
    (place / "inside").symlink_to(place / "real")
    (place / "outside").symlink_to(elsewhere / "secret")
    (place / "file").mkdir()
    (place / "file" / "SKILL.md").symlink_to(elsewhere / "secret" / "SKILL.md")
    (place / "loop").mkdir()
    (place / "loop" / "SKILL.md").symlink_to(place / "loop" / "SKILL.md")
    (place / "gone").symlink_to(tmp_path / "nowhere")
    choice = chosen(place)
    assert used(choice) == ["real"]
    out = "this link leads out of the folder that it lies in"
    refused = [line for line in told(choice) if line.startswith("error")]
    assert refused[0] == f"error file/SKILL.md:1 {out}"
    assert refused[1].startswith("error loop/SKILL.md:1 this cannot be read: ")
    assert refused[2:] == [f"error outside/SKILL.md:1 {out}"]


def test_a_workspace_does_not_lead_elsewhere(tmp_path: Path) -> None:
    """The folder of skills of a workspace is refused where it is a link out of the workspace."""
    skill(tmp_path / "elsewhere", "secret")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "skills").symlink_to(tmp_path / "elsewhere")
    place = Place(Source.WORKSPACE, workspace / "skills", workspace)
    shelf = Shelf([place])
    shelf.look()
    assert shelf.books(place) == []
    assert [problem.place for problem in shelf.problems(place)] == [str(workspace / "skills")]


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe does not block, a folder in the place of the file is told, and so is a file that is not there."""
    for name in ("pipe", "folder", "nothing"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / "SKILL.md")
    (tmp_path / "folder" / "SKILL.md").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").write_text("not a folder")
    assert told(chosen(tmp_path)) == [
        "error folder/SKILL.md:1 this cannot be read: not a regular file",
        "warning " + "/".join((tmp_path / "nothing").parts[-2:]) + " there is no SKILL.md",
        "error pipe/SKILL.md:1 this cannot be read: not a regular file",
    ]


def test_a_large_file(tmp_path: Path) -> None:
    """A SKILL.md of more than 1 MiB is not used, and not read to its end."""
    skill(tmp_path, "fits", body="x" * 1_000_000)
    skill(tmp_path, "large", body="x" * (10 << 20))
    choice = chosen(tmp_path)
    assert (used(choice), told(choice)) == (["fits"], ["error large/SKILL.md:1 the file has more than 1 MiB"])


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    """A file or folder that may not be read is told."""
    (skill(tmp_path / "p", "a") / "SKILL.md").chmod(0)
    assert told(chosen(tmp_path / "p")) == ["error a/SKILL.md:1 this cannot be read: Permission denied"]


def test_too_many_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first folders by name are used up to the bound; the rest is one problem."""
    monkeypatch.setattr(shelf_module, "MAX_FOLDERS", 3)
    for name in "edcba":
        skill(tmp_path, name)
    choice = chosen(tmp_path)
    assert used(choice) == ["a", "b", "c"]
    assert [line.partition(" ")[2].partition(" ")[2] for line in told(choice)] == [
        "there are 5 folders; the first 3 by name are looked at"
    ]


def test_names_that_cannot_be_printed(tmp_path: Path) -> None:
    """A folder whose name would break a line is left out and told."""
    skill(tmp_path, "a\nb")
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")  # noqa: PTH102 - a name that is no text
    assert [line.partition(" ")[2].partition(" ")[2] for line in told(chosen(tmp_path))] == [
        "the names of 2 folders cannot be printed"
    ]


def held(tmp_path: Path) -> tuple[Shelf, Place]:
    """Return a shelf over one place that has been looked at long after the last change."""
    place = Place(Source.USER, tmp_path, tmp_path)
    shelf = Shelf([place])
    shelf.look()
    return shelf, place


def until_settled(shelf: Shelf, place: Place) -> None:
    """Look until nothing is read any more because it might have changed unseen."""
    ends_at = time.monotonic() + 10
    before = None
    while (now := shelf.books(place)[0]) is not before:
        assert time.monotonic() < ends_at
        before = now
        shelf.look()


def test_what_has_not_changed_is_not_read(tmp_path: Path) -> None:
    """A look at what has not changed finds the very objects of the last one."""
    skill(tmp_path, "a")
    shelf, place = held(tmp_path)
    until_settled(shelf, place)
    (before,) = shelf.books(place)
    assert not shelf.look()
    assert shelf.books(place)[0] is before


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda place: skill(place, "a", body="other"),
    "same size": lambda place: skill(place, "a", body="# Heading\n\nDo us.\n"),
    "added": lambda place: skill(place, "b"),
    "removed": lambda place: (place / "a" / "SKILL.md").unlink(),
    "renamed": lambda place: (place / "a").rename(place / "c"),
    "replaced": lambda place: (skill(place, ".new") / "SKILL.md").replace(place / "a" / "SKILL.md"),
    "all gone": lambda place: place.rename(place.with_name("gone")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_seen(tmp_path: Path, name: str) -> None:
    """Whatever way a skill changes, comes or goes, the next look says so, and the one after that is quiet."""
    tmp_path = tmp_path / "skills"
    skill(tmp_path, "a")
    shelf, place = held(tmp_path)
    until_settled(shelf, place)
    before = shelf.books(place)
    CHANGES[name](tmp_path)
    assert shelf.look()
    assert shelf.books(place) != before
    assert not shelf.look()


def test_a_place_that_comes_later(tmp_path: Path) -> None:
    """A folder that is not there is no fault, and is seen when it comes."""
    shelf, place = held(tmp_path / "later" / "skills")
    assert (shelf.books(place), shelf.problems(place)) == ([], ())
    skill(tmp_path / "later" / "skills", "a")
    assert shelf.look()
    assert len(shelf) == 1


def test_a_named_place_that_is_not_there(tmp_path: Path) -> None:
    """A folder that the configuration names and that is not there is told."""
    assert told(chosen(tmp_path / "gone")) == [f"warning {tmp_path.name}/gone this folder is not there"]


def test_the_bytes_of_a_book(tmp_path: Path) -> None:
    """The bytes are those that were hashed; once the file is another one there are none."""
    folder = skill(tmp_path, "a")
    shelf, place = held(tmp_path)
    (book,) = shelf.books(place)
    assert body_of(place, book) == (folder / "SKILL.md").read_bytes()
    assert book.bytes == (folder / "SKILL.md").stat().st_size
    skill(tmp_path, "a", body="other")
    assert body_of(place, book) is None
    (folder / "SKILL.md").unlink()
    assert body_of(place, book) is None
