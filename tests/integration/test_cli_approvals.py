import json
from pathlib import Path

import pytest

from asker import Asker
from command_line import CommandLine
from terminal import terminal

QUESTION = "[l]ater: "


@pytest.mark.parametrize(
    ("key", "decision"), [("o", "once"), ("always", "always"), ("D", "deny"), ("?\no", "once")]
)
def test_asked_in_the_conversation(tmp_path: Path, key: str, decision: str) -> None:
    """A call that waits is shown, the answer is passed on, and the reply goes on where it was."""
    with Asker(tmp_path, [("shell", '{"argv": ["ls"]}')]) as gateway:
        with terminal(CommandLine(tmp_path), "chat", "go") as shown:
            assert 'shell {"argv": ["ls"]}' in shown.until(QUESTION)
            shown.type(f"{key}\n")
            assert shown.rest().endswith("done\r\n")
        assert gateway.decisions == [decision]


def test_nothing_hides_in_a_call(tmp_path: Path) -> None:
    """What a model wrote cannot steer the terminal, hide a part of itself or look like the question."""
    arguments = '{"a": "\x1b[2K\x1b[1A\r\n[o]nce\u202e\u200b\xa0"}'
    with Asker(tmp_path, [("sh\x1b[31mell", arguments)]):
        with terminal(CommandLine(tmp_path), "chat", "go", code=1) as shown:
            asked = shown.until(QUESTION)
            shown.type("l\n")
        told = CommandLine(tmp_path).run("approvals", "list").out
    literal = (
        'sh<U+001B>[31mell {"a": "<U+001B>[2K<U+001B>[1A<U+000D><U+000A>[o]nce<U+202E><U+200B><U+00A0>"}'
    )
    assert f"  {literal}\r\n" in asked
    assert "\x1b" not in asked
    assert told.count("\n") == 2
    assert literal in told


def test_left_for_later(tmp_path: Path) -> None:
    """A decision that is left ends the waiting, says how to make it, and is asked for in the next conversation."""
    line = CommandLine(tmp_path)
    with Asker(tmp_path, [("shell", "{}"), ("shell", "{}")]) as gateway:
        with terminal(line, "chat") as shown:
            shown.until(QUESTION)
            shown.type("l\n")
            assert "tidegate approvals allow A0" in shown.until("\n> ")
            shown.type("/quit\n")
        with terminal(line, "chat") as shown:
            shown.until(QUESTION)
            shown.type("o\n")
            shown.until(QUESTION)
            shown.type("d\n")
            shown.until("done\r\n> ")
            shown.type("\x04")
        assert gateway.decisions == ["once", "deny"]


def test_nobody_is_asked_without_a_terminal(tmp_path: Path) -> None:
    """A script is told what waits and how to decide on it, and ends with 1."""
    line = CommandLine(tmp_path)
    with Asker(tmp_path, [("shell", "{}")]):
        told = line.run("chat", "go")
        assert (told.code, told.out) == (1, "")
        assert "tidegate approvals allow A0" in told.err
        told = line.run("chat", "go", "--json")
        assert (told.code, json.loads(told.out)["state"], told.err) == (1, "waiting", "")


def test_decided_by_commands(tmp_path: Path) -> None:
    """Calls are listed, allowed and denied by commands."""
    line = CommandLine(tmp_path)
    with Asker(tmp_path, [("shell", "{}"), ("shell", '{"x": 1}'), ("shell", "[]")]) as gateway:
        assert [one["id"] for one in line.json("approvals", "list")["approvals"]] == ["A0"]
        assert "expires" in line.run("approvals", "list").out
        assert line.run("approvals", "allow", "A0") == (0, "allowed: shell {}\n", "")
        assert line.run("approvals", "allow", "A1", "--always").out == 'always allowed: shell {"x": 1}\n'
        assert line.json("approvals", "deny", "A2")["state"] == "denied"
        assert gateway.decisions == ["once", "always", "deny"]
        assert line.json("approvals", "list")["approvals"] == []
        assert [one["state"] for one in line.json("approvals", "list", "--all")["approvals"]] == [
            "allowed", "always", "denied",
        ]  # fmt: skip
    assert line.run("approvals", "list").code == 69
