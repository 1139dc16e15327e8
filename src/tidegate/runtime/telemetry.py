"""Spans of what a run does, as OpenTelemetry's conventions for generative AI name it.

A run is ``invoke_agent``; below it stand each request to a model, ``chat``, and each call of a tool,
``execute_tool``. They hold names, ids and counts; never what was said, neither by people, models and tools nor in
errors. A run that waits and goes on later is one trace for each stretch of work, joined by ``tidegate.run.id``.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ and gen-ai-agent-spans
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from tidegate.agent.loop import Agent
from tidegate.agent.model import Answer, Delta, Model, Prompt
from tidegate.agent.tools import Caller, Later, Tool
from tidegate.config import Config
from tidegate.config.source import Source, sources
from tidegate.domain.run import Usage
from tidegate.errors import ModelCut
from tidegate.store.admission import Claimed

#: what the conventions call the providers that the configuration calls otherwise
PROVIDERS = {"google": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai"}

Attributes = dict[str, AttributeValue]


class Asked(NamedTuple):
    """Whom a model's name means."""

    provider: str
    model: str
    #: host and port, where it is asked over a network
    host: str | None = None
    port: int | None = None

    @property
    def attributes(self) -> Attributes:
        """What a request says of it."""
        found: Attributes = {"gen_ai.provider.name": self.provider, "gen_ai.request.model": self.model}
        if self.host is not None:
            found["server.address"] = self.host
        if self.port is not None:
            found["server.port"] = self.port
        return found


def asked(config: Config) -> Mapping[str, Asked]:
    """Return whom each name of a model means, fallbacks included."""
    return {
        one.name: _asked(config, one) for agent in config.agents.values() for one in sources(config, agent)
    }


class Telemetry:
    """Looks on while runs are carried out."""

    def __init__(self, tracer: Tracer, models: Mapping[str, Asked]) -> None:
        self._tracer = tracer
        self._models = models

    @contextmanager
    def run(self, claimed: Claimed, agent: Agent) -> Iterator[Agent]:
        """Look on while a run is carried out by the agent that this gives."""
        attributes = _run_attributes(claimed, agent) | self._asked(agent.model.name).attributes
        took = Took()
        with self._span(f"invoke_agent {agent.name}", None, attributes) as span:
            below = set_span_in_context(span)
            model = _Model(self, agent.model, below, took)
            tools = agent.tools.each(lambda tool: self._watched(tool, below))
            try:
                yield msgspec.structs.replace(agent, model=model, tools=tools)
            finally:
                span.set_attributes(_usage(took.usage))

    @contextmanager
    def chat(self, name: str, below: Context) -> Iterator[Span]:
        """Look on while a model is asked."""
        one = self._asked(name)
        attributes = {"gen_ai.operation.name": "chat"} | one.attributes
        with self._span(f"chat {one.model}", below, attributes, kind=SpanKind.CLIENT) as span:
            yield span

    def answered(self, span: Span, answer: Answer, name: str) -> None:
        """Say which model has answered, and what that took."""
        span.set_attribute("gen_ai.response.model", self._asked(answer.model or name).model)
        span.set_attributes(_usage(answer.usage))

    def _watched(self, tool: Tool, below: Context) -> Tool:
        """Return a tool whose calls are looked at."""
        name = tool.spec.name

        async def run(arguments: str, caller: Caller) -> str | Later:
            attributes: Attributes = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.id": caller.call_id,
            }
            with self._span(f"execute_tool {name}", below, attributes):
                return await tool.run(arguments, caller)

        return msgspec.structs.replace(tool, run=run)

    def _asked(self, name: str) -> Asked:
        return self._models.get(name) or Asked("tidegate", name)

    @contextmanager
    def _span(
        self, name: str, below: Context | None, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
    ) -> Iterator[Span]:
        """Look on from now until the end; of what goes wrong the kind is told alone."""
        span = self._tracer.start_span(name, below or Context(), kind, attributes)
        try:
            yield span
        except GeneratorExit:  # whoever asked has heard enough
            raise
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            span.end()


class Took:
    """What the models of one run took so far."""

    def __init__(self) -> None:
        self.usage = Usage()

    def add(self, usage: Usage) -> None:
        """Add what one answer took."""
        self.usage = Usage(
            input_tokens=self.usage.input_tokens + usage.input_tokens,
            output_tokens=self.usage.output_tokens + usage.output_tokens,
        )


class _Model:
    """A model that is looked at."""

    def __init__(self, telemetry: Telemetry, inner: Model, below: Context, took: Took) -> None:
        self.name = inner.name
        self._telemetry = telemetry
        self._inner = inner
        self._below = below
        self._took = took

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Answer as the model does."""
        with self._telemetry.chat(self.name, self._below) as span:
            try:
                async with aclosing(self._inner.stream(prompt)) as parts:
                    async for part in parts:
                        if isinstance(part, Answer):
                            self._took.add(part.usage)
                            self._telemetry.answered(span, part, self.name)
                        yield part
            except ModelCut as error:
                read, written = error.tokens
                usage = Usage(input_tokens=read, output_tokens=written)
                self._took.add(usage)
                span.set_attributes(_usage(usage))
                raise


def _asked(config: Config, source: Source) -> Asked:
    if source.is_offline:
        return Asked("tidegate", source.name)
    own = config.providers.get(source.provider)
    provider = (own.type if own else "") or source.provider
    place = urlsplit(source.base_url)
    port = place.port or {"https": 443, "http": 80}.get(place.scheme)
    return Asked(PROVIDERS.get(provider, provider), source.model, place.hostname, port)


def _run_attributes(claimed: Claimed, agent: Agent) -> Attributes:
    run, session = claimed.run, claimed.session
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": agent.name,
        "gen_ai.conversation.id": session.id,
        "tidegate.session.kind": session.kind.value,
        "tidegate.run.id": run.id,
        "tidegate.run.lane": run.lane.value,
        "tidegate.run.origin": run.origin.value,
    }


def _usage(usage: Usage) -> Attributes:
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
    }
