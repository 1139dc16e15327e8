import asyncio
import os
import socket
import tracemalloc
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from calling import call
from tidegate.agent.model import ToolCall
from tidegate.agent.place import Place
from tidegate.agent.reading import MAX_NAMES, MAX_PAGE_BYTES, reading_tools
from tidegate.agent.tools import Caller, Tool, ToolBox, ToolFailed
from tidegate.agent.turns import Turns
from tidegate.agent.writing import MAX_WRITE_BYTES, writing_tools
from tidegate.domain.entry import Result
from tidegate.ids import RunId, SessionId


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a workspace with a secret beside it."""
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "ws"
    folder.mkdir()
    return folder


def tools(root: Path, protected: Collection[Path] = ()) -> list[Tool]:
    """Return the tools of a workspace."""
    place, turns = Place(root, protected), Turns(4, 100)
    return [*reading_tools(place, turns), *writing_tools(place, turns)]


def ask(root: Path, name: str, **arguments: object) -> Result:
    """Call a tool on a workspace."""
    return asyncio.run(call(tools(root), name, **arguments))


def told(root: Path, name: str, **arguments: object) -> str:
    """Return what a tool answers, which has to be no error."""
    result = ask(root, name, **arguments)
    assert not result.is_error, result.text
    return result.text


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt", "a/../../secret.txt", "/etc/passwd", "..", "a/..", "x\0y", "link", "in/secret.txt", "loop",
        "a\nb", "n" * 256, "n/" * 65 + "n", "x" * 5_000, "fifo", "socket", "folder", "", ".", "/dev/null",
        "folder/none", "none", "file/x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["read_file", "write_file", "edit_file"])
def test_what_is_no_file_of_the_workspace_is_refused(root: Path, path: str, name: str) -> None:
    """Whatever leads out, is a link or no regular file is refused at once, and nothing outside changes."""
    (root / "link").symlink_to("../secret.txt")
    (root / "in").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "folder").mkdir()
    (root / "file").write_text("x")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        more = {"write_file": {"text": "t"}, "edit_file": {"old": "e", "new": "f"}}.get(name, {})
        is_new = name == "write_file" and path in {"folder/none", "none"}
        assert ask(root, name, path=path, **more).is_error is not is_new
    assert (root.parent / "secret.txt").read_text() == "secret"


def test_an_absolute_path_inside_is_fine(root: Path) -> None:
    """A path may be absolute as long as it is one of the workspace, under either of its spellings."""
    (root / "a.txt").write_text("text")
    other = root.parent / "other"
    other.symlink_to(root)
    assert told(root, "read_file", path=str(root / "a.txt")) == "text"
    assert told(other, "read_file", path=str(other / "a.txt")) == "text"
    assert told(other, "read_file", path=str(root / "a.txt")) == "text"


@pytest.mark.parametrize(
    ("offset", "limit", "text"),
    [
        (1, 2, "1\n2\n[there is more: read on with offset=3]"),
        (3, 2, "3\r\n4"),
        (4, 1, "4"),
        (2, 1_000, "2\n3\r\n4"),
    ],
)
def test_a_file_is_read_page_by_page(root: Path, offset: int, limit: int, text: str) -> None:
    """Lines come exactly as they are; where there are more, the answer tells how to read on."""
    (root / "a").write_bytes(b"1\n2\n3\r\n4")
    assert told(root, "read_file", path="a", offset=offset, limit=limit) == text


def test_pages_add_up(root: Path) -> None:
    """A large file read page by page, each as large as may be, is the whole file."""
    whole = "".join(f"{at} {'é' * (at % 300)}\n" for at in range(5_000))
    (root / "a").write_text(whole)
    got, offset = "", 1
    while True:
        page = told(root, "read_file", path="a", offset=offset, limit=1_000_000)
        assert len(page.encode()) <= MAX_PAGE_BYTES + 100
        text, mark, rest = page.rpartition("[there is more: read on with offset=")
        got += text if mark else page
        if not mark:
            break
        offset = int(rest[:-1])
    assert got == whole


def test_an_endless_line_is_cut(root: Path) -> None:
    """Of a line that is longer than a page the beginning is shown."""
    (root / "a").write_bytes(b"first\n" + b"x" * (MAX_PAGE_BYTES + 10) + b"\nlast")
    assert "this is its beginning]" in told(root, "read_file", path="a", offset=2)
    assert told(root, "read_file", path="a", offset=3) == "last"


def test_what_is_no_text_is_told(root: Path) -> None:
    """A binary file is named, not shown; bytes that are no UTF-8 are replaced."""
    (root / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (root / "b").write_bytes(b"caf\xe9")
    assert told(root, "read_file", path="a.png") == "a.png: PNG image, 10 B; it is no text"
    assert told(root, "read_file", path="b") == "caf\ufffd"


def test_reading_beyond_the_end_is_told(root: Path) -> None:
    """A line that a file does not have is an error that names it."""
    (root / "a").write_text("1\n")
    result = ask(root, "read_file", path="a", offset=9)
    assert (result.text, result.is_error) == ("the file ends before line 9", True)


def test_a_file_is_written_whole(root: Path) -> None:
    """Folders are made, the mode of what was there is kept, and nothing is left beside it."""
    assert told(root, "write_file", path="a/b/c.sh", text="é\n") == "created a/b/c.sh, 3 bytes"
    (root / "a/b/c.sh").chmod(0o4750)
    assert told(root, "write_file", path="a/b/c.sh", text="") == "replaced a/b/c.sh, 0 bytes"
    assert (root / "a/b/c.sh").stat().st_mode & 0o7777 == 0o750
    assert [one.name for one in (root / "a/b").iterdir()] == ["c.sh"]


def test_another_name_of_a_file_is_not_changed(root: Path) -> None:
    """A file that has a second name elsewhere is replaced under this one alone."""
    (root / "a").hardlink_to(root.parent / "secret.txt")
    told(root, "write_file", path="a", text="mine")
    assert (root.parent / "secret.txt").read_text() == "secret"


def test_what_is_too_large_is_not_written(root: Path) -> None:
    """1 MiB is written, a byte more is not."""
    told(root, "write_file", path="a", text="x" * MAX_WRITE_BYTES)
    assert ask(root, "write_file", path="b", text="é" + "x" * (MAX_WRITE_BYTES - 1)).is_error
    assert [one.name for one in root.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "path",
    ["skills/x/SKILL.md", "SKILLS/x", "skills", ".agents/skills/a", "./.Agents/Skills", "ｓkills/x", "tidegate.toml"],  # noqa: RUF001 - a trick
)  # fmt: skip
def test_skills_and_the_configuration_are_not_for_tools(root: Path, path: str) -> None:
    """What later sessions are told to do is not written by a tool, however its name is spelt."""
    assert ask(root, "write_file", path=path, text="x").is_error
    assert list(root.iterdir()) == []


def test_a_skill_folder_under_another_name_is_known(root: Path) -> None:
    """Identity decides: a folder that is the folder of skills is closed, whatever it is called."""
    (root / "real").mkdir()
    (root / "skills").symlink_to("real")
    assert ask(root, "write_file", path="real/x", text="x").is_error
    assert list((root / "real").iterdir()) == []


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        ("one two", "two", "2", "one 2"),
        ("a\r\nb\r\nc\r\n", "a\nb", "x\ny", "x\r\ny\r\nc\r\n"),
        ("a\nb\r\n", "a\n", "x\n", "x\nb\r\n"),
        ("a\nb", "\nb", "", "a"),
    ],
)
def test_text_is_replaced_exactly(root: Path, before: str, old: str, new: str, after: str) -> None:
    """One place is replaced; line breaks stay those of the file, and its mode too."""
    (root / "a").write_bytes(before.encode())
    (root / "a").chmod(0o600)
    assert told(root, "edit_file", path="a", old=old, new=new) == "replaced 1 place in a"
    assert (root / "a").read_bytes() == after.encode()
    assert (root / "a").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("old", "text"),
    [
        ("none", "'a' does not hold this text; read_file shows what it holds"),
        ("x = 1\nq", ("'a' does not hold this text; its first line stands in line 1, 3, "
         "so what follows, or a blank, differs")),
        ("x = 1", "'a' holds this text 2 times, in line 1, 3; give more of the text around it, or all=true"),
    ],
)  # fmt: skip
def test_an_edit_that_fails_says_how_to_go_on(root: Path, old: str, text: str) -> None:
    """Text that is not there, or there more than once, changes nothing; the lines are told."""
    (root / "a").write_text("x = 1\ny\nx = 1\n")
    assert ask(root, "edit_file", path="a", old=old, new="z").text == text
    assert (root / "a").read_text() == "x = 1\ny\nx = 1\n"


def test_all_places_are_replaced(root: Path) -> None:
    """With `all` every place is replaced."""
    (root / "a").write_text("x x x")
    assert told(root, "edit_file", path="a", old="x", new="y", all=True) == "replaced 3 places in a"
    assert (root / "a").read_text() == "y y y"


def test_an_edit_is_measured_before_it_is_made(root: Path) -> None:
    """What would be 64 times as much is refused without being made; what just fits is made."""
    (root / "a").write_bytes(b"x" * MAX_WRITE_BYTES)
    tracemalloc.start()
    try:
        result = ask(root, "edit_file", path="a", old="x", new="y" * 64, all=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (True, "the file would have more than 1 MiB") == (result.is_error, result.text)
    assert peak < 8 * MAX_WRITE_BYTES
    (root / "a").write_bytes(b"x" * (MAX_WRITE_BYTES // 64))
    assert told(root, "edit_file", path="a", old="x", new="y" * 64, all=True).startswith("replaced 16384")
    assert b"y" * MAX_WRITE_BYTES == (root / "a").read_bytes()


def test_edits_side_by_side_are_all_kept(root: Path) -> None:
    """Edits of one file that a model asks for at once do not lose each other."""
    (root / "a").write_text("".join(f"<{at}>" for at in range(40)))
    hands = tools(root)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for at in range(40):
                group.create_task(call(hands, "edit_file", path="a", old=f"<{at}>", new=f"[{at}]"))

    asyncio.run(main())
    assert (root / "a").read_text() == "".join(f"[{at}]" for at in range(40))


def test_a_list_is_sorted_and_tells_sizes(root: Path) -> None:
    """Folders end in a slash, files have a size, anything else says what it is; links are not followed."""
    (root / "b").mkdir()
    (root / "b/in.py").write_text("x" * 2_048)
    (root / "a.txt").write_text("x")
    (root / "link").symlink_to("..")
    (root / "new\nline").write_text("")
    expected = ["a.txt (1 B)", "b/", "b/in.py (2.0 KB)", "link (a link)", "new\\x0aline (0 B)"]
    assert told(root, "list_files", depth=3).splitlines() == expected
    assert told(root, "list_files", path="b").splitlines() == ["b/in.py (2.0 KB)"]
    assert told(root, "list_files", pattern="*.py", depth=2).splitlines() == ["b/in.py (2.0 KB)"]
    assert told(root, "list_files", pattern="none") == "nothing"


def test_a_list_is_bounded(root: Path) -> None:
    """Of very many names the first thousand are shown, and that there are more."""
    for at in range(MAX_NAMES + 5):
        (root / f"{at:05}").touch()
    lines = told(root, "list_files").splitlines()
    assert (len(lines), lines[0]) == (MAX_NAMES + 1, "00000 (0 B)")
    assert lines[-1].startswith("[only the first 1000 names")


@pytest.mark.parametrize(
    "change", [lambda root: root.rmdir(), lambda root: root.rename(root.parent / "gone")]
)
def test_a_workspace_that_has_gone_is_told(root: Path, change: Callable[[Path], None]) -> None:
    """Without its folder every tool says so; none makes it anew."""
    hands = tools(root)
    change(root)
    result = asyncio.run(call(hands, "write_file", path="a", text="x"))
    assert (result.text, result.is_error) == (
        "the workspace cannot be opened: No such file or directory", True
    )  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "other/skills/x/SKILL.md", "OTHER/Skills/x/SKILL.md", "other/skills", "other/skills/new/deep/SKILL.md",
        "later/.agents/skills/x.md", "keys/api.key", "link/../skills/y", "tidegate.env", "a/TIDEGATE.ENV", "moved/x.md",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["write_file", "edit_file"])
def test_what_is_protected_is_so_wherever_it_lies(root: Path, path: str, name: str) -> None:
    """Skills of other agents and what the gateway is configured with are not written, there yet or not."""
    (root / "other/skills/x").mkdir(parents=True)
    (root / "keys").mkdir()
    for file in ("other/skills/x/SKILL.md", "keys/api.key"):
        (root / file).write_text("old")
    (root.parent / "elsewhere").symlink_to(root / "moved")
    (root / "moved").mkdir()
    (root / "moved/x.md").write_text("old")
    protected = [
        root / "other/skills", root / "later/.agents/skills", root / "keys/api.key", root.parent / "elsewhere",
    ]  # fmt: skip
    before = sorted(root.rglob("*"))
    arguments = {"text": "new"} if name == "write_file" else {"old": "old", "new": "new"}
    result = asyncio.run(call(tools(root, protected), name, path=path, **arguments))
    assert result.is_error
    assert sorted(root.rglob("*")) == before
    assert {file.read_text() for file in before if file.is_file()} == {"old"}


def test_what_lies_beside_is_written(root: Path) -> None:
    """A folder whose name begins like a protected one is not protected."""
    made = asyncio.run(call(tools(root, [root / "b/skills"]), "write_file", path="b/skills2/x", text="t"))
    assert not made.is_error


def test_a_protected_folder_is_known_by_what_it_is(root: Path) -> None:
    """Another way to the same folder, such as a mount or a folder that was moved, is found by its identity."""
    (root / "b").mkdir()
    (root / "b/skills").mkdir()
    place = Place(root, [root / "b/skills"])
    parts = place.parts("c/x.md")
    place.check_writable(parts)
    (root / "b/skills").rename(root / "c")
    (root / "b/skills").symlink_to(root / "c")
    with pytest.raises(ToolFailed, match="do not write skills"), place.folder(parts[:-1], to_write=True):
        pass


@pytest.mark.parametrize(
    "text", ['{"path": "a", "path": "b", "text": "t"}', '{"text": "t", "path": "a", "te\\u0078t": "u"}']
)
def test_a_key_that_stands_twice_is_refused(root: Path, text: str) -> None:
    """Which of the two is meant nobody can know; nothing is written."""
    tool = next(tool for tool in tools(root) if tool.spec.name == "write_file")
    box = ToolBox([tool])
    made = ToolCall(call_id="c", tool="write_file", arguments=text)
    result = asyncio.run(box.call(made, Caller(session=SessionId("s"), run=RunId("r"), agent="main")))
    assert isinstance(result, Result)
    assert (result.is_error, "stands twice" in result.text) == (True, True)
    assert list(root.iterdir()) == []
