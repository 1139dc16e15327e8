import json
import os
import re
from pathlib import Path

import pytest

from command_line import CommandLine, key_of, timeless
from terminal import terminal

DETERMINISTIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/"


def test_show(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """A transcript says who said what; a call is a line that tells how it went, unless it is asked for whole."""
    key = key_of(request)
    for text in ("/sleep 0", "/echo \x1b[31mred"):
        tidegate_up.run("chat", text, "--session", key)
    shown = timeless(tidegate_up.run("sessions", "show", key).out)
    head, first, second = shown.split("\nuser  2")
    assert head.startswith(f"{key}\nchat of main, active, archives in 30 d\n6 entries")
    assert first.splitlines()[1:3] == ["/sleep 0", '→ wait {"seconds":0.0} · 10 B in # s']
    assert second.splitlines()[1] == "/echo �[31mred"
    whole = tidegate_up.run("sessions", "show", key, "--tools").out
    assert '→ wait\n  {\n    "seconds": 0.0\n  }\n← wait · 10 B\n  waited 0 s\n' in whole
    assert "… 5 earlier entries\n\nmain" in tidegate_up.run("sessions", "show", key, "--tail", "1").out
    assert tidegate_up.json("sessions", "show", key, "--tail", "0")["entries"] == []
    assert [
        entry["seq"] for entry in tidegate_up.json("sessions", "show", key, "--tail", "2")["entries"]
    ] == [
        5,
        6,
    ]


def test_show_large_texts_and_lost_calls(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """A large text shows its beginning and says how large it is; a call that was cut off says so."""
    key, text = key_of(request), DETERMINISTIC * 1_100
    tidegate_up.run("chat", "--session", key, stdin=f"/echo {text}".encode())
    with tidegate_up.start("chat", "/sleep 600", "--session", key) as process:
        assert process.stderr is not None
        os.read(process.stderr.fileno(), 1)
        tidegate_up.run("sessions", "cancel", key)
        process.communicate()
    shown = tidegate_up.run("sessions", "show", key).out
    assert shown.count("68.8 KB in all") == 2
    assert len(shown) < 6_000
    assert '→ wait {"seconds":600.0} · no result' in shown


def test_show_on_a_terminal(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """A person reads it through the pager of the environment; a list fits a narrow terminal."""
    key = key_of(request)
    tidegate_up.run("chat", "/echo hi", "--session", key)
    paged = CommandLine(tidegate_up.state, {"PAGER": "sed s/^/|/"})
    with terminal(paged, "sessions", "show", key) as shown:
        assert f"|{key}\r\n" in shown.rest()
    drawn = CommandLine(tidegate_up.state, {"TERM": "xterm", "NO_COLOR": "1"})
    for columns in (20, 40, 80, 200):
        with terminal(drawn, "sessions", "list", "--q", key, columns=columns) as shown:
            lines = re.sub("\x1b\\[[0-9;]*m", "", shown.rest()).splitlines()
        assert max(map(len, lines)) <= columns
        assert ("title" in lines[0]) is (columns >= 80)
        assert "".join(line[: len(key)].partition("  ")[0] for line in lines[1:]).startswith(key[:18])


def test_colours(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """A terminal gets colours unless NO_COLOR is set; nothing else gets any."""
    key = key_of(request)
    tidegate_up.run("chat", "/echo hi", "--session", key)
    for variables, has_colours in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        line = CommandLine(tidegate_up.state, {**variables, "PAGER": "cat", "LESS": "-R"})
        for command in (["sessions", "show", key], ["sessions", "list"], ["chat", "/sleep 0"]):
            with terminal(line, *command) as shown:
                # bold is no colour, and rich keeps it
                found = "\x1b[" in shown.rest().replace("\x1b[1m", "").replace("\x1b[0m", "")
            assert not found or has_colours, command
        assert "\x1b" not in line.run("sessions", "show", key).out


def test_export(tidegate_up: CommandLine, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """An export has each text whole, one entry a line; a file is written whole and replaced only when asked."""
    key, target = key_of(request), tmp_path / "export.jsonl"
    tidegate_up.run("chat", "/big 70000", "--session", key)
    out = tidegate_up.run("sessions", "export", key).out
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["type"] for line in lines] == ["session", "message", "tool_call", "tool_result", "message"]
    assert lines[3]["text"] == (DETERMINISTIC * 1_100)[:70_000]
    assert tidegate_up.json("sessions", "export", key, "--out", target) == {"path": str(target)}
    assert (target.read_text(), target.stat().st_mode & 0o777) == (out, 0o600)
    target.write_text("mine")
    told = tidegate_up.run("sessions", "export", key, "--out", target)
    assert (told.code, told.err.splitlines()[1]) == (1, "hint: --force replaces it")
    assert target.read_text() == "mine"
    assert tidegate_up.run("sessions", "export", key, "--out", target, "--force").out == f"wrote {target}\n"
    assert target.read_text() == out
    assert tidegate_up.run("sessions", "export", "t:none", "--out", tmp_path / "x").code == 1
    assert tidegate_up.run("sessions", "export", key, "--out", tmp_path / "none/x").code == 74
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_export_as_markdown(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """A document names who speaks, quotes what is said and fences what tools take and answer."""
    key = key_of(request)
    tidegate_up.run("chat", "/sleep 0", "--session", key)
    lines = tidegate_up.run("sessions", "export", key, "--format", "md").out.splitlines()
    assert lines[0] == f"# `{key}`"
    assert "> /sleep 0" in lines
    assert lines[lines.index("```json") + 1] == '{"seconds":0.0}'


def test_export_all(tidegate_up: CommandLine, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Each session goes into a file of its own, also one whose key is longer than a file's name can be."""
    short, long = key_of(request), "k" * 256
    for key in (short, long):
        tidegate_up.run("chat", "/echo hi", "--session", key)
    told = tidegate_up.json("sessions", "export", "--all", "--out", tmp_path / "all")
    names = {path.name for path in (tmp_path / "all").iterdir()}
    assert told == {"path": str(tmp_path / "all"), "sessions": len(names)}
    assert f"{short}.jsonl" in names
    assert sum(name.startswith("k" * 200 + ".") for name in names) == 1
    assert tidegate_up.run("sessions", "export", "--all", "--out", tmp_path / "all").code == 1
    for wrong in (["--all"], [short, "--all"], [], [short, "--json"]):
        assert tidegate_up.run("sessions", "export", *wrong).code == 2
