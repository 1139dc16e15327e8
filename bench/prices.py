"""Writes the table of prices anew, from the data of `genai-prices`, which comes with the extra `models`.

    python bench/prices.py > src/tidegate/prices.toml

Only models that read and write text, at the base price of those that have tiers; look at the difference before you
commit it.
"""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, time
from importlib.metadata import version
from typing import Any

from genai_prices import data

#: the presets whose prices are kept, and what `genai-prices` calls them
PROVIDERS = {
    "anthropic": "anthropic",
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "google": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "openai": "openai",
    "together": "together",
    "xai": "x-ai",
}
DATED = re.compile(r"(-\d{4}-\d{2}-\d{2}|-\d{8}|-latest)$")
NAME = re.compile(r"[\w./:-]{1,128}")
OTHER = re.compile(
    r"audio|image|realtime|tts|transcribe|whisper|embed|moderation|live|ocr|voxtral|veo|imagen|^ft:"
)

HEAD = """\
# What models cost, in US dollars for a million tokens: [input, output, input read from a cache, input written to one].
# As of {day}, from genai-prices {version}; `python bench/prices.py` writes it anew.
# A name stands for itself, and for itself with a date behind it. Prices that rise with the length are the lowest ones.
as_of = "{day}"
"""


def main() -> None:
    """Print the table."""
    today = datetime.now(UTC).date()
    noon = datetime.combine(today, time(12), UTC)  # some are cheaper at night
    out = sys.stdout
    out.write(HEAD.format(day=today.isoformat(), version=version("genai-prices")))
    for preset, provider in PROVIDERS.items():
        out.write(f"\n[prices.{preset}]\n")
        found: dict[str, list[float]] = {}
        for model in next(one for one in data.providers if one.id == provider).models:
            price = _price(model, noon)
            for name in sorted({model.id, *_names(model.match)}) if price else ():
                if NAME.fullmatch(name) and not OTHER.search(name):
                    found.setdefault(name.lower(), price)
        for name, price in sorted(found.items()):
            if found.get(DATED.sub("", name)) != price or not DATED.search(name):
                out.write(f'"{name}" = {price}\n')


def _names(clause: Any) -> Iterator[str]:
    if hasattr(clause, "or_"):
        for part in clause.or_:
            yield from _names(part)
    for kind in ("equals", "starts_with"):
        name = getattr(clause, kind, None)
        if name:
            yield name.removesuffix("-")


def _price(model: Any, now: datetime) -> list[float]:
    price = model.get_prices(now)
    read, wrote = _base(price.input_mtok), _base(price.output_mtok)
    if read is None or wrote is None:
        return []
    cached, written = _base(price.cache_read_mtok), _base(price.cache_write_mtok)
    return [read, wrote, read if cached is None else cached, read if written is None else written]


def _base(price: Any) -> float | None:
    return None if price is None else float(getattr(price, "base", price))


if __name__ == "__main__":
    main()
