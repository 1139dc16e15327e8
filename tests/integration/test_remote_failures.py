import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from asking import KEY, ask, target
from llm_server import WAIT_S, LlmServer, Reply
from tidegate.agent.remote import RemoteModel
from tidegate.errors import ConfigError, ModelFailed
from tidegate.extras import how_to_install

SSE = "text/event-stream"


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a scripted provider."""
    with LlmServer() as running:
        yield running


def fail(base_url: str, *, timeout_s: float = WAIT_S) -> ModelFailed:
    """Ask one question and return how it failed, after checking what every failure promises."""
    with pytest.raises(ModelFailed) as caught:
        ask(target(base_url, timeout_s=timeout_s))
    assert KEY not in caught.value.message + caught.value.hint
    assert "'tiny' at " in caught.value.message
    return caught.value


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
    assert failure.message.partition(" at ")[2].partition(" ")[2] == expected
    assert hint in failure.hint
    assert len(server.requests) == 1


def test_a_page_instead_of_an_error(server: LlmServer) -> None:
    """An HTML page with an error status is named by its status alone."""
    server.script = [Reply(status=502, body="<html>proxy</html>", content_type="text/html")]
    assert fail(server.base_url).message.endswith(" answered 502")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
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
    assert fail(server.base_url, timeout_s=0.5).message.endswith("was silent for 0.5 s")
    assert server.hung_up.wait(WAIT_S)


def test_a_refused_connection_is_told() -> None:
    """Where nothing listens, the failure names the place, without the password of its URL."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening
        failure = fail(f"http://user:hunter2@127.0.0.1:{held.getsockname()[1]}/v1")
    assert failure.message.startswith("there is no connection to 'tiny' at 127.0.0.1:")
    assert "hunter2" not in failure.message
    assert "base_url" in failure.hint


@pytest.mark.parametrize(
    "base_url", ["", "localhost:8080", "ftp://host/v1", "http://host:99999", "http:///v1"]
)
def test_a_base_url_is_checked(base_url: str) -> None:
    """What is no HTTP URL is refused before anything is sent."""
    with pytest.raises(ConfigError):
        RemoteModel(target(base_url))


def test_a_missing_library_is_told() -> None:
    """Without the extra, importing costs nothing and the first question says what to install."""
    code = """
import asyncio, sys
from tidegate.agent.remote import RemoteModel
from tidegate.agent.model import Prompt
from tidegate.agent.target import Target
from tidegate.errors import ModelFailed
assert not {"pydantic_ai", "openai", "httpx2"} & sys.modules.keys()
sys.modules["pydantic_ai"] = None
async def main():
    model = RemoteModel(Target(name="tiny", model="tiny", base_url="http://127.0.0.1:1/v1"))
    async for _ in model.stream(Prompt(instructions="", bodies=[])):
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
        how_to_install("models"),
    ]
