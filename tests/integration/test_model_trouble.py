"""What a provider can do wrong, in both dialects, over real sockets."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from asking import KEY, ask, prompt, target
from llm_server import WAIT_S, LlmServer, Reply
from tidegate.agent import limit
from tidegate.agent.model import Answer
from tidegate.config.preset import Dialect
from tidegate.domain.entry import Call, Result, User
from tidegate.errors import ContextOverflow, ModelBusy, ModelCut, ModelFailed

SSE = "text/event-stream"


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a scripted provider."""
    with LlmServer() as running:
        yield running


@pytest.fixture(params=list(Dialect))
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Speak each dialect."""
    found: Dialect = request.param
    return found


def fail(server: LlmServer, dialect: Dialect, *, timeout_s: float = WAIT_S) -> ModelFailed:
    """Ask one question and return how it failed, after checking what every failure promises."""
    with pytest.raises(ModelFailed) as caught:
        ask(target(server.base_url, dialect, timeout_s=timeout_s))
    assert KEY not in caught.value.message + caught.value.hint
    assert "'tiny' at " in caught.value.message
    return caught.value


def told(message: str, kind: str = "", code: str = "") -> str:
    """Return an error body, which both dialects wrap alike."""
    return json.dumps({"type": "error", "error": {"message": message, "type": kind, "code": code}})


def in_ten_minutes() -> str:
    """Return an instant as HTTP writes it."""
    return format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_what_may_pass_is_busy(server: LlmServer, dialect: Dialect, status: int) -> None:
    """A status that may be another one the next time is told apart; it is asked once."""
    server.script = [Reply(status=status, body=told("not now"))]
    failure = fail(server, dialect)
    assert isinstance(failure, ModelBusy)
    assert failure.message.endswith(f" answered {status}: not now")
    assert failure.retry_after_s is None
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "low", "high"), [("7", 7, 7), ("0", 0, 0), ("", 580, 600), ("soon", None, None)]
)
def test_when_to_come_back(
    server: LlmServer, dialect: Dialect, header: str, low: int | None, high: int | None
) -> None:
    """Retry-After is read as seconds and as a date; what is neither is passed over."""
    after = header or in_ten_minutes()
    server.script = [Reply(status=429, body=told("slow down"), headers={"retry-after": after})]
    failure = fail(server, dialect)
    assert isinstance(failure, ModelBusy)
    found = failure.retry_after_s
    assert (low is None) == (found is None)
    assert found is None or low is None or high is None or low <= found <= high


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "", ""),
        (401, "authentication_error", "invalid_api_key"),
        (404, "", ""),
        (402, "billing_error", ""),
    ],
)
def test_what_will_not_pass_is_not(
    server: LlmServer, dialect: Dialect, status: int, kind: str, code: str
) -> None:
    """What would be refused again is no ModelBusy."""
    server.script = [Reply(status=status, body=told("no", kind, code))]
    assert type(fail(server, dialect)) is ModelFailed


def test_no_credit_is_not_busy(server: LlmServer) -> None:
    """A 429 that says that the account is empty is not worth waiting for."""
    server.script = [Reply(status=429, body=told("no money", "insufficient_quota", "insufficient_quota"))]
    assert type(fail(server, Dialect.OPENAI)) is ModelFailed


@pytest.mark.parametrize(
    ("dialect", "status", "body"),
    [
        (Dialect.OPENAI, 400, told("8 tokens", "invalid_request_error", "context_length_exceeded")),
        (Dialect.OPENAI, 400, told("This model's maximum context length is 8 tokens")),
        (
            Dialect.OPENAI,
            400,
            told("the request exceeds the available context size", "exceed_context_size_error"),
        ),
        (Dialect.ANTHROPIC, 400, told("prompt is too long: 9 tokens > 8", "invalid_request_error")),
        (Dialect.ANTHROPIC, 400, told("input length and `max_tokens` exceed context limit: 9 + 1 > 8")),
        (Dialect.ANTHROPIC, 413, told("Request exceeds the maximum size", "request_too_large")),
    ],
)
def test_too_long_is_told_apart(server: LlmServer, dialect: Dialect, status: int, body: str) -> None:
    """A prompt that is too long is an error of its own, by code and by word, as it can be remedied."""
    server.script = [Reply(status=status, body=body)]
    failure = fail(server, dialect)
    assert isinstance(failure, ContextOverflow)
    assert failure.message.startswith("the conversation is too long for 'tiny' at ")


def test_an_error_inside_the_stream(server: LlmServer, dialect: Dialect) -> None:
    """An overload that is told in a 200 stream before the first word is busy, like one that is told by a status."""
    trouble = json.loads(told("all taken", "overloaded_error", "overloaded"))
    server.script = [Reply(trouble=trouble)]
    failure = fail(server, dialect)
    assert isinstance(failure, ModelBusy)
    assert failure.message.endswith(" broke off its answer: all taken")


def test_an_error_after_the_first_word(server: LlmServer, dialect: Dialect) -> None:
    """Once something was said it is a cut, which carries what was said, by whom, and what it took."""
    trouble = json.loads(told("all taken", "overloaded_error", "overloaded"))
    server.script = [Reply(text="half an answer", trouble=trouble)]
    failure = fail(server, dialect)
    assert isinstance(failure, ModelCut)
    assert (failure.text, failure.model) == ("half an answer", "tiny")
    assert failure.message.endswith(" broke off its answer: all taken")
    # OpenAI's dialect counts at the end alone; what was not counted is estimated
    read, written = (11, 1) if dialect is Dialect.ANTHROPIC else (8, 4)
    assert failure.tokens == (read, written)
    assert failure.cost == (0, 1, int(dialect is Dialect.OPENAI))


@pytest.mark.parametrize("end", ["cut", "torn"])
@pytest.mark.parametrize("text", ["half an answer", ""])
@pytest.mark.parametrize("arguments", ["", '{"path": "/etc', '{"path": "/etc"}'])
def test_a_cut_stream_is_no_answer(
    server: LlmServer, dialect: Dialect, end: Any, text: str, arguments: str
) -> None:
    """A stream without its end is a failure, and no call in it is ever handed on, however whole it looks."""
    calls = [("a", "read_file", arguments)] if arguments or not text else []
    server.script = [Reply(text=text, calls=calls, end=end)]
    failure = fail(server, dialect)
    assert failure.message.endswith(" broke off its answer")
    assert isinstance(failure, ModelCut if text else ModelBusy)
    assert not isinstance(failure, ModelCut) or failure.text == text


def test_a_call_at_the_limit_is_dropped(server: LlmServer, dialect: Dialect) -> None:
    """The call that the model was writing when it reached its limit is not made; the ones before it are."""
    finish = "length" if dialect is Dialect.OPENAI else "max_tokens"
    calls = [("a", "look", '{"a": 1}'), ("b", "look", "{}")]
    server.script = [Reply(calls=calls, finish_reason=finish)]
    answer = ask(target(server.base_url, dialect))[-1]
    assert isinstance(answer, Answer)
    assert [call.call_id for call in answer.calls] == ["a"]
    assert (answer.text, answer.is_cut) == ("", True)


def test_an_empty_answer(server: LlmServer, dialect: Dialect) -> None:
    """Nothing, in answer to a person, is a failure that may pass; after a tool's result it is an answer."""
    server.script = [Reply(), Reply()]
    failure = fail(server, dialect)
    assert isinstance(failure, ModelBusy)
    assert failure.message.endswith(" answered nothing")
    done = prompt(User(text="hi"), Call(tool="t", call_id="a", text="{}"), Result(tool="t", call_id="a"))
    answer = ask(target(server.base_url, dialect), done)[-1]
    assert isinstance(answer, Answer)
    assert answer.text == ""


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('{"answer": 42}', "application/json"),
        ("", SSE),
        ("data: <html>\n\n", SSE),
        ("event: message_start\ndata: <html>\n\n", SSE),
        ("event: message_start\ndata: [1]\n\n", SSE),
        ('event: message_start\ndata: {"type": "message_start", "message": 7}\n\n', SSE),
        ('event: content_block_delta\ndata: {"type": "content_block_delta"}\n\n', SSE),
        ("data: " + "[" * 5_000 + "\n\n", SSE),
    ],
)
def test_nonsense_is_told(server: LlmServer, dialect: Dialect, body: str, content_type: str) -> None:
    """What is not the protocol is a failure that points at base_url, or no answer; never one."""
    server.script = [Reply(body=body, content_type=content_type)]
    failure = fail(server, dialect)
    words = ("does not answer as", "broke off", "sends an event that holds more than")
    assert any(one in failure.message for one in words)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(server: LlmServer, dialect: Dialect, status: int) -> None:
    """The key goes to the configured host alone."""
    with LlmServer() as other:
        server.script = [Reply(status=status, body="", headers={"location": f"{other.base_url}/messages"})]
        failure = fail(server, dialect)
        assert failure.message.endswith(f" answered {status}")
        assert other.requests == []


