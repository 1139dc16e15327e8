import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from gateway_process import TOKEN, WAIT_S, GatewayProcess, until
from llm_server import LlmServer, Reply

Message = dict[str, Any]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway with two agents, the second one first in the file."""
    config = '[agents.helper]\ninstructions = "help"\n[agents.main]\n'
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state", config=config) as running:
        yield running


def opened(gateway: GatewayProcess) -> OpenAI:
    """Return a client as anybody would build one, but without retries and deaf to proxies."""
    http = httpx.Client(trust_env=False, timeout=WAIT_S)
    return OpenAI(base_url=f"{gateway.url}/v1", api_key=TOKEN, max_retries=0, http_client=http)


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[OpenAI]:
    """Open a client."""
    with opened(gateway) as client:
        yield client


def user(text: object) -> Message:
    """Return a user's message."""
    return {"role": "user", "content": text}


def ask(client: OpenAI, *messages: Message, **options: Any) -> str:
    """Ask for a completion and return its text."""
    asked: Any = {"model": "main", "messages": messages, **options}
    return str(client.chat.completions.create(**asked).choices[0].message.content)


def in_session(client: OpenAI, key: str, *messages: Message, **options: Any) -> str:
    """Ask within a session."""
    return ask(client, *messages, extra_headers={"X-Tidegate-Session": key}, **options)


def test_models_are_agents(client: OpenAI) -> None:
    """The list of models is the list of agents, `main` first."""
    assert [model.id for model in client.models.list()] == ["main", "helper"]


def test_a_plain_answer(client: OpenAI) -> None:
    """A completion has one choice that stopped, its model is the agent, and its usage adds up."""
    answer = client.chat.completions.create(
        model="helper", messages=[{"role": "user", "content": "/echo hi"}]
    )
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "hi", "stop")
    assert (answer.model, answer.object) == ("helper", "chat.completion")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_a_streamed_answer(client: OpenAI) -> None:
    """A stream begins with the role, adds up to the text, stops, and ends with usage where it was asked for."""
    asked: Any = {"model": "main", "messages": [user("/echo the tide is high")], "stream": True}
    chunks = list(client.chat.completions.create(**asked, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert (deltas[0].role, chunks[-2].choices[0].finish_reason) == ("assistant", "stop")
    assert "".join(delta.content or "" for delta in deltas) == "the tide is high"
    assert len(deltas) > 4
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens > 0) == ([], True)
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in client.chat.completions.create(**asked))


def test_a_long_answer_streams_whole(client: OpenAI) -> None:
    """A long answer with marks of several bytes arrives exactly, plain and streamed."""
    text = "ebb → flow 🌊 " * 5_000
    assert ask(client, user(f"/echo {text}")) == text
    asked: Any = {"model": "main", "messages": [user(f"/echo {text}")], "stream": True}
    pieces = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**asked)]
    assert "".join(pieces) == text


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    """A model that is no agent is 404 with OpenAI's code."""
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, user("hi"), model="gpt-4o")
    assert (caught.value.code, caught.value.type) == ("model_not_found", "invalid_request_error")


def test_a_wrong_key_is_refused(gateway: GatewayProcess, client: OpenAI) -> None:
    """A wrong token is 401 in OpenAI's shape."""
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(client.with_options(api_key="not-the-token"), user("hi"))
    assert caught.value.code == "unauthorized"


def test_a_session_goes_on(gateway: GatewayProcess, client: OpenAI) -> None:
    """With a session header only what follows the last assistant message is new; the session is a named api one."""
    history = [user("/echo one")]
    assert in_session(client, "voice", *history) == "one"
    history += [{"role": "assistant", "content": "not what was said"}, user("/echo two")]
    assert in_session(client, "voice", *history) == "two"
    assert gateway.texts("voice") == ["/echo one", "one", "/echo two", "two"]
    session = gateway.session("voice")
    assert (session["kind"], session["state"], session["due_to"]) == ("api", "active", "archived")
    assert gateway.post("/api/sessions/voice/archive").json()["state"] == "archived"
    assert in_session(client, "voice", user("/echo three")) == "three"
    assert gateway.session("voice")["entries"] == 6


def test_a_session_keeps_its_agent(client: OpenAI) -> None:
    """Another model on a session that has one is 409."""
    assert in_session(client, "kept", user("/echo one"), model="helper") == "one"
    with pytest.raises(openai.ConflictError) as caught:
        in_session(client, "kept", user("/echo two"), model="main")
    assert caught.value.code == "agent_mismatch"


def test_user_selects_nothing(gateway: GatewayProcess, client: OpenAI) -> None:
    """The `user` field never selects a session; each request without a header is a session of its own."""
    gateway.say("private", "/echo secret")
    assert ask(client, user("/echo one"), user="private") == "one"
    assert gateway.texts("private") == ["/echo secret", "secret"]


