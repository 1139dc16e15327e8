"""A model behind any OpenAI-compatible endpoint.

The library that speaks to it takes two seconds of CPU to import and tens of megabytes, so it is imported by
the first prompt, in a worker thread; a gateway that only knows the offline model never pays for it. What the
library wants and what it says is the business of ``endpoint`` and ``dialect``, which nothing else imports.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio.to_thread

from tidegate.agent.model import Answer, Delta, Prompt
from tidegate.errors import ConfigError, ModelFailed

if TYPE_CHECKING:
    from tidegate.agent.endpoint import Endpoint


class RemoteModel:
    """A model with a name at an endpoint; *timeout_s* is how long the endpoint may be silent.

    Resource handling: it holds one HTTP client from the first prompt on, until `aclose`.

    Raises:
        ConfigError: *base_url* is no HTTP URL.
    """

    def __init__(self, name: str, *, base_url: str, api_key: str = "", timeout_s: float = 120.0) -> None:
        self._name = name
        self._base_url = _http_url(base_url)
        self._api_key = api_key.strip()
        self._timeout_s = timeout_s
        self._endpoint: Endpoint | None = None
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        """What usage is counted under: the provider's name for the model."""
        return self._name

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Yield any number of deltas, then exactly one answer.

        Raises:
            ModelFailed: The endpoint refused, was silent, broke off or answered nonsense; or the library is
                missing.

        Cancellation: closes the connection at once, as closing this iterator does.
        """
        endpoint = await self._open()
        async with aclosing(endpoint.stream(prompt)) as pieces:
            async for piece in pieces:
                yield piece

    async def aclose(self) -> None:
        """Close the HTTP client. Idempotent."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            await endpoint.aclose()

    async def _open(self) -> "Endpoint":
        async with self._opening:
            if self._endpoint is None:
                self._endpoint = await anyio.to_thread.run_sync(self._import)
            return self._endpoint

    def _import(self) -> "Endpoint":
        try:
            from tidegate.agent.endpoint import Endpoint  # noqa: PLC0415 - see the head of this file
        except ImportError as error:
            message = "the library that speaks to models is not installed"
            raise ModelFailed(message, hint='pip install "tidegate[models]"') from error
        return Endpoint(self._name, base_url=self._base_url, api_key=self._api_key, timeout_s=self._timeout_s)


def _http_url(text: str) -> str:
    try:
        url = urlsplit(text)
        is_usable = (
            url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0 and " " not in text
        )
    except ValueError:  # of the port
        is_usable = False
    if not is_usable:
        # it may hold a password, so it is not shown
        raise ConfigError(
            "the base_url of the model is no URL", hint='write for example "http://127.0.0.1:11434/v1"'
        )
    return text
