"""What servers do that call themselves compatible; each case is one that users of other gateways have reported."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from asking import ask, opened, prompt, target
from llm_server import WAIT_S, LlmServer, Reply
from tidegate.agent.fallback import FallbackModel
from tidegate.agent.model import Answer, Delta, ToolCall
from tidegate.config.preset import Dialect
from tidegate.domain.entry import User
from tidegate.domain.price import Price
from tidegate.domain.run import Usage
from tidegate.errors import ContextOverflow, ModelBusy, ModelCut, ModelFailed, ModelLimited

SSE = "text/event-stream"
TIMEOUT_S = 0.5
HEAD: dict[str, Any] = {"id": "1", "object": "chat.completion.chunk", "created": 1_800_000_000, "model": "m"}
PRICE = Price(input=1.0, output=2.0, cached_input=0.1, cache_write=1.0)


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a scripted provider."""
    with LlmServer() as running:
        yield running


def event(delta: object, finish: str | None = None, **more: object) -> str:
    """Return a piece of an answer as it is streamed."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({**HEAD, 'choices': [choice], **more})}\n\n"


def events(*said: str, done: bool = True) -> Reply:
    """Return a reply of such pieces."""
    return Reply(body="".join(said) + ("data: [DONE]\n\n" if done else ""), content_type=SSE)


def answered(server: LlmServer, reply: Reply, dialect: Dialect = Dialect.OPENAI) -> Answer:
    """Ask and return the answer."""
    server.script = [reply]
    last = ask(msgspec.structs.replace(target(server.base_url, dialect), price=PRICE))[-1]
    assert isinstance(last, Answer)
    return last


def failed(
    server: LlmServer, reply: Reply, dialect: Dialect = Dialect.OPENAI, timeout_s: float = WAIT_S
) -> ModelFailed:
    """Ask and return how it failed."""
    server.script = [reply]
    with pytest.raises(ModelFailed) as caught:
        ask(target(server.base_url, dialect, timeout_s=timeout_s))
    assert len(server.requests) == 1
    return caught.value


MURMURS = [
    (Dialect.OPENAI, ": OPENROUTER PROCESSING\n\n"),
    (Dialect.OPENAI, "\n"),
    (Dialect.OPENAI, "d"),
    (Dialect.OPENAI, event({})),
    (Dialect.OPENAI, event({"role": "assistant", "content": ""})),
    (Dialect.OPENAI, event({"content": " "})),
    (Dialect.OPENAI, event({"reasoning_content": ""})),
    (Dialect.OPENAI, event({"tool_calls": []})),
    (Dialect.OPENAI, f"data: {json.dumps({**HEAD, 'choices': [], 'usage': None})}\n\n"),
    (Dialect.ANTHROPIC, 'event: ping\ndata: {"type": "ping"}\n\n'),
    (Dialect.ANTHROPIC, ": keep-alive\n\n"),
    (Dialect.ANTHROPIC, "e"),
]


@pytest.mark.parametrize("text", ["", "half an answer"])
@pytest.mark.parametrize(("dialect", "murmur"), MURMURS)
def test_what_says_nothing_is_silence(server: LlmServer, dialect: Dialect, murmur: str, text: str) -> None:
    """Whatever keeps a connection alive is no answer: it ends after the timeout, before the first word as after it."""
    failure = failed(server, Reply(text=text, murmur=murmur, end="hang"), dialect, TIMEOUT_S)
    assert failure.message.endswith(" was silent for 0.5 s")
    assert "timeout" in failure.hint
    assert isinstance(failure, ModelCut if text else ModelBusy)
    assert server.hung_up.wait(WAIT_S)


def test_silence_is_repeated_and_then_another_model_is_asked(server: LlmServer) -> None:
    """One that only keeps the connection alive is asked four times, then the next one answers."""
    server.script = [Reply(murmur=": keep-alive\n\n", end="hang") for _ in range(4)]

    async def main(other: LlmServer) -> list[Delta | Answer]:
        async with opened(target(server.base_url, timeout_s=0.2)) as hung, opened(other.base_url) as well:
            model = FallbackModel([hung, well], wait=lambda _: asyncio.sleep(0))
            return [piece async for piece in model.stream(prompt(User(text="/echo well")))]

    with LlmServer() as other:
        *_, last = asyncio.run(main(other))
        assert (last.text, len(server.requests), len(other.requests)) == ("well", 4, 1)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_mere_silence(server: LlmServer, dialect: Dialect) -> None:
    """A provider that says nothing at all fails in the same words."""
    assert failed(server, Reply(end="hang"), dialect, TIMEOUT_S).message.endswith(" was silent for 0.5 s")


@pytest.mark.parametrize(
    "murmur",
    [
        event({"content": "word "}),
        event({"reasoning_content": "thought "}),
        event({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "t", "arguments": " "}}]}),
    ],
)
def test_words_calls_and_thoughts_are_progress(server: LlmServer, murmur: str) -> None:
    """An answer may take far longer than the timeout as long as it goes on."""
    server.script = [Reply(text="the end", murmur=murmur, murmurs=30)]
    last = ask(target(server.base_url, timeout_s=TIMEOUT_S))[-1]
    assert isinstance(last, Answer)
    assert last.text.endswith("the end")


def test_an_end_without_a_farewell(server: LlmServer) -> None:
    """Where the finish reason has come, a connection that is then left open costs no answer."""
    server.script = [Reply(text="all", murmur=": keep-alive\n\n", end="linger")]
    last = ask(target(server.base_url, timeout_s=TIMEOUT_S))[-1]
    assert isinstance(last, Answer)
    assert last.text == "all"


def usages(*told: object) -> Reply:
    """Return an answer of which each piece tells its usage, as does a last one without choices."""
    pieces = [event({"content": f"{at} "}, usage=usage) for at, usage in enumerate(told[:-1])]
    last = f"data: {json.dumps({**HEAD, 'choices': [], 'usage': told[-1]})}\n\n"
    return events(*pieces, event({}, "stop"), last)


def counted(read: object, written: object) -> dict[str, object]:
    """Return usage as OpenAI tells it."""
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": 0}


@pytest.mark.parametrize(
    "told",
    [
        [*(counted(100, at) for at in range(1, 21)), counted(100, 20)],
        [counted(100, 20), counted(0, 0)],
        [counted(100, 3), None, counted(100, 20), None],
        [counted(100, 20), []],
        [counted(100, 20), "none"],
    ],
    ids=["cumulative", "zeros last", "null between", "list last", "word last"],
)
def test_cumulative_usage_counts_once(server: LlmServer, told: Sequence[object]) -> None:
    """Gemini, vLLM and Perplexity tell the sum so far with each piece: 100 tokens read are 100, not 2,000."""
    usage = Usage(input_tokens=100, output_tokens=20, micros=140)
    assert answered(server, usages(*told)).usage == usage


@pytest.mark.parametrize(
    "told",
    [None, [], {}, "many", 7, counted(-5, -7), counted("11", "7"), counted(None, None), counted([], {})],
    ids=str,
)
def test_usage_that_nobody_told(server: LlmServer, told: object) -> None:
    """What is missing or nonsense is estimated from what was asked and said, priced, and marked so."""
    answer = answered(server, usages(None, None, told))
    assert answer.text == "0 1 "
    assert answer.usage in (
        Usage(input_tokens=8, output_tokens=1, micros=10, estimated=1),
        Usage(input_tokens=11, output_tokens=7, micros=25),
    )
    assert answer.usage.estimated or told == counted("11", "7")


def test_an_estimate_covers_all_that_was_said(server: LlmServer) -> None:
    """Thoughts and calls count; half of a usage is completed."""
    call = {"index": 0, "id": "a", "function": {"name": "look", "arguments": '{"at": "tide"}'}}
    said = [event({"reasoning_content": "x" * 400}), event({"tool_calls": [call]}), event({}, "tool_calls")]
    assert answered(server, events(*said)).usage.output_tokens == 104 + 1
    half = [*said, event({}, usage=counted(50, 0))]
    usage = answered(server, events(*half)).usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (50, 105, 1)
    server.script = [events(event({"content": "y"}, "stop"))]
    long = ask(target(server.base_url), prompt(User(text="x" * 4_000), instructions="y" * 400))[-1]
    assert isinstance(long, Answer)
    assert long.usage.input_tokens == 1_108


@pytest.mark.parametrize("content_type", ["application/json", SSE])
@pytest.mark.parametrize(
    ("body", "words", "kind"),
    [
        ({"error": {"message": "no such voice", "code": 400}}, "no such voice", ModelFailed),
        ({"error": "model 'x' not found"}, "model 'x' not found", ModelFailed),
        (
            [{"error": {"message": "bad key", "code": 400, "status": "INVALID_ARGUMENT"}}],
            "bad key",
            ModelFailed,
        ),
        ({"error": {"message": "no capacity", "code": 503}}, "no capacity", ModelBusy),
        ({"error": {"message": "slow down", "code": 429}}, "slow down", ModelLimited),
        ({"error": {"message": "wait", "type": "x", "retry_after": 7}}, "wait", ModelBusy),
        ({"error": {"message": "x", "metadata": {"retry_after": 7}}}, "x", ModelBusy),
        ({"error": {"message": "busy", "status": "RESOURCE_EXHAUSTED"}}, "busy", ModelBusy),
        ({"error": {"message": "The engine is Overloaded"}}, "The engine is Overloaded", ModelBusy),
        ({"object": "error", "message": "no such field", "code": 40001}, "no such field", ModelFailed),
        ({"detail": "Not Found"}, "Not Found", ModelFailed),
        ({"error": {"message": "n_ctx", "type": "exceed_context_size_error"}}, "n_ctx", ContextOverflow),
    ],
)
def test_an_error_with_status_200(
    server: LlmServer, body: object, words: str, kind: type[ModelFailed], content_type: str
) -> None:
    """Instead of a stream, as JSON: it is told in the provider's words and repeated only if they ask for it."""
    failure = failed(server, Reply(body=f"\n {json.dumps(body)}", content_type=content_type))
    assert failure.message.endswith(f": {words}")
    assert type(failure) is kind
    assert not isinstance(failure, ModelBusy) or failure.retry_after_s == (
        7 if "retry" in str(body) else None
    )


