"""A model behind any endpoint whose dialect the library speaks.

The library takes two seconds of CPU to import and tens of megabytes, so it is imported by the first prompt, in a
worker thread, and of it only what the dialect needs; a gateway that only knows the offline model never pays for it.
What the library wants and what it says is the business of ``endpoint`` and what that imports, which nothing else does.
"""

import asyncio
import gc
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

import anyio.to_thread

from tidegate.agent.model import Answer, Delta, Prompt
from tidegate.agent.target import Target
from tidegate.agent.window import Windows
from tidegate.errors import ContextOverflow, ModelFailed
from tidegate.extras import how_to_install

if TYPE_CHECKING:
    from tidegate.agent.endpoint import Endpoint


class RemoteModel:
    """The model at a target; what its provider says of its window is learnt.

    Resource handling: it holds one HTTP client from the first prompt on, until `aclose`.

    Raises:
        ConfigError: The target has no usable address.
    """

    def __init__(self, target: Target, windows: Windows | None = None) -> None:
        target.check()
        self._target = target
        self._windows = windows
        self._endpoint: Endpoint | None = None
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        """What usage is counted under."""
        return self._target.name

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Yield any number of deltas, then exactly one answer; see `Model.stream`.

        Raises:
            ModelFailed: The endpoint refused, was silent, broke off or answered nonsense; or the library is
                missing.

        Cancellation: closes the connection at once, as closing this iterator does.
        """
        endpoint = await self._open()
        try:
            async with aclosing(endpoint.stream(prompt)) as pieces:
                async for piece in pieces:
                    yield piece
        except ContextOverflow as error:
            if error.window is not None and self._windows is not None:
                await self._windows.learn(self._target.where, error.window)
            raise

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
            with _no_collection():
                from tidegate.agent.endpoint import Endpoint  # noqa: PLC0415 - see the head of this file

                endpoint = Endpoint(self._target)
        except ImportError as error:
            message = "the library that speaks to models is not installed"
            raise ModelFailed(message, hint=how_to_install("models")) from error
        gc.freeze()  # the library stays; its objects, twice as many as the gateway's own, are not looked at again
        return endpoint


@contextmanager
def _no_collection() -> Iterator[None]:
    """Look for no garbage meanwhile: an import leaves little, and a quarter of its time would go into looking."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
