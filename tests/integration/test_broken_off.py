"""What was said before somebody stopped it is kept: in the transcript, and for the model."""

import signal
from pathlib import Path

import pytest

from command_line import CommandLine
from gateway_process import TOKEN, GatewayProcess, until
from llm_server import LlmServer, Reply
from terminal import terminal


def test_ctrl_c_in_a_conversation(half_gateway: GatewayProcess, half_model: LlmServer) -> None:
    """An answer that a person stops stands in the transcript, marked, and the model reads it with the next message."""
    line = CommandLine(half_gateway.state, {"TIDEGATE_TOKEN": TOKEN})
    with terminal(line, "chat", "--no-history") as shown:
        shown.until("> ")
        shown.type("begin\n")
        shown.until("half an answer")
        shown.process.send_signal(signal.SIGINT)
        shown.until("> ")
        assert half_model.hung_up.wait(2)
        shown.type("go on\n")
        shown.until("ok")
        shown.type("/quit\n")
    entries = half_gateway.get("/api/sessions/chat:cli/entries")["entries"]
    assert [
        (entry["text"], entry.get("partial", False)) for entry in entries if entry["type"] == "message"
    ] == [
        ("begin", False),
        ("half an answer", True),
        ("go on", False),
        ("ok", False),
    ]
    told = [
        message["content"] for message in half_model.requests[-1].messages if message["role"] == "assistant"
    ]
    assert len(told) == 1
    assert "half an answer" in str(told[0])
    assert str(told[0]) != "half an answer"  # it is told that it was broken off


@pytest.mark.parametrize("place", ["runs", "sessions"])
def test_cancelling_over_http(half_gateway: GatewayProcess, half_model: LlmServer, place: str) -> None:
    """To cancel a run or all of a session keeps what was said, once, and closes the model's stream."""
    key = f"cancel:{place}"
    said = half_model.script[:]
    half_model.script = [Reply(text="ready"), *said]
    half_gateway.say(key, "hello")
    with half_gateway.http.stream("GET", f"/api/sessions/{key}/events?after=2") as events:
        run = half_gateway.send(key, "begin").json()["run"]
        next(line for line in events.iter_lines() if '"text":" an "' in line)
    path = f"/api/runs/{run}/cancel" if place == "runs" else f"/api/sessions/{key}/cancel"
    for _ in range(2):
        assert half_gateway.post(path).status_code == 200
    assert half_model.hung_up.wait(2)
    assert half_gateway.get(f"/api/runs/{run}")["outcome"] == "cancelled"
    (said,) = (
        entry for entry in half_gateway.get(f"/api/sessions/{key}/entries")["entries"] if entry.get("partial")
    )
    assert said["text"].startswith("half an ")  # as far as it was heard by then
    assert "half an answer".startswith(said["text"])
    assert until(lambda: half_gateway.say(key, "go on")["reply"]) == "ok"


def test_a_conversation_that_waits_says_so_at_once(tmp_path: Path) -> None:
    """After *later*, the next message is told of the call that is waited for, and offered to decide on it."""
    with GatewayProcess(tmp_path / "state", config='[agents.main]\ntools = ["shell"]\n') as gateway:
        line = CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN})
        with terminal(line, "chat", "--no-history") as shown:
            shown.until("> ")
            shown.type("/run echo hello\n")
            shown.until("[l]ater: ")
            shown.type("l\n")
            shown.until("tidegate approvals allow")
            shown.type("/echo next\n")
            assert "hello" in shown.until("[l]ater: ")
            shown.type("o\n")
            assert "next" in shown.until("\nnext")
            shown.type("/quit\n")
        assert [text for text in gateway.texts("chat:cli") if text.startswith("/")] == [
            "/run echo hello",
            "/echo next",
        ]
