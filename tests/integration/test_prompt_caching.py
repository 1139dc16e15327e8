"""Prompts begin as the ones before, so that providers can keep what they have read."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway_process import GatewayProcess
from llm_server import LlmServer

MESSAGES = ("the cat is called Tom", "what is the cat called?", "and the dog?", "/echo thanks")


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a model."""
    with LlmServer() as running:
        yield running


def told(body: dict[str, Any]) -> list[str]:
    """Return what a provider reads, in order: tools, instructions, each message; without the marks of the cache."""
    clean = json.loads(
        json.dumps(body), object_hook=lambda one: {k: v for k, v in one.items() if k != "cache_control"}
    )
    parts = [clean.get("tools"), clean.get("system"), *clean["messages"]]
    return [json.dumps(part, sort_keys=True) for part in parts]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_each_prompt_begins_as_the_one_before(tmp_path: Path, server: LlmServer, kind: str) -> None:
    """Up to the message before, whatever is remembered for the new one and through a restart; the marks stand right."""
    base_url = server.base_url.removesuffix("/v1") if kind == "anthropic" else server.base_url
    config = (
        f'[model]\nprovider = "local"\nname = "claude-sonnet-4-5"\n'
        f'[providers.local]\ntype = "{kind}"\nbase_url = "{base_url}"\napi_key_env = "KEY"\n'
    )
    with GatewayProcess(tmp_path / "state", config=config, environment={"KEY": "k-secret-enough"}) as gateway:
        for text in ("the cat is called Tom", "the dog is called Rex"):
            gateway.http.post("/api/memory", json={"text": text}).raise_for_status()
        for number, text in enumerate(MESSAGES):
            if number == 2:
                gateway.stop()
                gateway.kill()
                gateway.start()
            gateway.say("c", text)
    prompts = [told(request.body) for request in server.requests]
    assert len(prompts) == len(MESSAGES)
    assert "Tom" in prompts[1][-1]  # what is remembered stands beside the message
    for before, after in pairwise(prompts):
        assert after[: len(before) - 1] == before[:-1]
    if kind == "anthropic":
        check_marks([request.body for request in server.requests])


def check_marks(bodies: list[dict[str, Any]]) -> None:
    """See that what is marked in a prompt is what the next one begins with: whatever came before the latest message."""
    for body in bodies:
        assert json.dumps(body).count("cache_control") <= 4
        assert "cache_control" in body["tools"][-1]
        assert "cache_control" in body["messages"][-1]["content"][-1]  # for the steps of the same run
    for body, after in pairwise(bodies[1:]):
        marked = [at for at, one in enumerate(body["messages"][:-1]) if "cache_control" in str(one)]
        assert marked == [len(body["messages"]) - 3]  # the user's message before
        assert told(body)[: marked[0] + 3] == told(after)[: marked[0] + 3]
