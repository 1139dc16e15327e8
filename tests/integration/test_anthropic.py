import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from asking import KEY, ask, opened, prompt, target
from llm_server import LlmServer, Reply
from tidegate.agent.model import Answer, Delta, Prompt, ToolCall, ToolSpec
from tidegate.agent.target import Target, Thinking
from tidegate.config.preset import Dialect
from tidegate.domain.entry import Assistant, Body, Call, Result, Summary, System, User
from tidegate.domain.run import Usage

TOOL = ToolSpec(
    name="lookup",
    description="look something up",
    parameters={"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
)


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a scripted provider."""
    with LlmServer() as running:
        yield running


def anthropic(server: LlmServer) -> Target:
    """Return the target that a script speaks for."""
    return target(server.base_url, Dialect.ANTHROPIC)


def answer(where: Target, question: Prompt | None = None) -> Answer:
    """Ask one question and return its answer."""
    last = ask(where, question)[-1]
    assert isinstance(last, Answer)
    return last


def test_a_text_arrives_in_order(server: LlmServer) -> None:
    """Deltas come in order and add up to the answer; usage is what the provider counted, and nothing else is kept."""
    server.script = [Reply(text="high tide")]
    *deltas, last = ask(anthropic(server))
    assert deltas == [Delta(text="hig"), Delta(text="h t"), Delta(text="ide")]
    assert last == Answer(
        text="high tide", usage=Usage(input_tokens=11, output_tokens=7, unpriced=1), model="tiny", calls=[]
    )


def test_what_a_request_carries(server: LlmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key goes along, the reserve as the limit, and nothing of the environment."""
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "another")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-more: secret")
    answer(anthropic(server), prompt(instructions="be brief", tools=[TOOL]))
    (request,) = server.requests
    assert request.path.startswith("/v1/messages")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert not {"x-more", "x-stainless-os"} & request.headers.keys()
    assert request.body["max_tokens"] == 16_384
    (system,) = request.body["system"]
    assert (system["text"], system["cache_control"]["type"]) == ("be brief", "ephemeral")
    (tool,) = request.body["tools"]
    assert tool["cache_control"] == request.body["messages"][-1]["content"][-1]["cache_control"]
    assert (tool["name"], tool["input_schema"]) == ("lookup", dict(TOOL.parameters))


@pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("level", ["low", "medium", "high"])
@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-sonnet-4-6"])
def test_thinking_fits_into_the_limit(server: LlmServer, level: Thinking, model: str) -> None:
    """Whether a model thinks on a budget or by effort, the answer keeps the reserve to itself."""
    where = msgspec.structs.replace(anthropic(server), thinking=level, model=model, max_tokens=1_000)
    answer(where)
    asked = server.requests[0].body
    budget = asked["thinking"].get("budget_tokens", 0)
    assert asked["max_tokens"] - budget >= 1_000
    assert budget or asked["output_config"] == {"effort": level}


def test_a_call_comes_as_written(server: LlmServer) -> None:
    """A call's arguments are the model's own text, put together from its pieces."""
    server.script = [
        Reply(text="let me see", calls=[("a", "lookup", '{"word":  "ebb"}'), ("b", "lookup", "{")])
    ]
    last = answer(anthropic(server), prompt(tools=[TOOL]))
    assert last.text == "let me see"
    assert last.calls == [
        ToolCall(call_id="a", tool="lookup", arguments='{"word":  "ebb"}'),
        ToolCall(call_id="b", tool="lookup", arguments="{"),
    ]


def test_a_transcript_is_told_in_order(server: LlmServer) -> None:
    """Every body reaches the provider in its role; what another provider made up is mended."""
    bodies: list[Body] = [
        System(text="be exact"),
        Summary(text="they met"),
        User(text="hello"),
        Assistant(text="I look"),
        Call(tool="no such/tool", call_id="functions.t:0", text='{"x": 1}'),
        Result(tool="no such/tool", call_id="functions.t:0", text="one"),
        Assistant(text="half", is_partial=True),
        User(text="thanks"),
    ]
    answer(anthropic(server), prompt(*bodies))
    messages = server.requests[0].messages
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user"]
    used, gave = messages[1]["content"][1], messages[2]["content"][0]
    assert (used["name"], used["input"], used["id"]) == ("no_such_tool", {"x": 1}, gave["tool_use_id"])
    assert used["id"].isalnum()
    assert messages[3]["content"][0]["text"].startswith("half\n\n[broken off here")


