import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cable import Cable
from command_line import CommandLine, Process, key_of, limited, timeless
from gateway_process import TOKEN, GatewayProcess, until
from llm_server import LlmServer, Reply
from terminal import terminal

DETERMINISTIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/"


def until_error(process: Process, text: str) -> None:
    """Read standard error until *text* stands there."""
    assert process.stderr is not None
    read = b""
    while text.encode() not in read:
        read += os.read(process.stderr.fileno(), 4_096)


def test_chat(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """A message is answered, in a new session and in one that is there, and nothing else is printed."""
    key = key_of(request)
    for text in ("first", "secönd\n", "\x1b[31mthird"):
        assert tidegate_up.run("chat", f"/echo {text}", "--session", key) == (0, f"{text}\n", "")
    assert tidegate_up.json("sessions", "show", key)["session"]["entries"] == 6


def test_chat_shows_tool_calls(tidegate_up: CommandLine) -> None:
    """A tool call is one line beside the answer, which ends in how it went; or it is shown whole."""
    told = tidegate_up.run("chat", "/sleep 0.1")
    assert (told.code, told.out) == (0, "slept 0.1\n")
    assert timeless(told.err) == '→ wait {"seconds":0.1} · 12 B in # s\n'
    failed = timeless(tidegate_up.run("chat", "/sleep 9999").err)
    assert failed.startswith('→ wait {"seconds":9999.0} · failed in # s: ')
    whole = timeless(tidegate_up.run("chat", "/sleep 0.1", "--tools").err)
    assert whole == '→ wait\n  {\n    "seconds": 0.1\n  }\n← wait · 12 B in # s\n  waited 0.1 s\n'


def test_chat_reads_standard_input(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """A message comes from standard input where it is `-` or missing; a large one comes back whole."""
    text = DETERMINISTIC * 2_000
    for args in ([], ["-"]):
        told = tidegate_up.run("chat", *args, "--session", key_of(request), stdin=f"/echo {text}\n".encode())
        assert told == (0, f"{text}\n", "")
    assert tidegate_up.run("chat", stdin=b"").code == 2
    assert tidegate_up.run("chat", "").code == 2
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
        until_error(process, "→ wait")
        assert tidegate_up.run("sessions", "cancel", key) == (0, f"cancelled {key}\n", "")
        out, err = process.communicate()
    assert (out, err.splitlines()[1:]) == (b"", [b"cancelled"])
    assert process.returncode == 1


def test_interrupted(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Ctrl-C cancels the run that is waited for, and ends with 130."""
    key = key_of(request)
    with tidegate_up.start("chat", "/sleep 600", "--session", key) as process, limited(process):
        until_error(process, "→ wait")
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert tidegate_up.run("chat", "/echo on", "--session", key).out == "on\n"


def test_conversation(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """It says who answers and what is no LLM; Ctrl-C stops an answer, Ctrl-D ends it."""
    key = key_of(request)
    with terminal(tidegate_up, "chat", "--session", key) as shown:
        assert f"{key} · agent main · model offline, not an LLM" in shown.until("> ")
        shown.type("/echo one\\two\n")
        assert shown.until("\n> ").count("one\\two\r\n") == 2
        shown.type("/sleep 600\n")
        shown.until("→ wait")
        shown.process.send_signal(signal.SIGINT)
        assert "cancelled" in shown.until("\n> ")
        shown.type("//echo on\n")
        shown.until("\non\r\n> ")
        shown.type("\x04")


def test_commands_of_the_client(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Help, the latest calls whole, and leaving are no messages; what the gateway refuses ends nothing."""
    key = key_of(request)
    with terminal(tidegate_up, "chat", "--session", key, "--agent", "main") as shown:
        shown.until("> ")
        shown.type("/help\n")
        assert "/expand" in shown.until("\n> ")
        shown.type("/sleep 0\n")
        shown.until("\n> ")
        shown.type("/expand\n")
        assert '"seconds": 0.0' in shown.until("waited 0 s")
        shown.until("\n> ")
        shown.type("/quit\n")
    assert tidegate_up.json("sessions", "show", key)["session"]["entries"] == 4


def test_the_second_ctrl_c_leaves(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Where nothing is under way, Ctrl-C says what leaves, and leaves when it comes again."""
    with terminal(tidegate_up, "chat", "--session", key_of(request), code=130) as shown:
        shown.until("> ")
        while shown.process.poll() is None:  # one that comes just before the line is read is not heard
            shown.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                shown.process.wait(1)
        assert shown.rest().count("Ctrl-C again leaves") == 1


def test_pasted_lines_are_one_message(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Lines that are pasted stay together, whether the terminal marks a paste or not."""
    key, smart = key_of(request), CommandLine(tidegate_up.state, {"TERM": "xterm"})
    with terminal(tidegate_up, "chat", "--session", key) as shown:
        shown.until("> ")
        shown.type("/echo a\nb\nc\n")
        shown.until("\na\r\nb\r\nc\r\n> ")
        shown.type("\x04")
    with terminal(smart, "chat", "--session", key) as shown:
        shown.until("> ")
        shown.type("\x1b[200~/echo d\ne\x1b[201~\n")
        shown.until("l\rd\r\ne\r\n")
        shown.until("> ")
        shown.type("\x04")
    said = [entry["text"] for entry in tidegate_up.json("sessions", "show", key)["entries"]]
    assert said == ["/echo a\nb\nc", "a\nb\nc", "/echo d\ne", "d\ne"]


def test_history(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """What was typed comes back with the arrow, also in the next conversation; --no-history keeps nothing."""
    line = CommandLine(tidegate_up.state, {"TERM": "xterm", "XDG_STATE_HOME": str(tidegate_up.state / "own")})
    file = tidegate_up.state / "own/tidegate-cli/chat_history"
    for options, keys in (
        (["--no-history"], "/echo nothing\n"),
        ([], "/echo first\n"),
        ([], "\x1b[A\n"),
    ):
        with terminal(line, "chat", "--session", key_of(request), *options) as shown:
            shown.until("> ")
            shown.type(keys)
            shown.until("l\r")  # bracketed paste is put out
            shown.until("> ")
            shown.type("\x04")
        assert file.exists() is not bool(options)
    assert file.read_text() == '"/echo first"\n'
    assert file.stat().st_mode & 0o777 == 0o600
    assert tidegate_up.json("sessions", "show", key_of(request))["entries"][-1]["text"] == "first"


def test_a_terminal_is_safe(tidegate_up: CommandLine) -> None:
    """What an agent answers cannot send control sequences to a terminal, or turn its reading order."""
    with terminal(tidegate_up, "chat", "/echo \x1b[31mred\u202eder") as shown:
        assert shown.until("der\r\n") == "�[31mred�der\r\n"


@pytest.fixture
def model() -> Iterator[LlmServer]:
    """Run a scripted provider."""
    with LlmServer() as server:
        yield server


@pytest.mark.parametrize("again", ["the tide is high", "low water, all quiet"])
@pytest.mark.parametrize("on_terminal", [True, False])
def test_an_answer_survives_the_gateway(
    model: LlmServer, tmp_path: Path, again: str, *, on_terminal: bool
) -> None:
    """The gateway is killed in the middle of an answer and comes back elsewhere: the answer is there once, whole."""
    gate = threading.Event()
    model.script = [Reply(text="the tide is high", gate=gate), Reply(text=again)]
    config = f'[model]\nprovider = "openai"\nname = "m"\nbase_url = "{model.base_url}"\n'
    line = CommandLine(tmp_path / "state", {"TIDEGATE_TOKEN": TOKEN})
    try:
        with GatewayProcess(line.state, config=config) as gateway:
            if on_terminal:
                with terminal(line, "chat", "go") as shown:
                    shown.until("the tide is ")
                    gateway.kill()
                    shown.until("is away")
                    gateway.start()
                    told = shown.rest()
                rest = "high\r\n" if again.startswith("the tide is ") else f"\r\n{again}\r\n"
                assert told.split(" (Ctrl-C leaves)\r\n")[1] == rest
            else:
                with line.start("chat", "go") as process, limited(process):
                    until(lambda: model.requests)
                    gateway.kill()
                    until_error(process, "is away")
                    gateway.start()
                    out, _ = process.communicate()
                assert (process.returncode, out) == (0, f"{again}\n".encode())
    finally:
        gate.set()


def test_a_dropped_connection(model: LlmServer, tmp_path: Path) -> None:
    """A connection that breaks in the middle of an answer is made again, and nothing is lost, said twice or told."""
    gate = threading.Event()
    model.script = [Reply(text="the tide is high", gate=gate)]
    config = f'[model]\nprovider = "openai"\nname = "m"\nbase_url = "{model.base_url}"\n'
    line = CommandLine(tmp_path / "state", {"TIDEGATE_TOKEN": TOKEN})
    try:
        with GatewayProcess(line.state, config=config) as gateway, Cable(gateway.port) as cable:
            card = json.loads((line.state / "gateway.json").read_text())
            (line.state / "gateway.json").write_text(json.dumps(card | {"url": cable.url}))
            with terminal(line, "chat", "go") as shown:
                shown.until("the tide is ")
                cable.pull()
                until(lambda: cable.count > 0)  # plugged in again: somebody hears the session
                gate.set()
                assert shown.rest() == "high\r\n"
    finally:
        gate.set()


def test_a_lost_acknowledgement(tmp_path: Path) -> None:
    """A message whose acknowledgement never came is sent again, and taken once."""
    line = CommandLine(tmp_path / "state", {"TIDEGATE_TOKEN": TOKEN})
    # the first request looks for the session, the second one brings the message
    with GatewayProcess(line.state) as gateway, Cable(gateway.port, swallowed=2) as cable:
        card = json.loads((line.state / "gateway.json").read_text())
        (line.state / "gateway.json").write_text(json.dumps(card | {"url": cable.url}))
        assert line.run("chat", "/echo hi") == (0, "hi\n", "")
        assert gateway.texts("chat:cli") == ["/echo hi", "hi"]