@pytest.mark.parametrize("dialect", list(Dialect))
def test_an_error_with_status_200_from_anthropic(server: LlmServer, dialect: Dialect) -> None:
    """Both dialects read it."""
    body = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    failure = failed(server, Reply(body=body), dialect)
    assert (type(failure), failure.message.endswith(": Overloaded")) == (ModelBusy, True)


@pytest.mark.parametrize(
    ("error", "words", "kind"),
    [
        ({"message": "no such tool"}, "no such tool", ModelFailed),
        ({"message": "full", "code": 502}, "full", ModelBusy),
        ({"message": "engine died", "type": "server_error"}, "engine died", ModelBusy),
        ("queue is full, try again later", "queue is full, try again later", ModelBusy),
        ("bad prompt", "bad prompt", ModelFailed),
    ],
)
def test_an_error_in_an_event(server: LlmServer, error: object, words: str, kind: type[ModelFailed]) -> None:
    """As the only event of a stream, with or without the mark of an end behind it."""
    failure = failed(server, events(f"data: {json.dumps({'error': error})}\n\n"))
    assert (type(failure), failure.message.endswith(f": {words}")) == (kind, True)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_page_with_status_200(server: LlmServer, dialect: Dialect) -> None:
    """A page to log in at is named by its title, and not asked for again."""
    page = "<!doctype html>\n<html><head><TITLE lang=en>\n Sign&nbsp;in &amp; go </TITLE></head></html>"
    failure = failed(server, Reply(body=page, content_type="text/html"), dialect)
    assert failure.message.endswith(" answered with a web page: Sign in & go")
    assert (type(failure), "base_url" in failure.hint) == (ModelFailed, True)


