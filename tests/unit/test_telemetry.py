import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from inside import Inside, PlayedModel, inside
from otlp_collector import OtlpCollector
from tidegate.agent.model import Answer, Delta, Model, Prompt, ToolCall, ToolSpec
from tidegate.agent.tools import Caller, Tool
from tidegate.config import Agent, Config, Provider
from tidegate.domain.run import Usage
from tidegate.domain.session import Outcome
from tidegate.errors import ModelCut, ModelFailed
from tidegate.runtime import collector as collector_module
from tidegate.runtime.collector import Collector
from tidegate.runtime.telemetry import Asked, Telemetry, asked
from tidegate.runtime.watch import SpanOutcome

pytestmark = pytest.mark.anyio

NAMES = {"played": Asked("openai", "gpt-played", "api.example", 443)}
CLIENT = 3
LOST = {SpanOutcome.SENT: 0, SpanOutcome.FAILED: 4, SpanOutcome.DROPPED: 0}


@pytest.fixture
def anyio_backend() -> str:
    """Run these tests in asyncio's own loop."""
    return "asyncio"


@asynccontextmanager
async def watched(
    folder: Path, model: Model, place: OtlpCollector, *tools: Tool
) -> AsyncIterator[tuple[Inside, Collector]]:
    """Run a gateway's inside with telemetry, which has been sent when this is left."""
    collector = Collector(place.url)
    try:
        watch = Telemetry(collector.tracer, NAMES).run
        async with inside(folder, model, tools=tools, watch=watch) as running:
            yield running, collector
    finally:
        await collector.close()


def tool(name: str, fails: bool) -> Tool:  # noqa: FBT001 - one of two tools
    """Return a tool that answers, or fails."""

    async def run(arguments: str, _: Caller) -> str:
        if fails:
            raise ValueError(f"secret of {arguments}")
        return "the secret result"

    return Tool(spec=ToolSpec(name=name, description="", parameters={}), run=run)


def call(name: str) -> ToolCall:
    """Return a call."""
    return ToolCall(tool=name, call_id=f"call-{name}", arguments='{"a": "secret"}')


async def test_a_run_is_a_tree_of_spans(tmp_path: Path) -> None:
    """A run, its requests and its calls, with names, ids and tokens, and not a word of what was said."""
    model = PlayedModel(
        Answer(
            text="secret thought",
            calls=[call("good"), call("bad")],
            usage=Usage(input_tokens=10, output_tokens=3),
        ),
        Answer(text="secret answer", usage=Usage(input_tokens=20, output_tokens=4)),
    )
    with OtlpCollector() as place:
        async with watched(tmp_path, model, place, tool("good", fails=False), tool("bad", fails=True)) as (
            running,
            collector,
        ):
            run = await running.say("chat:1", "secret question")
            session = running.head("chat:1").id
        assert run.outcome is Outcome.OK
        assert collector.counts == {SpanOutcome.SENT: 5, SpanOutcome.FAILED: 0, SpanOutcome.DROPPED: 0}
        assert collector.waiting == 0
    assert set(place.paths) == {"/v1/traces"}
    (root,) = place.named("invoke_agent")
    assert (root.name, root.parent) == ("invoke_agent main", b"")
    assert root.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "main",
        "gen_ai.conversation.id": session,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-played",
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 7,
        "server.address": "api.example",
        "server.port": 443,
        "tidegate.run.id": run.id,
        "tidegate.run.lane": "interactive",
        "tidegate.run.origin": "message",
        "tidegate.session.kind": "chat",
    }
    first, second = place.named("chat")
    assert (first.name, first.kind) == ("chat gpt-played", CLIENT)
    assert first.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-played",
        "gen_ai.response.model": "gpt-played",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
        "server.address": "api.example",
        "server.port": 443,
    }
    tools = {span.name: span for span in place.named("execute_tool")}
    assert tools["execute_tool good"].attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "good",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call-good",
    }
    assert tools["execute_tool bad"].attributes["error.type"] == "ValueError"
    assert [
        span.is_error for span in (first, second, tools["execute_tool good"], tools["execute_tool bad"])
    ] == [
        False,
        False,
        False,
        True,
    ]
    assert {span.parent for span in place.spans} == {b"", root.id}
    assert {span.trace for span in place.spans} == {root.trace}
    assert place.resource["service.name"] == "tidegate"
    assert b"secret" not in place.raw
    assert {span.events for span in place.spans} == {0}


