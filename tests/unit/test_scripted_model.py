import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from tidegate.soak.wall.model import ScriptedModel, served


def user(text: str) -> dict[str, Any]:
    """Return a message of a user."""
    return {"role": "user", "content": text}


RESULT = {"role": "tool", "tool_call_id": "scripted-1", "content": "time: now"}


async def events(*messages: dict[str, Any]) -> AsyncIterator[Any]:
    """Ask a model that is served, and yield what it streams."""
    async with served(ScriptedModel()) as url, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(
            f"{url}/chat/completions", json={"model": "scripted", "messages": messages, "stream": True}
        )
    for line in answer.text.splitlines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))
    assert answer.text.endswith("data: [DONE]\n\n")


def asked(*messages: dict[str, Any]) -> tuple[str, list[Any], str]:
    """Return the text, the functions that are called and why the stream ended."""

    async def ask() -> list[Any]:
        return [event async for event in events(*messages)]

    choices = [choice for event in anyio.run(ask) for choice in event["choices"]]
    deltas = [choice["delta"] for choice in choices]
    calls = [call["function"] for delta in deltas for call in delta.get("tool_calls", [])]
    return "".join(delta.get("content", "") for delta in deltas), calls, choices[-1]["finish_reason"]


def test_it_says_what_the_offline_model_says() -> None:
    """Commands that need no tool of the offline model are obeyed by it."""
    assert ("hello", [], "stop") == asked(user("/echo hello"))
    text, calls, why = asked(user("/spawn 2 /echo x"))
    assert ("", "tool_calls") == (text, why)
    assert ["spawn_agent"] * 2 == [call["name"] for call in calls]


def test_it_looks_at_the_session_before_it_says_much() -> None:
    """A call first, then as many bytes as were asked for."""
    _, calls, why = asked(user("/big 5000"))

    assert ([{"name": "session_status", "arguments": "{}"}], "tool_calls") == (calls, why)
    assert 5_000 == len(asked(user("/big 5000"), {"role": "assistant"}, RESULT)[0])


@pytest.mark.parametrize("content", ["/sleep 0.01", [{"type": "text", "text": "/sleep 0.01"}]])
def test_it_is_slow_by_itself(content: object) -> None:
    """It takes its time without a tool, however the message is written."""
    assert ("slept 0.01", [], "stop") == asked({"role": "user", "content": content})


def test_too_much_is_a_wrong_call() -> None:
    """A tool without arguments gets some."""
    (call,) = asked(user("/big 10000000000000"))[1]

    assert {"bytes": 10_000_000_000_000} == json.loads(call["arguments"])
