import json
import os
import pty
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from command_line import CommandLine, Process, limited

DETERMINISTIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/"


@pytest.fixture
def nowhere(tmp_path: Path) -> CommandLine:
    """Return the command line on a folder without a gateway."""
    return CommandLine(tmp_path)


def key_of(request: pytest.FixtureRequest) -> str:
    """Return a session key of the test's own."""
    return f"t:{request.node.name}"


@contextmanager
def terminal(line: CommandLine, *args: str) -> Iterator[tuple[Process, int]]:
    """Run a command on a terminal of its own; yield it and the other end of the terminal."""
    ours, theirs = pty.openpty()
    with line.start(*args, screen=theirs) as process, limited(process):
        os.close(theirs)
        yield process, ours
        process.wait()
    os.close(ours)
    assert process.returncode == 0


def until(screen: int, text: str) -> str:
    """Read the screen until *text* stands there, and return all that was read."""
    read = b""
    while text.encode() not in read:
        read += os.read(screen, 4_096)
    return read.decode()


def test_not_running(nowhere: CommandLine) -> None:
    """Without a gateway, commands that need one end with 69 and say what to do."""
    for command in (["status"], ["sweep"], ["sessions", "list"], ["chat", "hi"]):
        told = nowhere.run(*command)
        assert (told.code, told.out) == (69, "")
        assert told.err == f"error: no gateway is running on {nowhere.state}\nhint: start it: tidegate up\n"
    assert nowhere.run("token").code == 69


def test_a_gateway_that_has_died(nowhere: CommandLine) -> None:
    """A card that a killed gateway left behind does not mislead anybody."""
    card = {"url": "http://127.0.0.1:1", "instance": "x", "config": None, "pid": 1}
    (nowhere.state / "gateway.json").write_text(json.dumps(card))
    (nowhere.state / "token").write_text("some-token-or-other")
    told = nowhere.run("status", "--json")
    assert (told.code, json.loads(told.err)["error"]["code"]) == (69, "unavailable")


def test_a_folder_is_held_once(tidegate_up: CommandLine) -> None:
    """A second gateway on the same folder ends with 75, and the first one goes on."""
    assert tidegate_up.run("up", "--port", "0").code == 75
    assert tidegate_up.run("status").code == 0


def test_status(tidegate_up: CommandLine) -> None:
    """People read what matters in a few lines; JSON has everything."""
    told = tidegate_up.run("status")
    assert told.code == 0
    for text in ("offline, not an LLM", "http://127.0.0.1:", "overdue", "orphans", "subagent", "archived"):
        assert text in told.out
    found = tidegate_up.json("status")
    assert {"version", "uptime_s", "boots", "model", "rss_bytes", "sessions", "storage"} <= set(found)


def test_token(tidegate_up: CommandLine) -> None:
    """The token stands alone on standard output."""
    token = (tidegate_up.state / "token").read_text().strip()
    assert tidegate_up.run("token") == (0, f"{token}\n", "")
    assert tidegate_up.json("token") == {"token": token}


