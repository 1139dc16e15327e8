import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from llm_server import WAIT_S, LlmServer, Reply
from tidegate.agent.model import Answer, Delta, Prompt, ToolCall, ToolSpec
from tidegate.agent.remote import RemoteModel
from tidegate.domain.entry import Assistant, BlobRef, Body, Call, Notice, Result, Summary, System, User
from tidegate.domain.run import Usage
from tidegate.errors import ConfigError, ModelFailed
from tidegate.ids import BlobHash

KEY = "sk-a-very-secret-key"
SSE = "text/event-stream"
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


@asynccontextmanager
async def opened(
    base_url: str, *, api_key: str = KEY, timeout_s: float = WAIT_S
) -> AsyncIterator[RemoteModel]:
    """Open a model and close it."""
    model = RemoteModel("tiny", base_url=base_url, api_key=api_key, timeout_s=timeout_s)
    try:
        yield model
    finally:
        await model.aclose()


def prompt(*bodies: Body, instructions: str = "", tools: Sequence[ToolSpec] = ()) -> Prompt:
    """Return a prompt, by default a greeting."""
    return Prompt(instructions=instructions, bodies=bodies or [User(text="hi")], tools=tools)


def ask(base_url: str, question: Prompt | None = None, *, timeout_s: float = WAIT_S) -> list[Delta | Answer]:
    """Ask one question and return all that came."""

    async def main() -> list[Delta | Answer]:
        async with opened(base_url, timeout_s=timeout_s) as model:
            return [piece async for piece in model.stream(question or prompt())]

    return asyncio.run(main())


def fail(base_url: str, *, timeout_s: float = WAIT_S) -> ModelFailed:
    """Ask one question and return how it failed, after checking what every failure promises."""
    with pytest.raises(ModelFailed) as caught:
        ask(base_url, timeout_s=timeout_s)
    assert KEY not in caught.value.message + caught.value.hint
    assert "'tiny' at " in caught.value.message
    return caught.value


def test_a_text_arrives_in_order(server: LlmServer) -> None:
    """Deltas come in order and add up to the answer; usage is what the provider counted."""
    server.script = [Reply(text="high tide")]
    *deltas, answer = ask(server.base_url)
    assert deltas == [Delta(text="hig"), Delta(text="h t"), Delta(text="ide")]
    assert answer == Answer(text="high tide", calls=[], usage=Usage(input_tokens=11, output_tokens=7))


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
    turn = [
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
    bodies = [
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
    calls = [("a", '{"x": 1}'), ("b", "{}")]
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
    bad = [
        Call(tool="no such/tool", call_id="a", text="{"),
        Result(tool="no such/tool", call_id="a", text="no"),
    ]
    ask(server.base_url, prompt(User(text="hi"), *bad))
    (call,) = server.requests[0].messages[1]["tool_calls"]
    assert call["function"] == {"name": "no_such_tool", "arguments": '{"invalid":"{"}'}


def test_text_can_always_be_stored(server: LlmServer) -> None:
    """Half of a surrogate pair in a provider's JSON is replaced."""
    server.script = [Reply(text="a\ud83db")]
    answer = ask(server.base_url)[-1]
    assert isinstance(answer, Answer)
    assert answer.text == "a?b"


def test_an_answer_at_the_limit_says_so(server: LlmServer) -> None:
    """A text that the provider cut at its output limit ends with a remark."""
    server.script = [Reply(text="and so", finish_reason="length")]
    answer = ask(server.base_url)[-1]
    assert isinstance(answer, Answer)
    assert answer.text == "and so\n\n[cut off: the model reached its output limit]"


@pytest.mark.parametrize(
    ("status", "message", "expected", "hint"),
    [
        (400, "no such field", "answered 400: no such field", ""),
        (401, f"wrong key {KEY}", "answered 401", "check the key"),
        (403, "not you", "answered 403", "what the key may do"),
        (404, "no model", "answered 404: no model", "base_url"),
        (429, f"too  many\nfor {KEY}", "answered 429: too many for ***", "limits the rate"),
        (500, "x" * 1000, f"answered 500: {'x' * 300}", ""),
        (302, "elsewhere", "answered 302", ""),
    ],
)
def test_a_status_is_named(server: LlmServer, status: int, message: str, expected: str, hint: str) -> None:
    """A refusal names the status and quotes the provider, shortly and without the key; it is not repeated."""
    body = f'{{"error": {{"message": "{message}"}}}}'.replace("\n", "\\n")
    server.script = [Reply(status=status, body=body)]
    failure = fail(server.base_url)
    assert failure.message.partition(" at ")[2].partition(" ")[2].startswith(expected)
    assert hint in failure.hint
    assert len(server.requests) == 1


def test_a_page_instead_of_an_error(server: LlmServer) -> None:
    """An HTML page with an error status is named by its status alone."""
    server.script = [Reply(status=502, body="<html>proxy</html>", content_type="text/html")]
    assert fail(server.base_url).message.endswith(" answered 502")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<html>log in</html>", "text/html"),
        ('{"answer": 42}', "application/json"),
        ("", SSE),
        ("data: <html>\n\n", SSE),
        ('data: {"choices": "many"}\n\n', SSE),
        ("data: [1]\n\n", SSE),
    ],
)
def test_nonsense_is_told(server: LlmServer, body: str, content_type: str) -> None:
    """What is not the OpenAI protocol is a failure that points at base_url."""
    server.script = [Reply(body=body, content_type=content_type)]
    failure = fail(server.base_url)
    assert failure.message.endswith("does not answer as an OpenAI-compatible endpoint")
    assert "base_url" in failure.hint


