"""Tables: drawn on a terminal as wide as it is, plain and aligned everywhere else.

Rows are printed as they come, in slices, so that a long list takes no more memory than a short one; the first slice
says how wide the columns are. Nothing in a cell is taken for markup, and nothing in it can steer a terminal.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal

import click

from tidegate.cli.text import plain

SLICE = 500
GAP = "  "
LEAST_ELASTIC = 12  # places, below which a text that is cut says nothing

Side = Literal["left", "right"]
Row = Sequence[str]
Counts = Mapping[str, Mapping[str, int]]


def table(
    columns: Mapping[str, Side], rows: Iterable[Row], *, spare: Sequence[str] = (), elastic: str = ""
) -> None:
    """Print a table; a terminal that is too narrow gets it without the *spare* columns, the first ones first.

    What the column *elastic* holds is cut to the room that the others leave.
    """
    shown = ([_cell(text) for text in row] for row in rows)
    if sys.stdout.isatty():
        _drawn(columns, shown, spare, elastic)
    else:
        _aligned(columns, shown)


def count_table(counts: Counts, printed: Callable[[int], str] = str) -> None:
    """Print a number for each kind and state of sessions."""
    states = list(next(iter(counts.values())))
    rows = [
        [kind, *(printed(count) if count else "·" for count in found.values())]
        for kind, found in counts.items()
    ]
    table({"kind": "left", **dict.fromkeys(states, "right")}, rows)


def _cell(text: str) -> str:
    """Return a text that stands in one line, so that nobody can make up a row."""
    return plain(text).replace("\n", " ").replace("\t", " ")


def _aligned(columns: Mapping[str, Side], rows: Iterator[Row]) -> None:
    head = list(islice(rows, SLICE))
    widths = _widths(columns, head)
    sides = list(columns.values())
    for part in _slices([list(columns), *head], rows):
        for row in part:
            cells = (_padded(*cell) for cell in zip(row, widths, sides, strict=True))
            click.echo(GAP.join(cells).rstrip())


def _drawn(columns: Mapping[str, Side], rows: Iterator[Row], spare: Sequence[str], elastic: str) -> None:
    from rich.console import Console  # noqa: PLC0415 - only tables on a terminal need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    names, head = list(columns), list(islice(rows, SLICE))
    widths = dict(zip(names, _widths(columns, head), strict=True))
    whole = widths.get(elastic, 0)
    if elastic:
        widths[elastic] = min(whole, LEAST_ELASTIC)
    kept = _fitting(widths, spare, console.width)
    fits = _total(kept, widths) <= console.width
    if elastic in kept:
        widths[elastic] = min(whole, widths[elastic] + max(0, console.width - _total(kept, widths)))
    for number, part in enumerate(_slices(head, rows)):
        shown = Table(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), show_header=number == 0)
        for name in kept:
            shown.add_column(
                name,
                justify=columns[name],
                overflow="ellipsis" if name == elastic else "fold",
                no_wrap=name == elastic,
                min_width=widths[name] if fits else 1,
                max_width=widths[name] if name == elastic else None,
            )
        for row in part:
            cells = dict(zip(names, row, strict=True))
            shown.add_row(*(Text(cells[name]) for name in kept))
        console.print(shown)


def _fitting(widths: Mapping[str, int], spare: Sequence[str], width: int) -> list[str]:
    """Return the columns that are shown side by side."""
    kept = list(widths)
    for name in spare:
        if _total(kept, widths) <= width:
            break
        kept.remove(name)
    return kept


def _total(names: Sequence[str], widths: Mapping[str, int]) -> int:
    return sum(widths[name] for name in names) + len(GAP) * len(names)


def _slices(head: Sequence[Row], rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    part = head
    while part or head is part:
        yield part
        part = list(islice(rows, SLICE))


def _widths(columns: Mapping[str, Side], rows: Sequence[Row]) -> list[int]:
    return [max(map(_width, cells)) for cells in zip(columns, *rows, strict=True)]


def _padded(cell: str, width: int, side: Side) -> str:
    gap = " " * (width - _width(cell))
    return cell + gap if side == "left" else gap + cell


def _width(cell: str) -> int:
    """Return how many places of a terminal a cell takes."""
    if cell.isascii():
        return len(cell)
    from rich.cells import cell_len  # noqa: PLC0415 - most cells are ASCII

    return cell_len(cell)
