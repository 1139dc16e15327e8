import json
from collections.abc import Iterable, Iterator

import pytest

from asking import ask, target
from llm_server import LlmServer, Reply
from tidegate.agent.limit import MAX_CALLS, MAX_EVENT_LINES, MAX_EVENT_VALUES, MAX_PARTS
from tidegate.agent.model import Answer
from tidegate.config.preset import Dialect
from tidegate.errors import AnswerTooLarge, ModelCut

SSE = "text/event-stream"


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a scripted provider."""
    with LlmServer() as running:
        yield running


def event(delta: object, finish: str | None = None) -> str:
    """Return an event of a stream as OpenAI writes it."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
    return f"data: {json.dumps(head | {'choices': [choice]})}\n\n"


def call(number: int) -> dict[str, object]:
    """Return a call with its number."""
    function = {"name": "t", "arguments": "{}"}
    return {"index": number, "id": f"c{number}", "type": "function", "function": function}


def stream(events: Iterable[str], finish: str) -> Reply:
    """Return a stream that comes to a good end."""
    return Reply(body="".join(events) + event({}, finish) + "data: [DONE]\n\n", content_type=SSE)


def calls_in_events(count: int) -> Reply:
    """Return a stream with an event for each call."""
    return stream((event({"tool_calls": [call(number)]}) for number in range(count)), "tool_calls")


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([event({"tool_calls": [call(number) for number in range(10_000)]})], "values"),
        ([event({"tool_calls": [call(number) for number in range(MAX_CALLS + 1)]})], f"{MAX_CALLS} tool"),
        ([event({"tool_calls": [{"index": 0}] * MAX_EVENT_VALUES})], "values"),
        (['data: {"choices":[' + "{}," * MAX_EVENT_VALUES + "{}]}\n\n"], "values"),
        (['data: {"choices":' + "[" * 100 + " " * MAX_EVENT_VALUES + "\n\n"], "nested"),
        (["data:\n" * MAX_EVENT_LINES * 2 + "\n"], "more than anybody reads"),
        (["data: " + "x" * (1 << 20) + "\n\n"], "more than anybody reads"),
    ],
    ids=["10,000 calls", "129 calls", "values", "choices", "nested", "lines", "long"],
)
def test_a_large_event_is_not_read(server: LlmServer, events: list[str], said: str) -> None:
    """What one event holds is counted before the library makes objects of it; the run gets a typed error."""
    server.script = [stream(events, "stop")]
    with pytest.raises(AnswerTooLarge, match=said) as refused:
        ask(server.base_url)
    assert "answer_too_large" == refused.value.code


def test_calls_are_counted_while_they_come(server: LlmServer) -> None:
    """128 are an answer; with the next one it ends, however many follow."""
    server.script = [calls_in_events(MAX_CALLS), calls_in_events(2_000)]
    answer = ask(server.base_url)[-1]
    assert isinstance(answer, Answer)
    assert [f"c{number}" for number in range(MAX_CALLS)] == [one.call_id for one in answer.calls]
    with pytest.raises(AnswerTooLarge, match=f"more than {MAX_CALLS} tool calls"):
        ask(server.base_url)


def test_parts_are_counted_while_they_come(server: LlmServer) -> None:
    """Thoughts and texts in turns are so many parts, all of which the library looks at with each new one."""
    turns = (event({"reasoning_content": "t"}) + event({"content": "x"}) for _ in range(2_000))
    server.script = [stream(turns, "stop")]
    with pytest.raises(ModelCut, match=f"more than {MAX_PARTS} parts") as cut:
        ask(server.base_url)
    assert "x" * (MAX_PARTS // 2) == cut.value.text


def test_many_short_deltas_are_one_text(server: LlmServer) -> None:
    """Each comes as it is; together they are the answer."""
    server.script = [stream([event({"content": "x"})] * 2_000, "stop")]
    *deltas, answer = ask(server.base_url)
    assert isinstance(answer, Answer)
    assert (2_000, "x" * 2_000) == (len(deltas), answer.text)


def test_anthropic_calls_are_counted(server: LlmServer) -> None:
    """In its dialect just the same."""
    server.script = [Reply(calls=[(f"c{number}", "t", "{}") for number in range(200)])]
    with pytest.raises(AnswerTooLarge, match=f"more than {MAX_CALLS} tool calls"):
        ask(target(server.base_url, Dialect.ANTHROPIC))
