"""Ids of calls that repeat: a strict provider takes the whole chat all the same, and each call is carried out."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from asking import ask, prompt, target
from gateway_process import GatewayProcess
from llm_server import LlmServer, Reply, Request
from tidegate.config.preset import Dialect
from tidegate.domain.entry import Body, Call, Result, User

CONFIG = """
[model]
provider = "box"
name = "tiny"
[providers.box]
type = "{dialect}"
base_url = "{base_url}"
"""


@pytest.fixture
def server(provider: LlmServer) -> LlmServer:
    """Return the scripted provider, which is strict, without what it was asked before."""
    provider.requests.clear()
    provider.refused.clear()
    return provider


@pytest.fixture(scope="module", params=list(Dialect))
def gateway(
    request: pytest.FixtureRequest, provider: LlmServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """Run a gateway that asks it, in each dialect."""
    text = CONFIG.format(dialect=request.param, base_url=provider.base_url)
    with GatewayProcess(tmp_path_factory.mktemp("ids") / "state", config=text) as running:
        yield running


def blocks(request: Request, kind: str) -> list[dict[str, Any]]:
    """Return the blocks of one kind in an Anthropic history."""
    contents = [message["content"] for message in request.messages if isinstance(message["content"], list)]
    return [block for content in contents for block in content if block["type"] == kind]


def ids(request: Request) -> tuple[list[str], list[str]]:
    """Return the ids of calls and of results in a prompt, in order."""
    if request.is_anthropic:
        called = [block["id"] for block in blocks(request, "tool_use")]
        return called, [block["tool_use_id"] for block in blocks(request, "tool_result")]
    called = [call["id"] for message in request.messages for call in message.get("tool_calls") or []]
    return called, [message["tool_call_id"] for message in request.messages if message["role"] == "tool"]


def told(request: Request) -> list[str]:
    """Return the results in a prompt, in order."""
    results = blocks(request, "tool_result") or [one for one in request.messages if one["role"] == "tool"]
    return [str(one["content"]) for one in results]


@pytest.mark.parametrize("call_id", ["call_0", "", "functions.list_files:0"])
def test_a_chat_whose_ids_repeat(server: LlmServer, gateway: GatewayProcess, call_id: str) -> None:
    """In each answer, and twice in one: the chat goes on, and what was sent once is sent again as it was."""
    twice = [(call_id, "list_files", "{}"), (call_id, "session_status", "{}")]
    for _ in range(2):
        server.script = [Reply(calls=twice), Reply(calls=twice[:1]), Reply(text="done")]
        assert gateway.say(f"repeat:{call_id}", "look")["reply"] == "done"
    assert server.refused == []
    called, answered = ids(server.requests[-1])
    assert (len(called), answered) == (6, called)
    for before, after in zip(server.requests, server.requests[1:], strict=False):
        assert ids(after)[0][: len(ids(before)[0])] == ids(before)[0]


def test_each_call_gets_its_own_sub_agent(server: LlmServer, gateway: GatewayProcess) -> None:
    """A second spawn under the id of the first one is not answered with the first one's words."""
    server.script = [
        Reply(calls=[("call_0", "spawn_agent", '{"task": "/echo ebb"}')]),
        Reply(text="ebb"),
        Reply(calls=[("call_0", "spawn_agent", '{"task": "/echo flow"}')]),
        Reply(text="flow"),
        Reply(text="done"),
    ]
    assert gateway.say("spawning", "ask both")["reply"] == "done"
    results = told(server.requests[-1])
    assert ["ebb" in results[0], "flow" in results[1]] == [True, True]


def test_a_clients_history(server: LlmServer, gateway: GatewayProcess) -> None:
    """A client's own history with ids that repeat, a call without a result and results without a call is answered."""

    def calling(*call_ids: str) -> dict[str, Any]:
        function = {"name": "look", "arguments": "{}"}
        calls = [{"id": call_id, "type": "function", "function": function} for call_id in call_ids]
        return {"role": "assistant", "content": None, "tool_calls": calls}

    def answering(call_id: str, text: str) -> dict[str, Any]:
        return {"role": "tool", "tool_call_id": call_id, "content": text}

    messages = [
        answering("call_0", "before all"),
        {"role": "user", "content": "look"},
        calling("call_0", "call_0"),
        answering("call_0", "1"),
        answering("call_0", "2"),
        calling("call_0"),
        {"role": "user", "content": "never mind"},
        calling("call_0"),
        answering("call_0", "4"),
        answering("nobody", "5"),
        {"role": "user", "content": "and now?"},
    ]
    server.script = [Reply(text="now this")]
    response = gateway.http.post("/v1/chat/completions", json={"model": "main", "messages": messages})
    assert response.json()["choices"][0]["message"]["content"] == "now this"
    assert server.refused == []
    (request,) = server.requests
    called, answered = ids(request)
    assert (len(set(called)), answered) == (4, called)
    assert all(word in text for word, text in zip(["1", "2", "interrupted", "4"], told(request), strict=True))


@pytest.mark.parametrize("dialect", list(Dialect))
def test_what_is_unique_goes_as_it_came(server: LlmServer, dialect: Dialect) -> None:
    """An id that providers take and that no other call has is not touched; one that is too long or odd is replaced."""

    def turn(*call_ids: str) -> Sequence[Body]:
        calls = [Call(tool="t", call_id=call_id, text="{}") for call_id in call_ids]
        return [
            User(text="hi"),
            *calls,
            *(Result(tool="t", call_id=call_id, text="x") for call_id in call_ids),
        ]

    ask(target(server.base_url, dialect), prompt(*turn("x" * 40, "toolu_01-A", "x" * 41, "a b", "a b\n")))
    called, answered = ids(server.requests[0])
    assert called[:2] == ["x" * 40, "toolu_01-A"]
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in called[2:])
    assert (len(set(called)), answered) == (5, called)