@pytest.mark.parametrize("finish", ["eos", "STOP", "end_turn"])
def test_an_end_in_other_words(server: LlmServer, finish: str) -> None:
    """A finish reason that nobody knows is one."""
    assert answered(server, events(event({"content": "all"}, finish), done=False)).text == "all"


@pytest.mark.parametrize("finish", ["error", "abort", "insufficient_system_resource", None])
def test_an_end_that_is_none(server: LlmServer, finish: str | None) -> None:
    """An answer that the server gave up on is not taken for a whole one."""
    failure = failed(server, events(event({"content": "half"}, finish)))
    assert isinstance(failure, ModelCut)
    assert (failure.text, failure.message.endswith(" broke off its answer")) == ("half", True)


def test_calls_that_share_a_number(server: LlmServer) -> None:
    """Ollama and Gemini give each call of an answer the index 0, and give it whole; each is a call."""
    calls = [
        {"index": 0, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in [("a", "look", "{}"), ("b", "look", '{"at": 1}'), ("c", "say", "{}")]
    ]
    answer = answered(server, events(*(event({"tool_calls": [call]}) for call in calls), event({}, "stop")))
    assert answer.calls == [
        ToolCall(call_id="a", tool="look", arguments="{}"),
        ToolCall(call_id="b", tool="look", arguments='{"at": 1}'),
        ToolCall(call_id="c", tool="say", arguments="{}"),
    ]


def test_a_call_in_pieces_that_repeat_its_name(server: LlmServer) -> None:
    """Some send id and name with every piece of a call, some an empty id; it stays one call."""
    pieces = [("a", "look", '{"at"'), ("a", "look", ": "), (None, None, "1}")]
    said = [
        event({"tool_calls": [{"index": 0, "id": key, "function": {"name": name, "arguments": text}}]})
        for key, name, text in pieces
    ]
    answer = answered(server, events(*said, event({}, "tool_calls")))
    assert [(call.call_id, call.arguments) for call in answer.calls] == [("a", '{"at": 1}')]


def test_pieces_without_a_choice(server: LlmServer) -> None:
    """Azure and OpenRouter send pieces whose choices are empty, null or without a delta."""
    lists: list[list[object] | None] = [[], None]
    odd = [f"data: {json.dumps({**HEAD, 'choices': choices})}\n\n" for choices in lists]
    server.script = [events(*odd, event({"content": "hi"}), *odd, event(None, "stop"))]
    *deltas, answer = ask(server.base_url)
    assert (deltas, answer.text) == ([Delta(text="hi")], "hi")


def test_blanks_before_the_first_word(server: LlmServer) -> None:
    """They are not heard by themselves, and are no text where a call follows; before words they are kept."""
    call = event({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "t", "arguments": "{}"}}]})
    server.script = [
        events(event({"content": "\n"}), event({"content": "\n"}), call, event({}, "tool_calls"))
    ]
    (answer,) = ask(server.base_url)
    assert isinstance(answer, Answer)
    assert (answer.text, len(answer.calls)) == ("", 1)
    server.script = [
        events(event({"content": " "}), event({"content": "a"}), event({"content": " "}, "stop"))
    ]
    *deltas, answer = ask(server.base_url)
    assert ([delta.text for delta in deltas], answer.text) == ([" a", " "], " a ")