def test_a_turn_that_lost_its_beginning(server: LlmServer) -> None:
    """Where the beginning had to be left out a user's message stands for it, since providers insist on one."""
    answer(anthropic(server), prompt(Assistant(text="as I said"), User(text="go on")))
    assert server.requests[0].messages[0]["role"] == "user"


THOUGHTS = [("the moon", "sig-1=="), ("", "sealed=="), ("and the sun", "sig-2==")]


def think(server: LlmServer, where: Target) -> list[Body]:
    """Let the model think, say something and call a tool; return the turn as it is kept."""
    server.script = [Reply(thoughts=THOUGHTS, text="I look", calls=[("a", "lookup", '{"word": "ebb"}')])]
    last = answer(where, prompt(tools=[TOOL]))
    (call,) = last.calls
    return [
        User(text="hi"),
        Assistant(text=last.text, opaque=last.opaque),
        Call(tool=call.tool, call_id=call.call_id, text=call.arguments),
        Result(tool=call.tool, call_id=call.call_id, text="it goes out"),
    ]


def test_thoughts_go_back_verbatim(server: LlmServer) -> None:
    """Thoughts, their signatures and what was redacted go back in their order, byte for byte."""
    where = anthropic(server)
    turn = think(server, where)
    answer(where, prompt(*turn, tools=[TOOL]))
    assert server.requests[1].messages[1]["content"] == [
        {"type": "thinking", "thinking": "the moon", "signature": "sig-1=="},
        {"type": "redacted_thinking", "data": "sealed=="},
        {"type": "thinking", "thinking": "and the sun", "signature": "sig-2=="},
        {"type": "text", "text": "I look"},
        {"type": "tool_use", "id": "a", "name": "lookup", "input": {"word": "ebb"}},
    ]


def test_thoughts_before_a_mere_call(server: LlmServer) -> None:
    """An answer without a text keeps its thoughts with its first call."""
    where = anthropic(server)
    server.script = [Reply(thoughts=THOUGHTS[:1], calls=[("a", "lookup", "{}"), ("b", "lookup", "{}")])]
    first, second = (last := answer(where)).calls
    answer(
        where,
        prompt(
            User(text="hi"),
            Call(tool=first.tool, call_id="a", text=first.arguments, opaque=last.opaque),
            Call(tool=second.tool, call_id="b", text=second.arguments),
            Result(tool="lookup", call_id="a", text="1"),
            Result(tool="lookup", call_id="b", text="2"),
        ),
    )
    kinds = [block["type"] for block in server.requests[1].messages[1]["content"]]
    assert kinds == ["thinking", "tool_use", "tool_use"]


@pytest.mark.parametrize("dialect", list(Dialect))
def test_thoughts_go_to_nobody_else(server: LlmServer, dialect: Dialect) -> None:
    """Another model, or another dialect, gets the text and the calls alone."""
    turn = think(server, anthropic(server))
    answer(target(server.base_url, dialect, model="other"), prompt(*turn, tools=[TOOL]))
    assert "moon" not in str(server.requests[1].body)
    assert "sig-1" not in str(server.requests[1].body)
    assert "I look" in str(server.requests[1].body)


def test_thoughts_that_no_longer_fit(server: LlmServer) -> None:
    """Where the answer was changed since, its text goes back and the thoughts stay out."""
    where = anthropic(server)
    user, said, call, result = think(server, where)
    assert isinstance(said, Assistant)
    changed = Assistant(text="I look elsewhere", opaque=said.opaque)
    answer(where, prompt(user, changed, call, result, tools=[TOOL]))
    assert [block["type"] for block in server.requests[1].messages[1]["content"]] == ["text", "tool_use"]


def test_reasoning_goes_back_to_its_field(server: LlmServer) -> None:
    """What an OpenAI-compatible model calls its reasoning goes back in the field that it came in."""
    where = target(server.base_url)
    turn = think(server, where)
    answer(where, prompt(*turn, tools=[TOOL]))
    message = server.requests[1].messages[1]
    assert message["reasoning_content"] == "the moonand the sun"
    assert message["content"] == "I look"


def test_one_model_serves_many(server: LlmServer) -> None:
    """Questions asked at once are answered side by side by one client."""

    async def main() -> list[str]:
        async with opened(anthropic(server)) as model, asyncio.TaskGroup() as group:

            async def echo(number: int) -> str:
                pieces = [piece async for piece in model.stream(prompt(User(text=f"/echo {number}")))]
                return pieces[-1].text

            tasks = [group.create_task(echo(number)) for number in range(8)]
        return [task.result() for task in tasks]

    assert asyncio.run(main()) == [str(number) for number in range(8)]
