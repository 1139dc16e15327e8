"""One OpenAI-compatible endpoint and all that can go wrong with it.

It promises what `Model.stream` does: an answer is whole or it is a `ModelFailed` that names no secret. An
answer that stops without the provider's finish reason is broken off, however its connection ended. It is
asked once: repeating is left to whoever knows the run's deadline.
"""

from collections.abc import AsyncGenerator, Iterator
from urllib.parse import urlsplit

import httpx2
from openai import APIStatusError, AsyncOpenAI
from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import (
    AgentRunError,
    ModelAPIError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelTimeoutError,
)
from pydantic_ai.models import StreamedResponse
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider

from tidegate.agent import dialect
from tidegate.agent.model import Answer, Delta, Prompt
from tidegate.domain.run import Usage
from tidegate.errors import ModelFailed

MAX_ANSWER_CHARS = 16 << 20
CONNECT_S = 10.0
SENT_HEADERS = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type"}
    | {"host", "user-agent"}
)
NO_KEY = "none"  # the client library insists on one
CUT = "\n\n[cut off: the model reached its output limit]"

_QUOTE_CHARS = 300
# what the library raises over events that are JSON but of another shape
_STUMBLES = (AttributeError, LookupError, TypeError, ValueError)
_PROFILE = OpenAIModelProfile(
    openai_chat_streaming_requires_finish_reason=True,
    # several in a row are refused by some servers
    openai_chat_supports_multiple_system_messages=False,
)
_HINTS = {
    401: "check the key that api_key_env or api_key_file names",
    403: "check what the key may do",
    404: "check the model's name and base_url, which mostly ends in /v1",
    429: "the provider limits the rate, or the account is out of credit",
}


class Endpoint:
    """A model at an endpoint.

    Resource handling: holds one HTTP client, which takes nothing from the environment, until `aclose`.
    """

    def __init__(self, name: str, *, base_url: str, api_key: str, timeout_s: float) -> None:
        self._where = f"{name!r} at {urlsplit(base_url).netloc.rpartition('@')[2]}"
        self._api_key = api_key
        self._timeout_s = timeout_s
        timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))
        self._http = httpx2.AsyncClient(
            trust_env=False, timeout=timeout, event_hooks={"request": [_strip_headers]}
        )
        client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or NO_KEY,
            http_client=self._http,
            timeout=timeout,
            max_retries=0,
        )
        self._model = OpenAIChatModel(name, provider=OpenAIProvider(openai_client=client), profile=_PROFILE)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Ask once; see `Model.stream`."""
        request = model_request_stream(
            self._model,
            dialect.messages(prompt),
            model_request_parameters=dialect.parameters(prompt.tools),
            instrument=False,
        )
        texts: list[str] = []
        room = MAX_ANSWER_CHARS
        try:
            async with request as stream:
                async for event in stream:
                    if text := dialect.text_of(event):
                        room -= len(text)
                        self._check(room)
                        texts.append(text)
                        yield Delta(text=text)
        except (AgentRunError, httpx2.HTTPError, *_STUMBLES) as error:
            raise self._failure(error) from error
        # only now, since a caller may stop listening at the answer, and then nothing may be left open
        for piece in self._end(stream, texts):
            yield piece

    async def aclose(self) -> None:
        """Close the HTTP client and its connections."""
        await self._http.aclose()

    def _check(self, room: int) -> None:
        if room < 0:
            raise ModelFailed(f"{self._where} answered more than {MAX_ANSWER_CHARS >> 20} million characters")

    def _end(self, stream: StreamedResponse, texts: list[str]) -> Iterator[Delta | Answer]:
        """Yield the answer, after a remark if it is shorter than the model meant it."""
        if stream.finish_reason == "content_filter":
            raise ModelFailed(f"{self._where} withheld its answer: the provider's content filter")
        if stream.finish_reason == "length":
            texts.append(CUT)
            yield Delta(text=CUT)
        usage = Usage(input_tokens=stream.usage.input_tokens, output_tokens=stream.usage.output_tokens)
        yield Answer(text="".join(texts), calls=dialect.calls_of(stream.get()), usage=usage)

    def _failure(self, error: Exception) -> ModelFailed:
        match error:
            case ModelContextWindowExceededError():
                return ModelFailed(f"the conversation is too long for {self._where}{self._quote(error)}")
            case (
                ModelHTTPError(status_code=int(status))
                | ModelAPIError(__cause__=APIStatusError(status_code=int(status)))
            ):
                quote = "" if status in {401, 403} else self._quote(error)
                return ModelFailed(f"{self._where} answered {status}{quote}", hint=_HINTS.get(status, ""))
            case ModelConnectionError(phase="connect" | "pool"):
                hint = "check base_url, and that the server runs"
                return ModelFailed(f"there is no connection to {self._where}{_reason(error)}", hint=hint)
            case ModelTimeoutError():
                return ModelFailed(f"{self._where} was silent for {self._timeout_s:g} s")
            case ModelAPIError(__cause__=cause) if not isinstance(cause, ValueError):
                return ModelFailed(f"{self._where} broke off its answer{self._quote(error)}")
            case _:  # no event, no JSON, or JSON of another shape
                message = f"{self._where} does not answer as an OpenAI-compatible endpoint"
                return ModelFailed(message, hint="check base_url, which mostly ends in /v1")

    def _quote(self, error: Exception) -> str:
        """Return what the provider says about the error, short and without the key."""
        body = error.body if isinstance(error, ModelAPIError) else None
        message = body.get("message") if isinstance(body, dict) else None
        if not isinstance(message, str):
            return ""
        text = " ".join(message.split())
        safe = text.replace(self._api_key, "***") if self._api_key else text
        return f": {dialect.clean(safe[:_QUOTE_CHARS])}"


def _reason(error: BaseException) -> str:
    """Return what the network said, below the two wrappings of the library."""
    cause = error.__cause__.__cause__ if error.__cause__ else None
    return f": {cause}" if cause else ""


async def _strip_headers(request: httpx2.Request) -> None:
    """Leave out what tells about this machine, and what the library takes from its environment."""
    for name in request.headers.keys() - SENT_HEADERS:
        del request.headers[name]
