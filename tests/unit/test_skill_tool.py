import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from shelves import skill
from tidegate.agent.model import ToolCall
from tidegate.agent.skills.tool import skill_tool
from tidegate.agent.tools import Caller, ToolBox, ToolFailed
from tidegate.domain.entry import Result
from tidegate.ids import RunId, SessionId


class OneSkill:
    """A library with the skill `foo`, whose body is given and whose folder is what lies on the disk."""

    def __init__(self, body: str, place: Path | None) -> None:
        self._body = body
        self._place = place

    async def body(self, _session: SessionId, name: str) -> str:
        """Return the body."""
        if name != "foo":
            raise ToolFailed(f"there is no skill {name!r}", hint="there is: foo")
        return self._body

    def folder(self, _agent: str, _name: str) -> Path | None:
        """Return the folder."""
        return self._place


def call(body: str, place: Path | None, **arguments: object) -> Result:
    """Call the tool once."""
    box = ToolBox([skill_tool(OneSkill(body, place))])
    text = msgspec.json.encode({"name": "foo"} | arguments).decode()
    caller = Caller(session=SessionId("S"), run=RunId("R"), agent="main")
    found = asyncio.run(box.call(ToolCall(call_id="1", tool="skill", arguments=text), caller))
    assert isinstance(found, Result)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A skill with a script, a text, an image and what nobody should list."""
    place = skill(tmp_path / "skills", "foo")
    for name, data in {
        "scripts/run.py": b"print(1)\n",
        "references/more.md": b"# More\n",
        "assets/logo.png": b"\x89PNG\0",
        ".git/config": b"x",
    }.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(data)
    (tmp_path / "secret").write_text("secret")
    (place / "link").symlink_to(tmp_path / "secret")
    (place / "up").symlink_to(tmp_path)
    return place


def test_the_body_and_the_files(folder: Path) -> None:
    """The body comes first, then the files with the folder that they lie in; links and hidden ones are left out."""
    assert call("# Foo\n", folder).text == (
        f"# Foo\n\n\n---\nFiles of this skill, in {folder}; read one with `file`:\n"
        "- assets/logo.png (5 bytes)\n- references/more.md (7 bytes)\n- scripts/run.py (9 bytes)\n"
    )


def test_a_skill_without_files(tmp_path: Path) -> None:
    """A skill that is its SKILL.md alone is answered with its body alone."""
    assert call("# Foo", skill(tmp_path, "foo")).text == "# Foo"


def test_one_file(folder: Path) -> None:
    """A file is answered with its text."""
    assert call("", folder, file="references/more.md").text == "# More\n"
    assert call("", folder, file="./scripts//run.py").text == "print(1)\n"


REFUSED = {
    "../secret": "'../secret' is no file of this skill; name it from the skill's folder",
    "/etc/passwd": "'/etc/passwd' is no file of this skill; name it from the skill's folder",
    "": "'' is no file of this skill; name it from the skill's folder",
    "a\0b": "'a\\x00b' is no file of this skill; name it from the skill's folder",
    ".": "'.' is no file of this skill; name it from the skill's folder",
    "nothing.md": "there is no file 'nothing.md' in this skill; call the tool without `file` to see which files there "
    "are",
    "link": "'link' cannot be read: not a regular file",
    "up/secret": "'up/secret' cannot be read: Not a directory",
    "scripts": "'scripts' cannot be read: not a regular file",
    "pipe": "'pipe' cannot be read: not a regular file",
    "large": "'large' has more than 1 MiB",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(folder: Path, name: str) -> None:
    """Nothing but regular files below the skill's folder is read, whatever it is called; no link, no pipe."""
    os.mkfifo(folder / "pipe")
    (folder / "large").write_bytes(bytes(2 << 20))
    found = call("", folder, file=name)
    assert (found.is_error, found.text) == (True, REFUSED[name])


def test_a_file_that_is_no_text(folder: Path) -> None:
    """Bytes are not answered; what they are and where they lie is."""
    found = call("", folder, file="assets/logo.png")
    expected = f"'assets/logo.png' is no text but 5 bytes; it lies at {folder}/assets/logo.png"
    assert (found.is_error, found.text) == (True, expected)


def test_a_folder_that_has_gone(tmp_path: Path) -> None:
    """The body is there without the folder; a file is not, and that is said."""
    assert call("# Foo", None).text == "# Foo"
    assert call("# Foo", tmp_path / "gone").text == "# Foo"
    found = call("# Foo", None, file="a.md")
    hint = "its instructions can still be read, without `file`"
    assert (found.is_error, found.text) == (True, f"the folder of the skill 'foo' has gone; {hint}")


@pytest.mark.parametrize("mark", ["x", "漢", "🌊"])
def test_a_long_body_comes_in_pages(mark: str) -> None:
    """A long text is answered page by page, each small enough for a model to see it whole."""
    body, read, offset = mark * 100_000, "", 0
    while True:
        page = call(body, None, offset=offset).text
        assert len(page.encode()) < 64_000
        text, _, more = page.partition("\n\n[")
        read += text
        if not more:
            break
        offset = int(more.partition("offset=")[2].rstrip("]"))
    assert read == body


def test_many_files(folder: Path) -> None:
    """The list of files is bounded, and says so."""
    for number in range(300):
        (folder / f"{number:03}-{'n' * 200}").touch()
    found = call("", folder).text
    assert len(found.encode()) < 20_000
    assert found.endswith("\n- and more\n")


def test_wrong_arguments() -> None:
    """What is no argument of the tool is told."""
    assert call("", None, name=5).text == "wrong arguments: Expected `str`, got `int` - at `$.name`"
    assert call("", None, path="x").is_error
    assert call("", None, offset=-1).is_error
    assert call("", None, name="bar").text == "there is no skill 'bar'; there is: foo"