def test_the_whole_context_is_kept(gateway: GatewayProcess, client: OpenAI) -> None:
    """Without a header every message of the request is an entry, in order: system, history and content parts."""
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "tide"}'}}
    messages: Any = [
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": "and kind"},
        user("what is it"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "high"},
        {"role": "assistant", "content": "high"},
        user([{"type": "text", "text": "/echo and "}, {"type": "text", "text": "now"}]),
    ]
    raw = client.chat.completions.with_raw_response.create(model="main", messages=messages)
    assert raw.parse().choices[0].message.content == "and now"
    key = raw.headers["x-tidegate-session"]
    entries = gateway.get(f"/api/sessions/{key}/entries")["entries"]
    assert [(entry["role"], entry["type"], entry["text"]) for entry in entries] == [
        ("system", "message", "be brief"),
        ("system", "message", "and kind"),
        ("user", "message", "what is it"),
        ("assistant", "tool_call", '{"at": "tide"}'),
        ("tool", "tool_result", "high"),
        ("assistant", "message", "high"),
        ("user", "message", "/echo and now"),
        ("assistant", "message", "and now"),
    ]
    assert [entry["tool"] for entry in entries if entry["tool"]] == ["look", "look"]


def test_a_call_in_the_history_is_not_made(client: OpenAI) -> None:
    """A request cannot have a tool of the agent called by writing an open call into its history."""
    call = {"id": "c1", "type": "function", "function": {"name": "wait", "arguments": '{"seconds": 3000}'}}
    assert ask(client, {"role": "assistant", "tool_calls": [call]}, user("/echo at once")) == "at once"


@pytest.mark.parametrize(
    "options",
    [
        {"messages": []},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [user([{"type": "image_url", "image_url": {"url": "data:,"}}])]},
        {"messages": [user([{"type": "text"}])]},
        {"messages": [user(7)]},
        {"messages": [user("x")] * 2_001},
        {"tools": [{"type": "function", "function": {"name": "look"}}]},
        {"n": 2},
        {"stream": "yes"},
        {"extra_headers": {"X-Tidegate-Session": "no key"}},
        {"extra_headers": {"Idempotency-Key": "no key"}},
        {"messages": [user("nul \0")]},
    ],
)
def test_what_is_not_possible_is_a_bad_request(client: OpenAI, options: dict[str, Any]) -> None:
    """What cannot be done is 400 in OpenAI's shape, never passed over."""
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **{"messages": [user("x")], **options})
    assert caught.value.type == "invalid_request_error"


def test_an_anonymous_session_archives_at_once(gateway: GatewayProcess, client: OpenAI) -> None:
    """A session without a name completes with its answer and is archived by the next sweep, to be deleted later."""
    raw = client.chat.completions.with_raw_response.create(
        model="main", messages=[{"role": "user", "content": "/echo hi"}]
    )
    key = raw.headers["x-tidegate-session"]
    until(
        lambda: gateway.post("/api/sweep").json()["left"] == 0 and gateway.session(key)["state"] == "archived"
    )
    session = gateway.session(key)
    assert (session["kind"], session["outcome"], session["due_to"]) == ("api", "ok", "deleted")
    assert gateway.texts(key) == ["/echo hi", "hi"]


def test_a_failing_model_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    """When the provider fails the answer is an error in OpenAI's shape, plain and streamed; the gateway goes on."""
    with LlmServer() as provider:
        provider.script = [Reply(status=400, body='{"error": {"message": "out of order"}}')] * 2
        config = f'[model]\nprovider = "openai"\nname = "tiny"\nbase_url = "{provider.base_url}"\n'
        state = tmp_path_factory.mktemp("failing") / "state"
        with GatewayProcess(state, config=config) as gateway, opened(gateway) as client:
            with pytest.raises(openai.InternalServerError) as plain:
                ask(client, user("hi"))
            assert (plain.value.code, plain.value.type) == ("no_answer", "server_error")
            asked: Any = {"model": "main", "messages": [user("hi")], "stream": True}
            with pytest.raises(openai.APIError) as streamed:
                list(client.chat.completions.create(**asked))
            assert streamed.value.code == "no_answer"
            assert ask(client, user("/echo up again")) == "up again"
            outcomes = [run["outcome"] for run in gateway.get("/api/runs")["runs"]]
            assert outcomes == ["ok", "failed", "failed"]
            assert len(provider.requests) == 3


def test_a_repeat_joins_the_answer(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A repeat that comes while the answer is being made gets the whole of it, and nothing twice."""
    gate = threading.Event()
    with LlmServer(script=[Reply(text="the tide is high", gate=gate)]) as provider:
        config = f'[model]\nprovider = "openai"\nname = "tiny"\nbase_url = "{provider.base_url}"\n'
        state = tmp_path_factory.mktemp("joining") / "state"
        with GatewayProcess(state, config=config) as gateway, opened(gateway) as client:
            asked: Any = {"model": "main", "messages": [user("hi")], "stream": True}
            asked["extra_headers"] = {"Idempotency-Key": "once"}
            first = client.chat.completions.create(**asked)
            begun = [next(first), next(first)]
            second = client.chat.completions.create(**asked)
            until(lambda: gateway.get("/api/status")["containers"]["subscribers"]["entries"] == 2)
            gate.set()
            said = [chunk.choices[0].delta.content or "" for chunk in [*begun, *first]]
            again = [chunk.choices[0].delta.content or "" for chunk in second]
            assert ("".join(said), "".join(again)) == ("the tide is high", "the tide is high")
            assert len(provider.requests) == 1
