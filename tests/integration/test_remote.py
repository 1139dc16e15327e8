import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from asking import KEY, ask, opened, prompt, target
from gateway_process import environment
from llm_server import WAIT_S, LlmServer, Reply
from tidegate.agent.model import Answer, Delta, ToolCall, ToolSpec
from tidegate.domain.entry import Assistant, BlobRef, Body, Call, Notice, Result, Summary, System, User
from tidegate.domain.run import Usage
from tidegate.ids import BlobHash

TOOL = ToolSpec(
    name="lookup",
    description="look something up",
    parameters={"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
)

#: asks once, and prints whether Python looked for garbage as the library was imported, and does afterwards
ASKED = """
import gc, sys
looks = []
sys.addaudithook(lambda name, told: name == "import" and told[0] == "pydantic_ai" and looks.append(gc.isenabled()))
from asking import ask
ask(sys.argv[1])
print(looks[0], gc.isenabled())
"""


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a scripted provider."""
    with LlmServer() as running:
        yield running


def test_a_text_arrives_in_order(server: LlmServer) -> None:
    """Deltas come in order and add up to the answer; usage is what the provider counted."""
    server.script = [Reply(text="high tide")]
    *deltas, answer = ask(server.base_url)
    assert deltas == [Delta(text="hig"), Delta(text="h t"), Delta(text="ide")]
    assert answer == Answer(
        text="high tide", usage=Usage(input_tokens=11, output_tokens=7, unpriced=1), model="tiny", calls=[]
    )


def test_a_delta_does_not_wait_for_the_end(server: LlmServer) -> None:
    """The first delta is there while the provider still holds the last one back."""
    gate = threading.Event()
    server.script = [Reply(text="high tide", gate=gate)]

    async def main() -> list[str]:
        async with opened(server.base_url) as model:
            texts = []
            async for piece in model.stream(prompt()):
                texts.append(f"{type(piece).__name__} {gate.is_set()}")
                if len(texts) == 2:
                    gate.set()
            return texts

    assert asyncio.run(main()) == ["Delta False", "Delta False", "Delta True", "Answer True"]


def test_a_call_comes_as_written(server: LlmServer) -> None:
    """A call's arguments are the model's own text, blanks and all; several calls keep their order."""
    server.script = [
        Reply(text="let me see", calls=[("a", "lookup", '{"word":  "ebb"}'), ("b", "lookup", "{")])
    ]
    answer = ask(server.base_url, prompt(tools=[TOOL]))[-1]
    assert isinstance(answer, Answer)
    assert answer.text == "let me see"
    assert answer.calls == [
        ToolCall(call_id="a", tool="lookup", arguments='{"word":  "ebb"}'),
        ToolCall(call_id="b", tool="lookup", arguments="{"),
    ]


def test_a_call_and_its_result_go_back(server: LlmServer) -> None:
    """By the rules of the server: a message, a call, its result, and an answer that quotes the result."""
    question = User(text='/call lookup {"word":"ebb"}')
    first = ask(server.base_url, prompt(question, tools=[TOOL]))[-1]
    assert isinstance(first, Answer)
    (call,) = first.calls
    turn: list[Body] = [
        question,
        Call(tool=call.tool, call_id=call.call_id, text=call.arguments),
        Result(tool=call.tool, call_id=call.call_id, text="the tide goes out"),
    ]
    second = ask(server.base_url, prompt(*turn, tools=[TOOL]))[-1]
    assert isinstance(second, Answer)
    assert second.text == "the tide goes out"
    function = {"name": TOOL.name, "description": TOOL.description, "parameters": TOOL.parameters}
    assert server.requests[0].body["tools"] == [{"type": "function", "function": function}]


def test_a_transcript_is_told_in_order(server: LlmServer) -> None:
    """Every body but a notice reaches the provider, in its role and in its place."""
    spilled = Result(tool="t", call_id="b", text="beginning", blob=BlobRef(hash=BlobHash("00"), bytes=70_000))
    bodies: list[Body] = [
        System(text="be exact"),
        Summary(text="they met"),
        User(text="hello"),
        Assistant(text="I look"),
        Call(tool="t", call_id="a", text='{"x": 1}'),
        Call(tool="t", call_id="b", text=""),
        Notice(text="never shown"),
        Result(tool="t", call_id="a", text="one"),
        spilled,
        Assistant(text="done"),
        User(text="thanks"),
    ]
    ask(server.base_url, prompt(*bodies, instructions="be brief"))
    calls = [("a", '{"x":1}'), ("b", "{}")]
    functions = [
        {"id": key, "type": "function", "function": {"name": "t", "arguments": text}} for key, text in calls
    ]
    whole = "beginning\n[only the beginning is shown; the whole result has 70000 bytes]"
    assert server.requests[0].messages == [
        {"role": "system", "content": "be brief\n\nbe exact"},
        {"role": "user", "content": "[summary of the conversation so far]\nthey met"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "I look", "tool_calls": functions},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "b", "content": whole},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "thanks"},
    ]


def test_nonsense_of_the_past_is_mended(server: LlmServer) -> None:
    """A call with broken arguments or an impossible name is sent in a form that no provider refuses."""
    bad: list[Body] = [
        Call(tool="no such/tool", call_id="a", text="{"),
        Result(tool="no such/tool", call_id="a", text="no"),
    ]
    ask(server.base_url, prompt(User(text="hi"), *bad))
    (call,) = server.requests[0].messages[1]["tool_calls"]
    assert call["function"] == {"name": "no_such_tool", "arguments": '{"INVALID_JSON":"{"}'}


def test_text_can_always_be_stored(server: LlmServer) -> None:
    """Half of a surrogate pair in a provider's JSON is replaced."""
    server.script = [Reply(text="a\ud83db")]
    answer = ask(server.base_url)[-1]
    assert isinstance(answer, Answer)
    assert answer.text == "a?b"


def test_an_answer_at_the_limit_says_so(server: LlmServer) -> None:
    """A text that the provider cut at its output limit is marked so, and nothing is written into it."""
    server.script = [Reply(text="and so", finish_reason="length")]
    answer = ask(server.base_url)[-1]
    assert isinstance(answer, Answer)
    assert (answer.text, answer.is_cut) == ("and so", True)


def test_cancelling_closes_the_connection(server: LlmServer) -> None:
    """When the asking task is cancelled in mid-answer, the provider sees the client hang up."""
    server.script = [Reply(text="half", end="hang")]

    async def main() -> None:
        begun = asyncio.Event()
        async with opened(server.base_url) as model, asyncio.TaskGroup() as group:

            async def listen() -> None:
                async for _ in model.stream(prompt()):
                    begun.set()

            task = group.create_task(listen())
            await begun.wait()
            task.cancel()
            assert await asyncio.to_thread(server.hung_up.wait, WAIT_S)

    asyncio.run(main())


def test_one_model_serves_many(server: LlmServer) -> None:
    """Questions asked at once, the first ones included, are answered side by side by one client."""

    async def main() -> list[str]:
        async with opened(server.base_url) as model, asyncio.TaskGroup() as group:

            async def echo(number: int) -> str:
                pieces = [piece async for piece in model.stream(prompt(User(text=f"/echo {number}")))]
                return pieces[-1].text

            tasks = [group.create_task(echo(number)) for number in range(8)]
        return [task.result() for task in tasks]

    assert asyncio.run(main()) == [str(number) for number in range(8)]


def test_the_environment_is_not_asked(server: LlmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither proxies nor the library's variables change where a request goes or what it carries."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("OPENAI_ORG_ID", "acme")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-more: secret")
    ask(server.base_url)
    headers = server.requests[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert not {"openai-organization", "x-more", "x-stainless-os"} & headers.keys()


def test_a_key_is_optional(server: LlmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that wants no key gets a placeholder, not the key of the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ask(target(server.base_url, api_key=""))
    assert server.requests[0].headers["authorization"] == "Bearer none"


def test_the_import_looks_for_no_garbage(server: LlmServer) -> None:
    """Python collects nothing while the library is imported, which would take a quarter longer, and does after it."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED, server.base_url],
        capture_output=True,
        check=True,
        timeout=WAIT_S,
        env=environment({"PYTHONPATH": os.pathsep.join(sys.path)}),
    )
    assert done.stdout.split() == [b"False", b"True"]
