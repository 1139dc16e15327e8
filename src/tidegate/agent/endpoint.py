"""One model at one endpoint and all that can go wrong with it, whichever dialect is spoken.

It promises what `Model.stream` does: an answer is whole or it is a `ModelFailed` that names no secret. An
answer that stops without the provider's finish reason is broken off, however its connection ended. It is
asked once: repeating is left to ``fallback``.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import assert_never

import httpx2
from pydantic_ai.direct import model_request_stream
from pydantic_ai.models import Model, StreamedResponse
from pydantic_ai.settings import ModelSettings

from tidegate.agent import dialect, opaque
from tidegate.agent.failure import FAILURES, explain
from tidegate.agent.limit import Room, limit
from tidegate.agent.model import Answer, Delta, Prompt
from tidegate.agent.target import Target
from tidegate.config.preset import Dialect
from tidegate.domain import price
from tidegate.domain.entry import Body, Result
from tidegate.domain.price import Tokens
from tidegate.domain.run import Usage
from tidegate.errors import ModelBusy, ModelCut, ModelFailed

CONNECT_S = 10.0
# What Anthropic's older models may think, as the library tells them; it has to lie below the limit of the whole answer.
THOUGHT_TOKENS = {"default": 0, "off": 0, "low": 2_048, "medium": 10_000, "high": 16_384}
CUT = "\n\n[cut off: the model reached its output limit]"

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
            event_hooks={"request": [_strip_headers], "response": [limit]},
        )
        self._model = _open(target, self._http)
        self._settings = _settings(target)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Ask once; see `Model.stream`."""
        request = model_request_stream(
            self._model,
            dialect.messages(prompt, self._target.identity),
            model_settings=self._settings,
            model_request_parameters=dialect.parameters(prompt.tools),
            instrument=False,
        )
        texts: list[str] = []
        stream: StreamedResponse | None = None
        room = Room()
        try:
            async with request as stream:
                async for event in stream:
                    dialect.take(event, room)
                    if text := dialect.text_of(event):
                        texts.append(text)
                        yield Delta(text=text)
            end = list(self._end(stream, texts, prompt.bodies))
        except FAILURES as error:
            raise self._cut(explain(error, self._target), texts, stream) from error
        except ModelFailed as failure:
            raise self._cut(failure, texts, stream) from failure
        # only now, since a caller may stop listening at the answer, and then nothing may be left open
        for piece in end:
            yield piece

    async def aclose(self) -> None:
        """Close the HTTP client and its connections."""
        await self._http.aclose()

    def _end(
        self, stream: StreamedResponse, texts: Sequence[str], bodies: Sequence[Body]
    ) -> Iterator[Delta | Answer]:
        """Yield the answer, after a remark if it is shorter than the model meant it."""
        where = self._target.where
        if stream.finish_reason == "content_filter":
            raise ModelFailed(f"{where} withheld its answer: the provider's content filter")
        if not (stream.provider_details or {}).get("finish_reason"):
            raise ModelBusy(f"{where} broke off its answer")
        is_cut = stream.finish_reason == "length"
        response = stream.get()
        calls = dialect.calls_of(response, is_cut=is_cut)
        text = "".join(texts) + (CUT if is_cut else "")
        if not (text or calls or (bodies and isinstance(bodies[-1], Result))):
            raise ModelBusy(f"{where} answered nothing")
        if is_cut:
            yield Delta(text=CUT)
        kept = "" if is_cut else opaque.keep(response, self._target.identity)
        yield Answer(text=text, calls=calls, usage=self._usage(stream), model=self._target.name, opaque=kept)

    def _cut(
        self, failure: ModelFailed, texts: Sequence[str], stream: StreamedResponse | None
    ) -> ModelFailed:
        """Return a failure as it is once something was said."""
        if not texts or stream is None:
            return failure
        usage = self._usage(stream)
        tokens = (usage.input_tokens, usage.output_tokens)
        cost = (usage.micros, usage.unpriced)
        return ModelCut(failure, text="".join(texts), model=self._target.name, tokens=tokens, cost=cost)

    def _usage(self, stream: StreamedResponse) -> Usage:
        told = stream.usage
        tokens = Tokens(
            read=told.input_tokens,
            written=told.output_tokens,
            cached=told.cache_read_tokens,
            cache_written=told.cache_write_tokens,
        )
        return price.usage(tokens, self._target.price)


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