def test_a_flood_is_stopped(server: LlmServer, dialect: Dialect, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer, an event and a page are read up to a limit each."""
    monkeypatch.setattr(limit, "MAX_ANSWER_CHARS", 1 << 20)
    monkeypatch.setattr(limit, "MAX_RESPONSE_BYTES", 8 << 20)
    server.script = [Reply(text="x" * (2 << 20))]
    assert isinstance(fail(server, dialect), ModelCut)
    server.script = [Reply(calls=[(name, "t", "x" * (600 << 10)) for name in "ab"])]
    assert fail(server, dialect).message.endswith(" answered more than 1 million characters")
    server.script = [Reply(body="data: " + "x" * (5 << 20), content_type=SSE)]
    assert fail(server, dialect).message.endswith(" sends more than anybody reads")
    monkeypatch.setattr(limit, "MAX_RESPONSE_BYTES", 1 << 20)
    server.script = [Reply(body=": ping\n\n" * (2 << 17), content_type=SSE)]
    assert fail(server, dialect).message.endswith(" sends more than anybody reads")
    server.script = [Reply(status=500, body="x" * (2 << 20), content_type="text/html")]
    assert fail(server, dialect).message.endswith(" sends more than anybody reads")


def test_a_packed_answer_is_refused(server: LlmServer, dialect: Dialect) -> None:
    """Nothing packed is asked for, and nothing packed is taken: it could unfold without end."""
    packed = gzip.compress(b"hello").decode("latin-1")
    server.script = [Reply(body=packed, headers={"content-encoding": "gzip"})]
    assert fail(server, dialect).message.endswith(" compressed its answer, which was not asked for")
    assert server.requests[0].headers["accept-encoding"] == "identity"
