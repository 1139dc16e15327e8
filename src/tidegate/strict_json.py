"""JSON that every parser reads alike (RFC 8259, sections 4, 8 and 9), within bounds that hold before anything is built.

It is UTF-8 without NaN, keys that stand twice in an object, or halves of surrogate pairs: what one parser reads one
way and another one another way is refused. A short text can hold a million values, each of which costs a hundred
times its length; so values and levels are counted first, in one pass that stops where there are too many.
"""

import json
import re
from collections.abc import Sequence
from typing import NoReturn

MAX_DEPTH = 64
MAX_VALUES = 50_000
MAX_NUMBER_CHARS = 1_000  # reading a number takes the square of its length
#: a longer text takes more than 20 ms at worst, so it is read on a thread
MAX_LOOP_BYTES = 32 << 10

# A string, what stands between two strings, or a quotation mark that opens a string without an end.
_PIECE = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^"]++|"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")


class NotStrict(ValueError):
    """It is not JSON as everybody reads it; the message is the end of a sentence."""


class HalfPair(NotStrict):
    """A text in it holds half a surrogate pair."""


def read(data: bytes) -> object:
    """Return the value that is written there.

    Raises:
        NotStrict: It is not strict JSON, or above a bound.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise NotStrict(f"is not UTF-8: byte {error.start + 1}") from None
    count(text, MAX_VALUES)
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise NotStrict(f"is not JSON: {error.msg} at {place}") from None
    if "\\u" in text:
        _check_pairs(value)
    return value


def unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Return the members of an object, in steps that grow with their number alone.

    Raises:
        NotStrict: A key stands twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise NotStrict(f"does not fit: the key {name[:80]!r} stands twice in one object")
            seen.add(name)
    return found


def count(text: str, max_values: int) -> int:
    """Return how many values a text holds at most; counting ends where it meets what is no JSON, as reading will.

    Raises:
        NotStrict: There are more, or more levels than `MAX_DEPTH`.
    """
    values, strings, depth = 1, 0, 0
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece[0] == '"':
            strings += 1
            if piece == '"' or strings > 2 * max_values:  # each is a value, or the key of one
                break
            continue
        values += piece.count(",") + piece.count("[") + piece.count("{")
        if values > max_values:
            raise NotStrict(f"holds more than {max_values:,} values")
        for bracket in _BRACKETS.finditer(piece):
            depth += 1 if bracket[0] in "[{" else -1
            if depth > MAX_DEPTH:
                raise NotStrict(f"is nested deeper than {MAX_DEPTH} levels")
            if depth < 0:
                return values
    return values


def _check_pairs(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise HalfPair("holds half a surrogate pair") from None


def _constant(name: str) -> NoReturn:
    raise NotStrict(f"does not fit: {name} is not JSON")


def _integer(text: str) -> int:
    return int(_short(text))


def _fraction(text: str) -> float:
    return float(_short(text))


def _short(text: str) -> str:
    if len(text) > MAX_NUMBER_CHARS:
        raise NotStrict(f"does not fit: a number has more than {MAX_NUMBER_CHARS:,} characters")
    return text


_decoder = json.JSONDecoder(
    object_pairs_hook=unique, parse_constant=_constant, parse_int=_integer, parse_float=_fraction
)
