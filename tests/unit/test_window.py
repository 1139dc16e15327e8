import asyncio

import pytest

from tidegate.agent.window import KEEP_MS, MOST_MODELS, Windows, said
from tidegate.bounded import Registry
from tidegate.clock import ManualClock

# what providers say; from their documentation and from public bug reports
REFUSALS = [
    ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.", 8_192),
    (
        "This endpoint's maximum context length is 131,072 tokens. However, you requested about 140000",
        131_072,
    ),
    ("prompt is too long: 213462 tokens > 200000 maximum", 200_000),
    ("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease", 200_000),
    ("The request exceeds the available context size (4096 tokens), try increasing it", 4_096),
    ("This model's maximum prompt length is 131072 but the request contains 140000 tokens.", 131_072),
    ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", 1_048_576),
    ("40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", 32_768),
    ("The model is loaded with context length of only 4096 tokens, which is not enough", 4_096),
    ("tokens to keep is greater than the context length (n_keep: 5000 >= n_ctx: 4096)", 4_096),
    ("Please reduce the length of the messages or completion.", None),
    ("maximum context length is 3 tokens", None),
    ("maximum context length is 99999999999999999999 tokens", None),
]


class Memory:
    """What is kept over restarts."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.clock = ManualClock()

    async def keep(self, text: str) -> None:
        """Keep it."""
        self.text = text

    def windows(self) -> Windows:
        """Return what is known after a start."""
        return Windows(self.clock, Registry(), self.text, self.keep)


@pytest.mark.parametrize(("words", "window"), REFUSALS)
def test_a_refusal_names_the_window(words: str, window: int | None) -> None:
    """The number that is the window is found, and none that cannot be one."""
    assert said(words) == window


def test_it_is_remembered_for_a_week() -> None:
    """It holds over a restart, the latest word counts, and after a week it is tried again."""
    memory = Memory()
    windows = memory.windows()
    asyncio.run(windows.learn("m", 8_192))
    asyncio.run(windows.learn("m", 4_096))
    assert memory.windows().of("m") == 4_096
    assert [one["tokens"] for one in memory.windows().report()] == [4_096]
    memory.clock.advance(KEEP_MS)
    assert memory.windows().of("m") is None
    assert memory.windows().report() == []


@pytest.mark.parametrize("kept", ["", "{", "[1]", '{"m": "4096"}'])
def test_what_is_damaged_is_forgotten(kept: str) -> None:
    """It will be said again."""
    memory = Memory()
    memory.text = kept
    assert memory.windows().of("m") is None


def test_they_are_bounded() -> None:
    """A provider with a thousand models takes no more room than another."""
    memory = Memory()
    windows = memory.windows()
    for number in range(2 * MOST_MODELS):
        asyncio.run(windows.learn(f"m{number}", 4_096))
    assert len(windows.report()) == MOST_MODELS
    assert windows.of("m0") is None
