"""One model at one endpoint and all that can go wrong with it, whichever dialect is spoken.

It promises what `Model.stream` does: an answer is whole or it is a `ModelFailed` that names no secret. An
answer that stops without the provider's finish reason is broken off, however its connection ended. It is
asked once, unless it refuses the history itself: repeating is left to ``fallback``.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import assert_never, cast

import httpx2
import msgspec
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponsePart,
    ModelResponseStreamEvent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.models import Model, StreamedResponse
from pydantic_ai.settings import ModelSettings

from tidegate.agent import dialect, measure, opaque, unstreamed
from tidegate.agent.failure import FAILURES, explain
from tidegate.agent.limit import Room, limit
from tidegate.agent.model import Answer, Delta, Prompt
from tidegate.agent.target import Target
from tidegate.config.preset import Dialect
from tidegate.domain import price
from tidegate.domain.entry import Result
from tidegate.domain.price import Tokens
from tidegate.domain.run import Usage
from tidegate.errors import ContentFiltered, HistoryRefused, ModelBusy, ModelCut, ModelFailed

CONNECT_S = 10.0
# What Anthropic's older models may think, as the library tells them; it has to lie below the limit of the whole answer.
THOUGHT_TOKENS = {"default": 0, "off": 0, "low": 2_048, "medium": 10_000, "high": 16_384}
#: words for an end that is none: OpenRouter and others, vLLM, DeepSeek, Zhipu
BROKEN_OFF = frozenset({"error", "abort", "insufficient_system_resource", "network_error"})
WITHHELD = frozenset({"sensitive"})  # Zhipu's word

#: where Anthropic keeps what a prompt begins with: behind tools, instructions and the latest message; the others
#: do it by themselves. Source: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
CACHED = dict.fromkeys(
    ("anthropic_cache_tool_definitions", "anthropic_cache_instructions", "anthropic_cache_messages"), True
)
_SENT_HEADERS = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"}
    | {"user-agent", "x-api-key", "anthropic-version", "anthropic-beta"}
)


class Endpoint:
    """A model at an endpoint.

    Resource handling: holds one HTTP client, which takes nothing from the environment, until `aclose`.

    Raises:
        ImportError: The library for this dialect is not installed.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._http = httpx2.AsyncClient(
            trust_env=False,
            timeout=httpx2.Timeout(target.timeout_s, connect=min(target.timeout_s, CONNECT_S)),
            event_hooks={"request": [_strip_headers], "response": [limit, unstreamed.watch]},
        )
        self._model = _open(target, self._http)
        self._settings = _settings(target)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Ask; see `Model.stream`. A history that is refused is told once more, as simply as it can be."""
        simple: Prompt | None = None
        try:
            async with aclosing(self._ask(prompt)) as pieces:
                async for piece in pieces:
                    yield piece
        except HistoryRefused:
            simple = dialect.simplified(prompt)
            if simple is None:
                raise
        if simple is not None:
            async with aclosing(self._ask(simple)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _ask(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Ask once."""
        request = model_request_stream(
            self._model,
            self._told(prompt),
            model_settings=self._settings,
            model_request_parameters=dialect.parameters(prompt.tools),
            instrument=False,
        )
        said = _Said()
        stream: StreamedResponse | None = None
        room = Room()
        try:
            async with AsyncExitStack() as opened:
                async with asyncio.timeout(self._target.timeout_s):
                    stream = await opened.enter_async_context(request)
                async with aclosing(self._moves(stream)) as events:
                    async for event in events:
                        dialect.take(event, room)
                        if text := said.add(dialect.text_of(event)):
                            yield Delta(text=text)
            answer = self._end(stream, said.text, prompt)
        except FAILURES as error:
            raise self._cut(explain(error, self._target), said.text, stream, prompt) from error
        except ModelFailed as failure:
            raise self._cut(failure, said.text, stream, prompt) from failure
        # only now, since a caller may stop listening at the answer, and then nothing may be left open
        yield answer

    def _told(self, prompt: Prompt) -> Sequence[ModelMessage]:
        told = dialect.messages(prompt, self._target.identity)
        return dialect.marked(told) if self._target.dialect is Dialect.ANTHROPIC else told

    async def _moves(self, stream: StreamedResponse) -> AsyncGenerator[ModelResponseStreamEvent, None]:
        """Yield what comes; what brings the answer on renews the patience, bytes and empty pieces do not.

        Raises:
            TimeoutError: Nothing has brought it on for too long, and it was not at its end.
        """
        loop, events = asyncio.get_running_loop(), aiter(stream)
        until = loop.time() + self._target.timeout_s
        while True:
            try:
                async with asyncio.timeout_at(until):
                    event = await anext(events, None)
            except TimeoutError:
                if _finish(stream):  # all is said, and the provider forgot to hang up
                    return
                raise
            if event is None:
                return
            yield event
            if dialect.is_progress(event):
                until = loop.time() + self._target.timeout_s

    async def aclose(self) -> None:
        """Close the HTTP client and its connections."""
        await self._http.aclose()

    def _end(self, stream: StreamedResponse, said: str, prompt: Prompt) -> Answer:
        """Return the answer.

        Raises:
            ContentFiltered, ModelBusy: It is none.
        """
        where, finish = self._target.where, _finish(stream)
        if stream.finish_reason == "content_filter" or finish in WITHHELD:
            raise ContentFiltered(f"{where} withheld its answer: the provider's content filter")
        if not finish or finish in BROKEN_OFF:
            raise ModelBusy(f"{where} broke off its answer")
        is_cut = stream.finish_reason == "length"
        response = stream.get()
        calls = dialect.calls_of(response, is_cut=is_cut)
        if not (said or calls or is_cut or (prompt.bodies and isinstance(prompt.bodies[-1], Result))):
            raise ModelBusy(f"{where} answered nothing")
        return Answer(
            text=said,
            calls=calls,
            usage=self._usage(stream, prompt),
            model=self._target.name,
            opaque="" if is_cut else opaque.keep(response, self._target.identity),
            is_cut=is_cut,
        )

    def _cut(
        self, failure: ModelFailed, said: str, stream: StreamedResponse | None, prompt: Prompt
    ) -> ModelFailed:
        """Return a failure as it is once something was said."""
        if not said or stream is None:
            return failure
        usage = self._usage(stream, prompt)
        tokens = (usage.input_tokens, usage.output_tokens)
        cost = (usage.micros, usage.unpriced, usage.estimated)
        return ModelCut(failure, text=said, model=self._target.name, tokens=tokens, cost=cost)

    def _usage(self, stream: StreamedResponse, prompt: Prompt) -> Usage:
        """Return what the provider counted; what it did not is estimated, so that no budget is blind to it."""
        told = stream.usage
        said = sum(measure.text_size(_written(part)) for part in stream.get().parts)
        read = told.input_tokens if told.input_tokens > 0 else measure.prompt_tokens(prompt)
        written = told.output_tokens if told.output_tokens > 0 else -(-said // measure.BYTES_PER_TOKEN)
        tokens = Tokens(
            read=read, written=written, cached=told.cache_read_tokens, cache_written=told.cache_write_tokens
        )
        usage = price.usage(tokens, self._target.price)
        is_told = told.input_tokens > 0 and (told.output_tokens > 0 or not said)
        return usage if is_told else msgspec.structs.replace(usage, estimated=1)


class _Said:
    """The text of an answer so far; blanks before its first word are no text, since nobody hears anything of them."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._is_begun = False

    def add(self, piece: str) -> str:
        """Take a piece and return what there is to hear."""
        self._pieces.append(piece)
        if self._is_begun or not piece.strip():
            return piece if self._is_begun else ""
        self._is_begun = True
        return self.text

    @property
    def text(self) -> str:
        """All that was heard."""
        return "".join(self._pieces) if self._is_begun else ""


def _finish(stream: StreamedResponse) -> str:
    """Return the provider's own word for how an answer ended; empty while it has not."""
    return str((stream.provider_details or {}).get("finish_reason") or "")


def _written(part: ModelResponsePart) -> str:
    match part:
        case TextPart() | ThinkingPart():
            return part.content
        case ToolCallPart():
            return part.tool_name + part.args_as_json_str()
        case _:
            return ""


def _open(target: Target, http: httpx2.AsyncClient) -> Model:
    """Load what one dialect needs, and nothing of the others."""
    match target.dialect:
        case Dialect.OPENAI:
            from tidegate.agent import openai_client  # noqa: PLC0415 - half a second of CPU

            return openai_client.open_model(target, http)
        case Dialect.ANTHROPIC:
            from tidegate.agent import anthropic_client  # noqa: PLC0415 - a second of CPU

            return anthropic_client.open_model(target, http)
        case _:
            assert_never(target.dialect)


def _settings(target: Target) -> ModelSettings:
    settings = ModelSettings()
    if target.dialect is Dialect.ANTHROPIC:
        settings["max_tokens"] = target.max_tokens + THOUGHT_TOKENS[target.thinking]
        cast("dict[str, object]", settings).update(CACHED)
    match target.thinking:
        case "default":
            pass
        case "off":
            settings["thinking"] = False
        case level:
            settings["thinking"] = level
    return settings


async def _strip_headers(request: httpx2.Request) -> None:
    """Leave out what tells about this machine, and what the library takes from its environment."""
    for name in request.headers.keys() - _SENT_HEADERS:
        del request.headers[name]
    request.headers["accept-encoding"] = "identity"
