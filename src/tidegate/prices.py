"""Finds what a model costs: what the configuration says, else the list that comes with this release.

The list is by provider. A model of one's own machine is free. A model behind a router is priced as its maker prices it,
and so is one at an address of one's own, where its name is one of the provider's that is spoken to: it is better to
count a likely price than none. What is in no list has no price, and its answers are counted as such.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import cast

from tidegate.config.source import Source
from tidegate.config.tree import ModelPrice
from tidegate.domain.price import FREE, Price

FILE = Path(__file__).parent / "prices.toml"
#: presets of one's own machine
LOCAL = frozenset({"ollama", "lmstudio", "llamacpp", "vllm"})
ROUTER = "openrouter"
#: makers as a router calls them, and the preset that has their prices
MAKERS = {"mistralai": "mistral", "moonshotai": "moonshot", "x-ai": "xai"}

_DATE = re.compile(r"(-\d{4}-\d{2}-\d{2}|-\d{8}|-latest)$")


def price_of(own: Mapping[str, ModelPrice], source: Source) -> Price | None:
    """Return what the model of a source costs; None is not known.

    *own* prices are by the name that the configuration gives the model, ``PROVIDER/MODEL`` or ``MODEL``.
    """
    mine = own.get(source.name) or own.get(source.model)
    if mine is not None:
        return Price(
            input=mine.input,
            output=mine.output,
            cached_input=mine.input if mine.cached_input is None else mine.cached_input,
            cache_write=mine.input if mine.cache_write is None else mine.cache_write,
        )
    if source.is_offline or source.type in LOCAL:
        return FREE
    return listed(source.type, source.model)


def listed(preset: str, model: str) -> Price | None:
    """Return what the list says of a model of a preset."""
    maker, slash, name = model.partition("/")
    if preset == ROUTER and slash:
        if name.endswith(":free"):
            return FREE
        preset, model = MAKERS.get(maker, maker), name
    found, name = _list().get(preset, {}), model.lower()
    values = found.get(name) or found.get(_DATE.sub("", name))
    if values is None:
        return None
    read, wrote, cached, cache_written = values
    return Price(input=read, output=wrote, cached_input=cached, cache_write=cache_written)


def as_of() -> str:
    """Return the day of the list."""
    return str(_document()["as_of"])


def _list() -> Mapping[str, Mapping[str, list[float]]]:
    return cast("Mapping[str, Mapping[str, list[float]]]", _document()["prices"])


@lru_cache(maxsize=1)
def _document() -> dict[str, object]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))