@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="half an answer", end="cut"),
        Reply(text="half an answer", end="torn"),
        Reply(calls=[("a", "lookup", '{"word"')], end="cut"),
        Reply(end="torn"),
    ],
)
def test_a_cut_stream_is_no_answer(server: LlmServer, reply: Reply) -> None:
    """Without the finish reason there is no answer, however the connection ended."""
    server.script = [reply]
    assert fail(server.base_url).message.endswith("broke off its answer")


def test_an_error_inside_the_stream_is_told(server: LlmServer) -> None:
    """An error that a provider sends after it has begun to answer is quoted."""
    server.script = [Reply(body='data: {"error": {"message": "overheated"}}\n\n', content_type=SSE)]
    assert fail(server.base_url).message.endswith("broke off its answer: overheated")


def test_a_long_conversation_is_told(server: LlmServer) -> None:
    """A context that is too long is told apart from other refusals."""
    body = '{"error": {"message": "at most 8 tokens", "code": "context_length_exceeded"}}'
    server.script = [Reply(status=400, body=body)]
    assert fail(server.base_url).message.startswith("the conversation is too long for ")


def test_a_withheld_answer_is_told(server: LlmServer) -> None:
    """An answer that the provider's filter stopped is a failure."""
    server.script = [Reply(text="I", finish_reason="content_filter")]
    assert fail(server.base_url).message.endswith("the provider's content filter")


@pytest.mark.parametrize("text", ["", "half"])
def test_silence_is_bounded(server: LlmServer, text: str) -> None:
    """A provider that says nothing for timeout_s fails, before its first word as after it."""
    server.script = [Reply(text=text, end="hang")]
    assert fail(server.base_url, timeout_s=0.2).message.endswith("was silent for 0.2 s")
    assert server.hung_up.wait(WAIT_S)


def test_a_refused_connection_is_told() -> None:
    """Where nothing listens, the failure names the place, without the password of its URL."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening
        failure = fail(f"http://user:hunter2@127.0.0.1:{held.getsockname()[1]}/v1")
    assert failure.message.startswith("there is no connection to 'tiny' at 127.0.0.1:")
    assert "hunter2" not in failure.message
    assert "base_url" in failure.hint


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
    """Neither proxies nor the variables of the client library change where a request goes or what it carries."""
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

    async def main() -> None:
        async with opened(server.base_url, api_key="") as model:
            assert [piece async for piece in model.stream(prompt())]

    asyncio.run(main())
    assert server.requests[0].headers["authorization"] == "Bearer none"


@pytest.mark.parametrize(
    "base_url", ["", "localhost:8080", "ftp://host/v1", "http://host:99999", "http:///v1"]
)
def test_a_base_url_is_checked(base_url: str) -> None:
    """What is no HTTP URL is refused before anything is sent."""
    with pytest.raises(ConfigError):
        RemoteModel("tiny", base_url=base_url)


def test_a_missing_library_is_told() -> None:
    """Without the extra, importing costs nothing and the first question says what to install."""
    code = """
import asyncio, sys
from tidegate.agent.remote import RemoteModel
from tidegate.agent.model import Prompt
from tidegate.errors import ModelFailed
assert not {"pydantic_ai", "openai", "httpx2"} & sys.modules.keys()
sys.modules["pydantic_ai"] = None
async def main():
    async for _ in RemoteModel("tiny", base_url="http://127.0.0.1:1/v1").stream(Prompt(instructions="", bodies=[])):
        pass
try:
    asyncio.run(main())
except ModelFailed as error:
    print(error.message, error.hint, sep="\\n")
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert run.stdout.splitlines() == [
        "the library that speaks to models is not installed",
        'pip install "tidegate[models]"',
    ]
