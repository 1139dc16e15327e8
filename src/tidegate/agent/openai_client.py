"""The library's model for an endpoint that speaks as OpenAI does, or says it does.

Servers that call themselves compatible tell usage with every piece (Gemini, vLLM, Perplexity) or in shapes of their
own, and number all calls of an answer alike (Ollama, Gemini); both is mended here.
"""

from collections.abc import AsyncIterable, AsyncIterator

import httpx2
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDelta
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIStreamedResponse
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import RequestUsage

from tidegate.agent.target import Target

NO_KEY = "none"  # the client library insists on one
MAX_DIGITS = 12  # of a number of tokens that is told as a word

_PROFILE = OpenAIModelProfile(
    openai_chat_streaming_requires_finish_reason=True,
    # several in a row are refused by some servers
    openai_chat_supports_multiple_system_messages=False,
)


def open_model(target: Target, http: httpx2.AsyncClient) -> OpenAIChatModel:
    """Return a model that asks once, through *http*."""
    client = AsyncOpenAI(
        base_url=target.base_url,
        api_key=target.api_key or NO_KEY,
        http_client=http,
        timeout=http.timeout,
        max_retries=0,
    )
    return _Model(target.model, provider=OpenAIProvider(openai_client=client), profile=_PROFILE)


class _Model(OpenAIChatModel):
    """A model whose streams are read with care."""

    @property
    def _streamed_response_cls(self) -> type[OpenAIStreamedResponse]:
        return _Stream


class _Stream(OpenAIStreamedResponse):
    """A stream whose usage is counted once, and whose calls are told apart."""

    def _map_usage(self, response: ChatCompletionChunk) -> RequestUsage:
        """Return what a piece adds: usage is what was told last, so the most that was told counts."""
        told, before = response.usage, self._usage
        details = _field(told, "prompt_tokens_details")
        return RequestUsage(
            input_tokens=max(0, _count(told, "prompt_tokens") - before.input_tokens),
            output_tokens=max(0, _count(told, "completion_tokens") - before.output_tokens),
            cache_read_tokens=max(0, _count(details, "cached_tokens") - before.cache_read_tokens),
            cache_write_tokens=max(0, _count(details, "cache_write_tokens") - before.cache_write_tokens),
        )

    def _validate_response(self) -> AsyncIterable[ChatCompletionChunk]:
        return _mended(super()._validate_response())


def _field(told: object, name: str) -> object:
    """Return a part of what was told, in whichever shape the client has put it."""
    return told.get(name) if isinstance(told, dict) else getattr(told, name, None)


def _count(told: object, name: str) -> int:
    """Return a number of tokens; 0 for what is none."""
    found = _field(told, name)
    if isinstance(found, str):
        return int(found) if found.isascii() and found.isdigit() and len(found) < MAX_DIGITS else 0
    return found if isinstance(found, int) else 0


async def _mended(chunks: AsyncIterable[ChatCompletionChunk]) -> AsyncIterator[ChatCompletionChunk]:
    """Number the calls of an answer: a name under another id begins one, whatever number it comes with.

    A piece without a delta, as Azure sends with the finish reason, gets an empty one, else the library drops it.
    """
    begun: dict[int | None, tuple[int, str | None]] = {}
    count = 0
    async for chunk in chunks:
        for choice in chunk.choices or ():
            choice.delta = choice.delta or ChoiceDelta()
        for call in (chunk.choices and chunk.choices[0].delta.tool_calls) or ():
            number, call_id = begun.get(call.index, (-1, None))
            is_named = bool(call.function and call.function.name)
            if number < 0 or (is_named and call.id != call_id):
                number, count = count, count + 1
                begun[call.index] = (number, call.id)
            call.index = number
        yield chunk
