"""What an answer of a model costs. Pure.

Money is whole micro-dollars; a price in dollars for a million tokens is so many micro-dollars for one.
"""

import msgspec

from tidegate.domain.run import Usage

#: more than any model reads or writes at once; what a provider tells beyond it is not believed
MAX_TOKENS = 1_000_000_000


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs, in dollars for a million tokens."""

    input: float
    output: float
    #: read from a cache of the provider's, and written to it; both are part of the input
    cached_input: float
    cache_write: float


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says that an answer took; the cached ones are part of those that were read."""

    read: int = 0
    written: int = 0
    cached: int = 0
    cache_written: int = 0


FREE = Price(input=0.0, output=0.0, cached_input=0.0, cache_write=0.0)


def usage(tokens: Tokens, price: Price | None) -> Usage:
    """Return the usage of one answer with its cost; without a price, or without any tokens told, it has none."""
    read, written = _sane(tokens.read), _sane(tokens.written)
    cached = min(_sane(tokens.cached), read)
    free = Usage(input_tokens=read, output_tokens=written, cached_tokens=cached)
    if price == FREE:
        return free
    if price is None or not (read or written):
        return msgspec.structs.replace(free, unpriced=1)
    cache_written = min(_sane(tokens.cache_written), read - cached)
    cost = (
        (read - cached - cache_written) * price.input
        + cached * price.cached_input
        + cache_written * price.cache_write
        + written * price.output
    )
    return msgspec.structs.replace(free, micros=round(cost))


def _sane(count: int) -> int:
    return max(0, min(count, MAX_TOKENS))
