"""What strangers write never steers a terminal, whichever command shows it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import CommandLine
from gateway_process import TOKEN, GatewayProcess
from terminal import terminal

STEERING = (
    "\x1b]8;;http://x.example\x07here\x1b]8;;\x07 \x1b[2J\x9b31m \u202egnp.exe \r> yes \x1b]52;c;bWFs\x07"
)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A command line beside a gateway to which somebody has said what steers."""
    with GatewayProcess(tmp_path_factory.mktemp("steering") / "state") as gateway:
        gateway.say("c", f"/echo {STEERING}")
        gateway.http.post("/api/memory", json={"text": STEERING}).raise_for_status()
        yield CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN})


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["sessions", "export", "c", "--format", "md"], 0),
        (["sessions", "export", "c", "--format", "jsonl"], 0),
        (["sessions", "show", "c"], 0),
        (["sessions", "list"], 0),
        (["memory", "list"], 0),
        (["sessions", "show", STEERING], 1),
        (["jobs", "run", STEERING], 1),
        (["skills", "show", STEERING], 1),
        (["restore", STEERING], 75),
        ([STEERING], 2),
    ],
)
def test_a_terminal_is_not_steered(line: CommandLine, args: list[str], code: int) -> None:
    """No escape sequence, no control character and no turned reading order of a stranger's comes through."""
    with terminal(line, *args, code=code) as shown:
        seen = shown.rest()
    for bad in ("\x1b]", "\x1b[2J", "\x9b", "\u202e", "\x07"):
        assert bad not in seen


def test_a_file_gets_it_as_it_is(line: CommandLine) -> None:
    """What goes to no terminal is exact."""
    assert "\u202egnp.exe" in line.run("sessions", "export", "c", "--format", "jsonl").out


def test_a_document_has_no_image(line: CommandLine, tmp_path: Path) -> None:
    """An export to Markdown fetches nothing when it is opened."""
    with GatewayProcess(tmp_path / "state") as gateway:
        gateway.say("i", "/echo ![x](http://x.example/i.png)")
        own = CommandLine(gateway.state, line.variables)
        text = own.run("sessions", "export", "i", "--format", "md").out
    assert "```\n![x](http://x.example/i.png)\n```" in text
