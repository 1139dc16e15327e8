"""Charts on a terminal: columns of eighths of a character, or ASCII where the terminal cannot show those.

A chart is text alone, so that it can be printed, watched and compared. Where the gateway was started anew a line stands
between the columns: what is left of it was another process.
"""

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " .:-=+*%#"
RESTART = ("┊", "|")
AXIS = ("┤", "|")
HEIGHT = 8


class Column(NamedTuple):
    """One point of a chart: what it was, and in which life of the gateway."""

    value: float
    boot: int


class Style(NamedTuple):
    """What the terminal can show."""

    marks: str
    restart: str
    axis: str


def style_of(encoding: str | None) -> Style:
    """Return how charts look in an encoding."""
    try:
        (BLOCKS + RESTART[0] + AXIS[0]).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return Style(ASCII, RESTART[1], AXIS[1])
    return Style(BLOCKS, RESTART[0], AXIS[0])


def style() -> Style:
    """Return how charts look on standard output."""
    return style_of(sys.stdout.encoding)


def fitted(columns: Sequence[Column], width: int) -> list[Column | None]:
    """Return at most *width* columns, each the most of its part, and None where a new life begins."""
    size = max(1, -(-len(columns) // max(1, width - _restarts(columns))))
    shown: list[Column | None] = []
    part: list[Column] = []
    for column in columns:
        if part and (len(part) == size or column.boot != part[-1].boot):
            shown.append(max(part))
            if column.boot != part[-1].boot:
                shown.append(None)
            part = []
        part.append(column)
    if part:
        shown.append(max(part))
    return shown[-width:]


def line(columns: Sequence[Column], width: int, drawn: Style) -> str:
    """Return a chart of one line, from its own least value to its most."""
    return _rows(fitted(columns, width), 1, drawn)[0]


def chart(columns: Sequence[Column], width: int, printed: Callable[[float], str], drawn: Style) -> list[str]:
    """Return a chart of `HEIGHT` lines with a scale on its left."""
    if not columns:
        return ["(nothing yet)"]
    values = [column.value for column in columns]
    low, high = min(values), max(values)
    labels = {0: printed(high), HEIGHT - 1: printed(low)}
    margin = max(map(len, labels.values()))
    rows = _rows(fitted(columns, width - margin - 2), HEIGHT, drawn)
    return [f"{labels.get(number, ''):>{margin}} {drawn.axis}{row}" for number, row in enumerate(rows)]


def _restarts(columns: Sequence[Column]) -> int:
    return sum(before.boot != after.boot for before, after in pairwise(columns))


def _rows(columns: Sequence[Column | None], height: int, drawn: Style) -> list[str]:
    values = [column.value for column in columns if column is not None]
    low, high = min(values, default=0), max(values, default=0)
    steps = len(drawn.marks) - 1
    scale = (height * steps - 1) / (high - low) if high > low else 0.0
    filled = [None if column is None else 1 + round((column.value - low) * scale) for column in columns]
    return ["".join(_mark(fill, row, drawn) for fill in filled) for row in range(height - 1, -1, -1)]


def _mark(fill: int | None, row: int, drawn: Style) -> str:
    steps = len(drawn.marks) - 1
    return drawn.restart if fill is None else drawn.marks[min(steps, max(0, fill - row * steps))]