async def cut(_: Prompt) -> AsyncGenerator[Delta | Answer, None]:
    """Break off in the middle of an answer."""
    yield Delta(text="half")
    raise ModelCut(ModelFailed("secret"), text="half", model="played", tokens=(5, 2))


async def test_what_goes_wrong_is_told_by_its_kind(tmp_path: Path) -> None:
    """A failed and a broken-off answer are errors with a type and without words; what they took is counted."""
    model = PlayedModel(ModelFailed("secret refusal"), cut)
    with OtlpCollector() as place:
        async with watched(tmp_path, model, place) as (running, _):
            assert (await running.say("chat:1", "a")).outcome is Outcome.FAILED
            assert (await running.say("chat:2", "b")).outcome is Outcome.FAILED
    assert [span.attributes["error.type"] for span in place.named("chat")] == ["ModelFailed", "ModelCut"]
    assert [span.attributes["error.type"] for span in place.named("invoke")] == ["ModelFailed", "ModelCut"]
    assert place.named("invoke")[1].attributes["gen_ai.usage.output_tokens"] == 2
    assert b"secret" not in place.raw


async def test_a_cancelled_run_ends_its_spans(tmp_path: Path) -> None:
    """Whoever cancels a run cancels no telemetry."""

    async def never(_: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        yield Delta(text="a")
        await asyncio.Event().wait()

    with OtlpCollector() as place:
        async with watched(tmp_path, PlayedModel(never), place) as (running, _):
            run = await running.send("chat:1", "go")
            await running.until_piece(run)
            await running.store.cancel_run(run.id)
            await running.intake.outcome(run)
    assert [span.attributes["error.type"] for span in place.spans] == ["CancelledError"] * 2


async def test_a_collector_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go on; the spans are lost, counted, and told in one line with the reason."""
    monkeypatch.setattr(collector_module, "PATIENCE_S", 0.2)
    with OtlpCollector(how="refuse") as place:
        assert await _two_runs(tmp_path, place) == (["telemetry_failed"], LOST)


async def test_a_collector_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same."""
    monkeypatch.setattr(collector_module, "PATIENCE_S", 0.2)
    with OtlpCollector() as place:
        pass
    assert await _two_runs(tmp_path, place) == (["telemetry_failed"], LOST)


async def _two_runs(folder: Path, place: OtlpCollector) -> tuple[list[str], dict[SpanOutcome, int]]:
    model = PlayedModel(Answer(text="a"), Answer(text="b"))
    with capture_logs() as logged:
        async with watched(folder, model, place) as (running, collector):
            for number in range(2):
                assert (await running.say(f"chat:{number}", "hi")).outcome is Outcome.OK
    lines = [line for line in logged if line["event"].startswith("telemetry")]
    assert all(line["error"] for line in lines)
    return [line["event"] for line in lines], dict(collector.counts)


async def test_a_collector_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more spans wait than fit; what is above is dropped and counted, 10,000 of them, and closing has an end."""
    monkeypatch.setattr(collector_module, "MAX_WAITING", 300)
    monkeypatch.setattr(collector_module, "PATIENCE_S", 0.5)
    monkeypatch.setattr(collector_module, "STOP_S", 0.0)
    with OtlpCollector(how="hang") as place:
        collector = Collector(place.url)
        for _ in range(10_000):
            collector.tracer.start_span("invoke_agent main").end()
        assert collector.waiting <= 300
        assert collector.counts[SpanOutcome.DROPPED] >= 9_000
        async with asyncio.timeout(10):
            await collector.close()
        assert sum(collector.counts.values()) + collector.waiting == 10_000
        place.over.set()


def test_whom_a_name_means() -> None:
    """Providers are called as the conventions call them; an endpoint of one's own by its type or its name."""
    config = Config(
        providers={
            "mine": Provider(base_url="http://127.0.0.1:8000/v1"),
            "gem": Provider(type="google"),
        },
        agents={
            "main": Agent(model="mine/llama", fallback="gem/flash"),
            "plain": Agent(),
        },
    )
    assert asked(config) == {
        "mine/llama": Asked("mine", "llama", "127.0.0.1", 8000),
        "gem/flash": Asked("gcp.gemini", "flash", "generativelanguage.googleapis.com", 443),
        "offline": Asked("tidegate", "offline"),
    }
