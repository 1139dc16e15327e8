"""``tidegate growth explain``: what grew since when, and what weighs most."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

import click

from tidegate.cli.client import TIMEOUT_S, Client
from tidegate.cli.options import json_option, state_option
from tidegate.cli.table import Side, table
from tidegate.cli.text import plain
from tidegate.units import print_size

TRACE_S = 60
TABLES = 10


class Session(TypedDict):
    """A heavy session."""

    key: str
    kind: str
    state: str
    entries: int
    bytes: int


class Job(TypedDict):
    """A heavy job."""

    name: str
    sessions: int
    firings: int
    bytes: int


class Skill(TypedDict):
    """A heavy skill."""

    name: str
    versions: int
    bytes: int


class Largest(TypedDict):
    """What weighs most."""

    sessions: Sequence[Session]
    jobs: Sequence[Job]
    skills: Sequence[Skill]
    looked_at: int
    is_all: bool


class Table(TypedDict):
    """A table of the store."""

    name: str
    rows: int
    bytes: int | None


class Line(TypedDict):
    """A line of Python."""

    place: str
    blocks: int
    bytes: int


class Allocations(TypedDict):
    """What was allocated in a while and stayed."""

    seconds: float
    is_cut: bool
    bytes: int
    blocks: int
    lines: Sequence[Line]
    trace_bytes: int
    cost: str


class Explanation(TypedDict):
    """What the gateway answers, as far as people see it."""

    text: Sequence[str]
    largest: Largest
    tables: Sequence[Table]
    allocations: Allocations | None


@click.command()
@click.option("--since", metavar="TIME", default="1h", show_default=True, help="How far back: 30m, 7d.")
@click.option(
    "--allocations", is_flag=True, help=f"Trace Python's allocations for {TRACE_S} s first; that costs."
)
@state_option
@json_option
def explain(state: Path | None, since: str, *, allocations: bool, as_json: bool) -> None:
    """Say what grew since when, and which setting would change it."""
    client = Client(state, TIMEOUT_S + TRACE_S)
    if allocations:
        click.echo(f"tracing for {TRACE_S} s", err=True)
    trace = f"{TRACE_S}s" if allocations else None
    found = client.get("/api/growth/explain", since=since, allocations=trace)
    if as_json:
        click.echo(json.dumps(found))
    else:
        _show(cast("Explanation", found))


def _show(found: Explanation) -> None:
    for text in found["text"]:
        click.echo(plain(text))
    largest = found["largest"]
    looked = "" if largest["is_all"] else f" of the newest {largest['looked_at']:,}"
    _section(f"largest sessions{looked}", ("key", "kind", "state", "entries", "bytes"), largest["sessions"])
    _section(f"largest jobs{looked}", ("name", "sessions", "firings", "bytes"), largest["jobs"])
    _section("largest skills", ("name", "versions", "bytes"), largest["skills"])
    _section("tables", ("name", "rows", "bytes"), found["tables"][:TABLES])
    if found["allocations"] is not None:
        _show_allocations(found["allocations"])


def _show_allocations(found: Allocations) -> None:
    size, taken = print_size(found["bytes"]), print_size(found["trace_bytes"])
    cut = ", ended early" if found["is_cut"] else ""
    title = f"allocated in {found['seconds']:g} s{cut} and still there: {size} in {found['blocks']:,} blocks"
    _section(title, ("place", "blocks", "bytes"), found["lines"])
    click.echo(f"Tracing took {taken} itself; {found['cost']}.")


def _section(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        click.echo(f"\n{title}")
        sides: dict[str, Side] = {
            name: "left" if isinstance(rows[0][name], str) else "right" for name in columns
        }
        table(sides, _cells(columns, rows))


def _cells(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> Iterator[list[str]]:
    for row in rows:
        yield [_cell(name, row[name]) for name in columns]


def _cell(name: str, value: object) -> str:
    if value is None:
        return "not walked"
    if not isinstance(value, int):
        return str(value)
    return print_size(value) if name == "bytes" else f"{value:,}"
