"""Models behind a whole gateway: what is kept of their answers, shown of them, and told when they fail."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway_process import TOKEN, GatewayProcess, refused_start
from llm_server import LlmServer, Reply

BUSY = Reply(status=429, body='{"error": {"message": "slow down"}}', headers={"retry-after": "0"})


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a scripted provider."""
    with LlmServer() as running:
        yield running


def config(server: LlmServer, more: str = "") -> str:
    """Return a configuration with both dialects of one server."""
    return f"""
[model]
provider = "claude"
name = "tiny"
[providers.claude]
type = "anthropic"
base_url = "{server.base_url}"
[providers.box]
base_url = "{server.base_url}"
[agents.main]
{more}
"""


def test_thoughts_outlive_the_gateway(server: LlmServer, tmp_path: Path) -> None:
    """What the model signed goes back verbatim in the next turn and after a restart, and is shown to nobody."""
    secret = "signed-" + "x" * 20_000
    thoughts = [("the moon pulls", secret), ("", "sealed==")]
    blocks = [
        {"type": "thinking", "thinking": "the moon pulls", "signature": secret},
        {"type": "redacted_thinking", "data": "sealed=="},
        {"type": "text", "text": "high tide"},
    ]
    with GatewayProcess(tmp_path / "state", config=config(server)) as gateway:
        server.script = [Reply(thoughts=thoughts, text="high tide")]
        assert gateway.say("c", "why?")["reply"] == "high tide"
        gateway.say("c", "/echo two")
        assert gateway.stop() == 0
        gateway.start()
        gateway.say("c", "/echo three")
        shown = json.dumps(gateway.get("/api/sessions/c/entries"))
    assert [request.messages[1]["content"] for request in server.requests[1:]] == [blocks, blocks]
    assert not [word for word in ("signed-", "sealed", "moon", "opaque") if word in shown]


def test_a_cut_stream_is_told(server: LlmServer, tmp_path: Path) -> None:
    """What was said stays as a partial entry; the run has failed, there is no reply, and the next prompt is told."""
    with GatewayProcess(tmp_path / "state", config=config(server)) as gateway:
        server.script = [Reply(text="half an answer", end="torn")]
        reply = gateway.say("c", "go")
        (run,) = gateway.get("/api/runs")["runs"]
        assert (reply["reply"], run["outcome"]) == ("", "failed")
        entries = gateway.get("/api/sessions/c/entries")["entries"]
        assert [(entry["type"], entry.get("partial")) for entry in entries] == [
            ("message", None),
            ("message", True),
            ("notice", None),
        ]
        assert entries[1]["text"] == "half an answer"
        assert entries[2]["text"].startswith("failed: 'tiny' at 127.0.0.1:")
        gateway.say("c", "/echo again")
        assert gateway.texts("c")[-1] == "again"
    assert len(server.requests) == 2
    assert server.requests[1].messages[1]["content"][0]["text"].startswith("half an answer\n\n[broken off")


def test_a_cut_stream_is_no_stop(server: LlmServer, tmp_path: Path) -> None:
    """An OpenAI client's stream ends with an error, without a finish reason."""
    with GatewayProcess(tmp_path / "state", config=config(server)) as gateway:
        server.script = [Reply(text="half an answer", end="cut")]
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=TOKEN, max_retries=0)
        asked: Any = {"model": "main", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        choices: list[Any] = []
        with client, pytest.raises(openai.APIError) as caught:
            choices.extend(chunk.choices[0] for chunk in client.chat.completions.create(**asked))
        assert caught.value.code == "model_busy"
        assert "".join(choice.delta.content or "" for choice in choices) == "half an answer"
        assert {choice.finish_reason for choice in choices} == {None}


def test_a_busy_model_and_its_fallback(server: LlmServer, tmp_path: Path) -> None:
    """A busy model is asked again, then the next one is; the chat sees one answer."""
    more = 'fallback = "box/other"'
    with GatewayProcess(tmp_path / "state", config=config(server, more)) as gateway:
        server.script = [BUSY, Reply(text="second try")]
        assert gateway.say("c", "go")["reply"] == "second try"
        server.script = [BUSY] * 4
        assert gateway.say("c", "/echo elsewhere")["reply"] == "elsewhere"
        assert gateway.texts("c") == ["go", "second try", "/echo elsewhere", "elsewhere"]
    asked = [(request.path.partition("?")[0], request.body["model"]) for request in server.requests]
    assert asked == [("/v1/messages", "tiny")] * 6 + [("/v1/chat/completions", "other")]


def test_a_start_without_a_key(tmp_path: Path) -> None:
    """A provider that needs a key is told apart at the start, with the variable that would hold it."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "tidegate.toml").write_text('[model]\nprovider = "anthropic"\nname = "claude"\n')
    code, said = refused_start(state, ANTHROPIC_API_KEY="")
    assert code == 78
    assert "[model] api_key_env: the environment variable 'ANTHROPIC_API_KEY' is not set" in said


def test_an_overflow_is_answered_with_a_summary(server: LlmServer, tmp_path: Path) -> None:
    """Asked too much, a provider is asked what to remember, for a summary, and then again; a person sees an answer."""
    too_long = Reply(
        status=400, body='{"error": {"message": "at most 8 tokens", "code": "context_length_exceeded"}}'
    )
    with GatewayProcess(
        tmp_path / "state", config=config(server, 'model = "box/tiny"\ninstructions = "be kind"')
    ) as gateway:
        for text in ("one", "two", "three"):
            gateway.say("c", f"/echo {text}")
        server.script = [
            too_long,
            Reply(text="remember: numbers"),
            Reply(text="They counted to two."),
            Reply(text="four!"),
        ]
        assert gateway.say("c", "four?")["reply"] == "four!"
        _, flushed, asked, last = server.requests[-4:]
        facts = [fact["text"] for fact in gateway.get("/api/memory")["facts"]]
        texts = [entry["text"] for entry in gateway.get("/api/sessions/c/entries")["entries"]]

    assert "remember:" in flushed.messages[0]["content"]
    assert ["numbers"] == facts
    assert "You write the summary" in asked.messages[0]["content"]
    material = [json.loads(line) for line in str(asked.messages[-1]["content"]).split("\n")]
    assert material[:2] == [{"user": "/echo one"}, {"assistant": "one"}]
    assert [message["role"] for message in last.messages][-1] == "user"
    sent = json.dumps(last.messages)
    assert "[summary of the conversation so far]\\nThey counted to two." in sent
    assert "be kind" in sent
    assert "/echo one" not in sent
    assert "four?" in sent
    assert texts[-3:] == ["four?", "They counted to two.", "four!"]
