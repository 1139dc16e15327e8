"""Asks again what is busy, and another model where one fails; as long as nobody has heard anything of an answer."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from tidegate import log
from tidegate.agent.model import Answer, Delta, Model, Prompt
from tidegate.errors import ContextOverflow, ModelBusy, ModelFailed, ModelLimited

TRIES = 4  # of one model
FIRST_PAUSE_S = 0.5  # doubled with each try, less up to a half by chance
MAX_PAUSE_S = 60.0  # who asks for more is not waited for

_log = log.get("model")


class FallbackModel:
    """Models of which the first one that answers is heard.

    Usage counts for the one that answered. After the first delta nothing is repeated: it would be said twice. A
    conversation that is too long is told at once, since it is for the caller to shorten it. The run's deadline ends
    the waiting, since it cancels it.
    """

    def __init__(
        self,
        models: Sequence[Model],
        *,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._models = models
        self._wait = wait
        self._chance = chance

    @property
    def name(self) -> str:
        """The name of the first one."""
        return self._models[0].name

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Yield any number of deltas, then exactly one answer; see `Model.stream`."""
        failures: list[ModelFailed] = []
        for model in self._models:
            for attempt in range(TRIES):
                is_heard = False
                try:
                    async with aclosing(model.stream(prompt)) as pieces:
                        async for piece in pieces:
                            is_heard = True
                            yield piece
                except ContextOverflow:
                    raise
                except ModelFailed as error:
                    if is_heard:
                        raise
                    failure = error
                else:
                    return
                pause_s = self._pause_s(failure, attempt)
                _log.warning("model_failed", model=model.name, error=failure.message, again_in_s=pause_s)
                if pause_s is None:
                    break
                await self._wait(pause_s)
            failures.append(failure)
        raise _all(failures)

    def _pause_s(self, failure: ModelFailed, attempt: int) -> float | None:
        """Return how long to wait before the next try; None where there is none."""
        if not isinstance(failure, ModelBusy) or attempt + 1 == TRIES:
            return None
        if failure.retry_after_s is not None:
            return failure.retry_after_s if failure.retry_after_s <= MAX_PAUSE_S else None
        return FIRST_PAUSE_S * float(2**attempt) * (1 - self._chance() / 2)


def _all(failures: Sequence[ModelFailed]) -> ModelFailed:
    """Return one failure that tells of all."""
    if len(failures) == 1:
        return failures[0]
    message = "; ".join(failure.message for failure in failures)
    hint = next((failure.hint for failure in failures if failure.hint), "")
    pauses = [failure.retry_after_s or 0.0 for failure in failures if isinstance(failure, ModelBusy)]
    if len(pauses) == len(failures):
        is_limited = all(isinstance(failure, ModelLimited) for failure in failures)
        kind = ModelLimited if is_limited else ModelBusy
        return kind(message, hint=hint, retry_after_s=min(pauses) or None)
    return ModelFailed(message, hint=hint)