def test_chat(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """A message is answered, in a new session and in one that is there, and nothing else is printed."""
    key = key_of(request)
    for text in ("first", "secönd\n", "\x1b[31mthird"):
        assert tidegate_up.run("chat", f"/echo {text}", "--session", key) == (0, f"{text}\n", "")
    assert tidegate_up.json("sessions", "show", key)["session"]["entries"] == 6


def test_chat_shows_tool_calls(tidegate_up: CommandLine) -> None:
    """A tool call is one line beside the answer."""
    assert tidegate_up.run("chat", "/sleep 0.1") == (0, "slept 0.1\n", '→ wait {"seconds":0.1}\n')


def test_chat_reads_standard_input(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """A message comes from standard input where it is `-` or missing; a large one comes back whole."""
    text = DETERMINISTIC * 2_000
    for args in ([], ["-"]):
        told = tidegate_up.run("chat", *args, "--session", key_of(request), stdin=f"/echo {text}\n".encode())
        assert told == (0, f"{text}\n", "")
    assert tidegate_up.run("chat", stdin=b"").code == 2
    assert tidegate_up.run("chat", stdin=b"\xff").err == "error: standard input is not UTF-8: byte 1\n"


def test_chat_as_json(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """With --json the answer is an object with run, session and reply."""
    key = key_of(request)
    answer = tidegate_up.json("chat", "/echo hi", "--session", key)
    assert (answer["session"], answer["reply"], set(answer)) == (key, "hi", {"run", "session", "reply"})


def test_chat_refused(tidegate_up: CommandLine) -> None:
    """What the gateway refuses is told with its code and hint, and ends with 1."""
    told = tidegate_up.run("chat", "hi", "--agent", "nobody", "--json")
    assert told.code == 1
    assert json.loads(told.err)["error"] == {
        "code": "model_not_found",
        "message": "there is no agent 'nobody'",
        "hint": "there is: main",
    }


def test_a_cancelled_run(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """A run that somebody else cancels ends the waiting with 1."""
    key = key_of(request)
    with tidegate_up.start("chat", "/sleep 600", "--session", key) as process, limited(process):
        assert process.stderr is not None
        assert process.stderr.readline().decode().startswith("→ wait")
        assert tidegate_up.run("sessions", "cancel", key) == (0, f"cancelled {key}\n", "")
        assert process.communicate() == (b"", b"cancelled\n")
    assert process.returncode == 1


def test_interrupted(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Ctrl-C cancels the run that is waited for, and ends with 130."""
    key = key_of(request)
    with tidegate_up.start("chat", "/sleep 600", "--session", key) as process, limited(process):
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert tidegate_up.run("chat", "/echo on", "--session", key).out == "on\n"


def test_conversation(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """On a terminal it is a conversation: Ctrl-C stops an answer, Ctrl-D ends it."""
    with terminal(tidegate_up, "chat", "--session", key_of(request)) as (process, screen):
        until(screen, "> ")
        os.write(screen, b"/echo one\\two\n")
        assert until(screen, "\n> ").count("one\\two\r\n") == 2
        os.write(screen, b"/sleep 600\n")
        until(screen, "→ wait")
        process.send_signal(signal.SIGINT)
        assert "cancelled" in until(screen, "\n> ")
        os.write(screen, b"/echo on\n")
        until(screen, "\non\r\n> ")
        os.write(screen, b"\x04")


def test_a_terminal_is_safe(tidegate_up: CommandLine) -> None:
    """What an agent answers cannot send control sequences to a terminal."""
    with terminal(tidegate_up, "chat", "/echo \x1b[31mred") as (_, screen):
        assert until(screen, "red\r\n") == "�[31mred\r\n"


def test_list(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Sessions are listed newest first, filtered, page after page; people see what becomes of each."""
    key = key_of(request)
    keys = [f"{key}:{number}" for number in range(3)]
    for one in keys:
        tidegate_up.run("chat", "/echo x", "--session", one)
    found = tidegate_up.json("sessions", "list", "--q", key, "--all")["sessions"]
    assert [head["key"] for head in found] == keys[::-1]
    assert len(tidegate_up.json("sessions", "list", "--q", key, "--limit", "2")["sessions"]) == 2
    assert tidegate_up.json("sessions", "list", "--q", key, "--in-state", "archived")["sessions"] == []
    assert tidegate_up.json("sessions", "list", "--q", key, "--kind", "cron")["sessions"] == []
    told = tidegate_up.run("sessions", "list", "--q", key).out
    assert told.splitlines()[0].split() == ["key", "kind", "state", "entries", "size", "next", "title"]
    assert told.count("archives in 30 d") == 3
    assert tidegate_up.run("sessions", "list", "--kind", "none").code == 1


def test_show_and_export(tidegate_up: CommandLine, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What is shown says how large a text is; an export has each text whole."""
    key = key_of(request)
    tidegate_up.run("chat", "/big 70000", "--session", key)
    whole = (DETERMINISTIC * 1_100)[:70_000]
    shown = tidegate_up.run("sessions", "show", key).out
    assert "68.4 KB in all" in shown
    assert "… 2 earlier entries" in tidegate_up.run("sessions", "show", key, "--limit", "2").out
    lines = [json.loads(line) for line in tidegate_up.run("sessions", "export", key).out.splitlines()]
    assert [line["type"] for line in lines] == ["session", "message", "tool_call", "tool_result", "message"]
    assert lines[3]["text"] == whole
    target = tmp_path / "export.md"
    told = tidegate_up.json("sessions", "export", key, "--format", "markdown", "--output", target)
    assert told == {"path": str(target)}
    assert f"    {whole}\n" in target.read_text()
    assert tidegate_up.run("sessions", "export", key, "--output", tmp_path / "none/x").code == 74


def test_actions(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Each action is told for each session; one that refuses does not keep it from the others."""
    key = key_of(request)
    tidegate_up.run("chat", "/echo x", "--session", key)
    told = tidegate_up.run("sessions", "pin", "t:none", key)
    assert (told.code, told.out) == (1, f"pinned {key}\n")
    assert "there is no session 't:none'" in told.err
    assert tidegate_up.run("sessions", "archive", key).code == 1
    for action, done in (("unpin", "unpinned"), ("archive", "archived"), ("restore", "restored")):
        assert tidegate_up.run("sessions", action, key) == (0, f"{done} {key}\n", "")
    assert tidegate_up.json("sessions", "archive", key)["sessions"][0]["state"] == "archived"


def test_delete(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Nothing is deleted unless a person says yes or --yes does."""
    key = key_of(request)
    tidegate_up.run("chat", "/echo x", "--session", key)
    assert tidegate_up.run("sessions", "delete", key).code == 2
    assert tidegate_up.run("sessions", "show", key).code == 0
    assert tidegate_up.run("sessions", "delete", key, "--yes") == (0, f"deleted {key}\n", "")
    assert tidegate_up.run("sessions", "show", key).code == 1


def test_delete_asks(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """On a terminal a person is asked."""
    key = key_of(request)
    tidegate_up.run("chat", "/echo x", "--session", key)
    with terminal(tidegate_up, "sessions", "delete", key) as (_, screen):
        until(screen, "[y/N]")
        os.write(screen, b"y\n")
        until(screen, f"deleted {key}")


def test_stats_and_sweep(tidegate_up: CommandLine) -> None:
    """Counts and bytes are told by kind and state; a sweep tells what it did."""
    found = tidegate_up.json("sessions", "stats")
    assert set(found) == {"sessions", "session_bytes"}
    assert "subagent" in tidegate_up.run("sessions", "stats").out
    assert tidegate_up.run("sweep") == (0, "completed 0, archived 0, deleted 0, left 0\n", "")
    assert tidegate_up.json("sweep", "--dry-run") == {"completed": 0, "archived": 0, "deleted": 0, "left": 0}
