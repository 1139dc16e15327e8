import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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


def test_a_session_is_instructed_anew(tmp_path: Path) -> None:
    """In a named session a new system message replaces the former one; the same one again adds nothing."""
    with LlmServer() as provider:
        config = f'[model]\nprovider = "openai"\nname = "tiny"\nbase_url = "{provider.base_url}"\n'
        with GatewayProcess(tmp_path / "state", config=config) as gateway, opened(gateway) as client:
            history: list[Message] = []
            for number, instruction in enumerate(["be brief", "be brief", "be kind", "be kind"]):
                history.append(user(f"/echo {number}"))
                system = {"role": "system", "content": instruction}
                said = in_session(client, "told", system, *history)
                history.append({"role": "assistant", "content": said})
                read = [str(message["content"]) for message in provider.requests[-1].messages]
                found = [text for text in ("be brief", "be kind") if any(text in one for one in read)]
                assert found == [instruction]
            assert gateway.texts("told") == [
                *("be brief", "/echo 0", "0", "/echo 1", "1"),
                *("be kind", "/echo 2", "2", "/echo 3", "3"),
            ]


def test_a_session_keeps_its_agent(client: OpenAI) -> None:
    """Another model on a session that has one is refused in a way that no client repeats."""
    assert in_session(client, "kept", user("/echo one"), model="helper") == "one"
    with pytest.raises(openai.BadRequestError) as caught:
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
        {"messages": [{"role": "assistant", "content": " "}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]},
        {"messages": [user([{"type": "image_url", "image_url": {"url": "data:,"}}])]},
        {"messages": [user([{"type": "text"}])]},
        {"messages": [user(7)]},
        {"messages": [user("x")] * 2_001},
        {"tools": [{"type": "function", "function": {"name": "look"}}]},
        {"functions": [{"name": "look"}]},
        {"tool_choice": "required"},
        {"n": 2},
        {"n": 0},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"modalities": ["text", "audio"]},
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
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_what_colours_an_answer_is_passed_over(client: OpenAI) -> None:
    """What real clients send along is taken without complaint, and null is as good as absent."""
    extra = {
        "temperature": 0.2,
        "top_p": 1,
        "max_tokens": 10,
        "max_completion_tokens": 10,
        "seed": 7,
        "logprobs": False,
        "n": 1,
        "stop": ["\n\n"],
        "response_format": {"type": "text"},
        "parallel_tool_calls": True,
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "auto",
        "reasoning_effort": "low",
        "tools": [{"type": "function", "function": {"name": "look"}}],
        "tool_choice": "none",
        "modalities": ["text"],
    }
    assert ask(client, user("/echo hi"), extra_body=extra) == "hi"
    absent = dict.fromkeys([*extra, "model", "stream", "stream_options", "functions", "function_call"])
    assert ask(client, user("/echo hi"), extra_body=absent) == "hi"
    message = user("/echo hi") | dict.fromkeys(["name", "tool_calls", "tool_call_id", "refusal"])
    asked: Any = {"stream": True, "stream_options": {"include_usage": None}}
    chunks = list(client.chat.completions.create(model="main", messages=[message], **asked))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hi"


def test_a_model_is_shown(gateway: GatewayProcess, client: OpenAI) -> None:
    """One model can be asked for; one that is no agent is not found, and a slash too many does no harm."""
    assert client.models.retrieve("helper").id == "helper"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4o")
    assert caught.value.code == "model_not_found"
    assert gateway.get("/v1/models/")["data"] == gateway.get("/v1//models")["data"]
    body = {"messages": [user("/echo hi")]}
    answer = gateway.http.post("/v1/chat/completions/", json=body).json()
    assert answer["choices"][0]["message"]["content"] == "hi"


def test_every_form_of_a_history(gateway: GatewayProcess, client: OpenAI) -> None:
    """Refusals, the older function role, custom tools and thoughts are understood; empty answers are left out."""
    custom = {"id": "c2", "type": "custom", "custom": {"name": "run", "input": "ls"}}
    messages: Any = [
        {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}},
        {"role": "function", "name": "look", "content": "high"},
        {"role": "assistant", "content": "", "tool_calls": [custom]},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "a file"}]},
        {"role": "assistant", "content": "", "tool_calls": None},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": None, "refusal": "never"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, "so"]},
        user("/echo now"),
    ]
    raw = client.chat.completions.with_raw_response.create(model="main", messages=messages)
    assert raw.parse().choices[0].message.content == "now"
    entries = gateway.get(f"/api/sessions/{raw.headers['x-tidegate-session']}/entries")["entries"]
    assert [(entry["role"], entry["tool"], entry["call_id"], entry["text"]) for entry in entries] == [
        ("assistant", "look", "function_0", "{}"),
        ("tool", "look", "function_0", "high"),
        ("assistant", "run", "c2", '{"input": "ls"}'),
        ("tool", "run", "c2", "a file"),
        ("assistant", None, None, "no"),
        ("assistant", None, None, "never"),
        ("assistant", None, None, "so"),
        ("user", None, None, "/echo now"),
        ("assistant", None, None, "now"),
    ]


@pytest.mark.parametrize("role", ["assistant", "system", "developer"])
def test_any_role_may_come_last(gateway: GatewayProcess, client: OpenAI, role: str) -> None:
    """A conversation that ends with another role than the user's is answered, as models do."""
    raw = client.chat.completions.with_raw_response.create(
        model="main", messages=[user("one"), {"role": role, "content": "two"}]
    )
    said = raw.parse().choices[0].message.content
    texts = gateway.texts(raw.headers["x-tidegate-session"])
    assert (texts[:2], texts[2:]) == (["one", "two"], [said])


def test_a_stream_is_not_kept_on_its_way(gateway: GatewayProcess) -> None:
    """Streams of both kinds tell every proxy to pass on what comes at once."""
    gateway.say("streamed", "/echo hi")
    body = {"messages": [user("/echo hi")], "stream": True}
    for method, path, sent in (
        ("POST", "/v1/chat/completions", body),
        ("GET", "/api/sessions/streamed/events", None),
    ):
        with gateway.http.stream(method, path, json=sent) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store, no-transform"
            assert answer.headers["x-accel-buffering"] == "no"


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


def test_a_repeat_joins_the_answer(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A repeat that comes while the answer is being made gets the whole of it, and nothing twice."""
    gate = threading.Event()
    with LlmServer(script=[Reply(text="the tide is high", gate=gate)]) as provider:
        config = f'[model]\nprovider = "openai"\nname = "tiny"\nbase_url = "{provider.base_url}"\n'
        state = tmp_path_factory.mktemp("joining") / "state"
        with (
            GatewayProcess(state, config=config) as gateway,
            opened(gateway) as client,
            ThreadPoolExecutor() as threads,
        ):
            asked: Any = {"model": "main", "messages": [user("hi")], "stream": True}
            asked["extra_headers"] = {"Idempotency-Key": "once"}
            first = client.chat.completions.create(**asked)
            begun = [next(first), next(first)]
            second = threads.submit(lambda: list(client.chat.completions.create(**asked)))
            until(lambda: gateway.get("/api/status")["containers"]["subscribers"]["entries"] == 2)
            gate.set()
            said = [chunk.choices[0].delta.content or "" for chunk in [*begun, *first]]
            again = [chunk.choices[0].delta.content or "" for chunk in second.result()]
            assert ("".join(said), "".join(again)) == ("the tide is high", "the tide is high")
            assert len(provider.requests) == 1
