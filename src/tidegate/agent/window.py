"""How many tokens models take, as their providers have said in refusing more; what is configured may be more than that.

Learnt windows are remembered over restarts. One counts for a week, since a server may be started with a larger window
at any time, which no refusal would tell; then a longer prompt is tried again.
"""

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from tidegate.bounded import Registry
from tidegate.clock import DAY_MS, Clock, iso
from tidegate.errors import Unavailable

KEEP_MS = 7 * DAY_MS
MOST_MODELS = 256
LEAST_TOKENS, MOST_TOKENS = 256, 100_000_000  # any other number is none of a window

# Where a window stands in the words of a refusal. Sources: OpenAI, vLLM, DeepSeek, OpenRouter ("maximum context length
# is 8192 tokens"); Mistral ("too large for model with 32768 maximum context length"); Anthropic ("213462 tokens >
# 200000 maximum", "188240 + 21333 > 200000"); xAI ("maximum prompt length is 131072"); Google ("exceeds the maximum
# number of tokens allowed (1048576)"); llama.cpp ("available context size (4096 tokens)"); LM Studio ("n_ctx: 4096").
_NUMBER = r"(\d{1,3}(?:,\d{3})+|\d+)"
_WORDS = re.compile(
    rf"(?:maximum (?:context|prompt|input) length (?:is|of) |(?:tokens|\+ \d+) > |tokens allowed \("
    rf"|context size \(|context length of (?:only )?|\bn_ctx\W{{1,4}}){_NUMBER}|{_NUMBER} maximum context length",
    re.IGNORECASE,
)


class Learnt(NamedTuple):
    """A window, in tokens, and when it was said."""

    tokens: int
    at: int


class Windows:
    """What is known of the windows of models, by where they are (`Target.where`).

    Args:
        clock: What a week is measured by.
        registry: Where their number is shown.
        kept: What `keep` was given last.
        keep: Remembers them over restarts.
    """

    def __init__(
        self, clock: Clock, registry: Registry, kept: str | None, keep: Callable[[str], Awaitable[None]]
    ) -> None:
        self._clock = clock
        self._keep = keep
        self._learnt: dict[str, Learnt] = {}
        with suppress(msgspec.MsgspecError):  # another version's, or damaged: it will be said again
            self._learnt = msgspec.json.decode(kept or "{}", type=dict[str, Learnt])
        registry.add(
            "learnt_windows", lambda: len(self._learnt), MOST_MODELS, when_full="the oldest is forgotten"
        )

    def of(self, model: str) -> int | None:
        """Return the window of a model, in tokens; None where its provider has not said it lately."""
        learnt = self._learnt.get(model)
        return learnt.tokens if learnt and learnt.at > self._clock.now() - KEEP_MS else None

    def report(self) -> list[dict[str, object]]:
        """Return what counts now, the oldest first."""
        return [
            {"model": model, "tokens": learnt.tokens, "said_at": iso(learnt.at)}
            for model, learnt in self._learnt.items()
            if self.of(model) is not None
        ]

    async def learn(self, model: str, tokens: int) -> None:
        """Remember what a provider has said."""
        if self.of(model) == tokens:
            return
        self._learnt.pop(model, None)
        while len(self._learnt) >= MOST_MODELS:
            del self._learnt[next(iter(self._learnt))]
        self._learnt[model] = Learnt(tokens, self._clock.now())
        with suppress(Unavailable):  # after a restart it is said again
            await self._keep(msgspec.json.encode(self._learnt).decode())


def said(words: str) -> int | None:
    """Return the window that a refusal names, in tokens; None where it names none."""
    found = _WORDS.search(words)
    number = int((found[1] or found[2]).replace(",", "")) if found else 0
    return number if LEAST_TOKENS <= number <= MOST_TOKENS else None
