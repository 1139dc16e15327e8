from pathlib import Path

import pytest

from tidegate.config import Config, ModelPrice, read
from tidegate.config.source import sources
from tidegate.domain.price import FREE, MAX_TOKENS, Price, Tokens, usage
from tidegate.domain.run import Usage
from tidegate.errors import ConfigError
from tidegate.prices import as_of, listed, price_of

PRICE = Price(input=2.0, output=8.0, cached_input=0.5, cache_write=2.5)


def written(tmp_path: Path, text: str) -> Config:
    """Return a configuration as it is read from a file."""
    path = tmp_path / "tidegate.toml"
    path.write_text(text)
    return read(path)


def first(config: Config) -> Price | None:
    """Return what the model of the first agent costs."""
    return price_of(config.prices, sources(config, config.agents["main"])[0])


@pytest.mark.parametrize(
    ("tokens", "micros"),
    [
        (Tokens(read=1_000, written=100), 2_800),
        (Tokens(read=1_000, written=100, cached=600), 0.4 * 2_000 + 300 + 800),
        (Tokens(read=1_000, written=0, cached=600, cache_written=400), 300 + 1_000),
        (Tokens(read=10, written=0, cached=600, cache_written=400), 5),
        (Tokens(read=1, written=-5), 2),
        (Tokens(read=10**30, written=10**30), MAX_TOKENS * 10),
    ],
)
def test_what_an_answer_costs(tokens: Tokens, micros: int) -> None:
    """What was read, read from a cache, written to one and written: each at its price, never more than was told."""
    found = usage(tokens, PRICE)

    assert (micros, 0) == (found.micros, found.unpriced)
    assert 0 <= found.input_tokens <= MAX_TOKENS
    assert 0 <= found.output_tokens <= MAX_TOKENS


def test_what_nobody_knows() -> None:
    """Without a price, or without a word on tokens, an answer counts as unpriced; what is free is not."""
    assert Usage(input_tokens=3, output_tokens=1, unpriced=1) == usage(Tokens(read=3, written=1), None)
    assert Usage(unpriced=1) == usage(Tokens(), PRICE)
    assert Usage() == usage(Tokens(), FREE)


@pytest.mark.parametrize(
    ("preset", "model", "same_as"),
    [
        ("openai", "gpt-5-mini-2025-08-07", "gpt-5-mini"),
        ("openai", "GPT-5-mini", "gpt-5-mini"),
        ("openrouter", "openai/gpt-5-mini", "gpt-5-mini"),
    ],
)
def test_names_of_the_list(preset: str, model: str, same_as: str) -> None:
    """A date behind a name, its case and a router before it change nothing."""
    assert listed("openai", same_as) is not None
    assert listed("openai", same_as) == listed(preset, model)


@pytest.mark.parametrize(
    ("preset", "model"),
    [
        ("openai", "gpt-5-minimal"),
        ("openai", "as_of"),
        ("as_of", "2"),
        ("nobody", "gpt-5"),
        ("openrouter", "gpt-5-mini"),
        ("openrouter", "as_of/2"),
    ],
)
def test_what_is_in_no_list(preset: str, model: str) -> None:
    """A name that only looks like one in the list has no price."""
    assert listed(preset, model) is None


def test_the_list_is_sound() -> None:
    """Every entry is a price, and its day is told."""
    assert len(as_of()) == len("2026-11-21")
    assert listed("openrouter", "somebody/model:free") == FREE
    assert listed("anthropic", "claude-sonnet-4-5") == Price(
        input=3.0, output=15.0, cached_input=0.3, cache_write=3.75
    )


def test_whose_price_counts(tmp_path: Path) -> None:
    """The configuration's price comes before the list's; a model of one's own machine is free, and so is offline."""
    openai = '[model]\nprovider = "openai"\nname = "gpt-5-mini"\n'
    own = '[prices."gpt-5-mini"]\ninput = 1\noutput = 2.5\n'

    assert first(Config()) == FREE
    assert first(written(tmp_path, openai)) == listed("openai", "gpt-5-mini")
    assert first(written(tmp_path, openai + own)) == Price(input=1, output=2.5, cached_input=1, cache_write=1)
    assert first(written(tmp_path, '[model]\nprovider = "ollama"\nname = "qwen"\n')) == FREE
    assert first(written(tmp_path, openai.replace("gpt-5-mini", "my-own"))) is None


def test_a_price_by_provider(tmp_path: Path) -> None:
    """An agent's `PROVIDER/MODEL` is priced under that name, or under the model's alone."""
    text = """
[providers.box]
base_url = "http://127.0.0.1:1/v1"
[agents.main]
model = "box/tiny"
"""
    for name in ("box/tiny", "tiny"):
        config = written(tmp_path, f'{text}[prices."{name}"]\ninput = 1\noutput = 2\ncached_input = 0.5\n')
        assert first(config) == Price(input=1, output=2, cached_input=0.5, cache_write=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[prices."m"]\ninput = 1\n', "output is missing"),
        ('[prices."m"]\ninptu = 1\noutput = 1\n', "inptu: there is no such key here"),
        ('[prices."m"]\ninput = -1\noutput = 1\n', "must be at least 0"),
        ('[prices."m"]\ninput = nan\noutput = 1\n', "no number of dollars"),
        ('[prices."m"]\ninput = "1"\noutput = 1\n', "expected a number"),
        ("[prices.gpt.five]\ninput = 1\noutput = 1\n", "no price"),
        ('[prices."m"]\ninput = 1\noutput = 1\nspeed = 1\n', "there is no such key"),
        ("[limits]\nspend = 0\n", "must be more than 0"),
        ("[limits]\nspend = -1\n", "expected a number of dollars"),
        ('[limits]\nspend = "5 EUR"\n', "expected a number of dollars"),
        ("[limits]\nspend = true\n", "expected a number of dollars"),
        ("[limits]\nspend = nan\n", "expected a number of dollars"),
        ("[limits]\nspend = 1e3\n", ""),
        ('[alerts]\nwebhook = "nobody"\n', "there is no webhook"),
        ('[alerts]\nchat = "a b"\n', "session key"),
        ("[alerts]\nweekly = true\n", "it is not said who is told"),
    ],
)
def test_what_makes_no_sense(tmp_path: Path, text: str, said: str) -> None:
    """Each mistake stops the start, with its line and what to do."""
    if not said:
        assert written(tmp_path, text).limits.spend_micros == 1_000_000_000
        return
    with pytest.raises(ConfigError) as error:
        written(tmp_path, text)
    assert said in str(error.value)
    assert "tidegate.toml:" in str(error.value)


def test_defaults_of_a_price() -> None:
    """What is cached costs as much as what is not, where nothing else is said."""
    assert (None, None) == (ModelPrice().cached_input, ModelPrice().cache_write)
