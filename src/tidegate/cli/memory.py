"""``tidegate memory``: what agents remember."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import quote

import click

from tidegate.cli.answer import Fact
from tidegate.cli.client import Client
from tidegate.cli.completion import agent_names
from tidegate.cli.due import local
from tidegate.cli.options import json_option, state_option
from tidegate.cli.output import print_json
from tidegate.cli.table import table
from tidegate.cli.text import folded

COLUMNS = ("id", "agent", "said", "importance", "origin", "source", "fact")

agent_option = click.option("--agent", metavar="NAME", shell_complete=agent_names, help="Whose memory.")


@click.group()
def memory() -> None:
    """Search, list and correct what agents remember."""


@memory.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True, help="How many at most.")
@agent_option
@state_option
@json_option
def search(text: Sequence[str], limit: int, agent: str | None, state: Path | None, *, as_json: bool) -> None:
    """Find what an agent remembers, best first; by default the first agent."""
    query = {"q": " ".join(text), "agent": agent, "limit": limit}
    found = cast("list[Fact]", Client(state).get("/api/memory", **query)["facts"])
    _show(iter(found), as_json=as_json)


@memory.command("list")
@click.option("--limit", type=click.IntRange(1), help="How many, newest first; all without it.")
@agent_option
@state_option
@json_option
def list_(limit: int | None, agent: str | None, state: Path | None, *, as_json: bool) -> None:
    """List what agents remember, newest first."""
    pages = Client(state).pages("/api/memory", "facts", {"agent": agent}, limit)
    _show(cast("Iterator[Fact]", pages), as_json=as_json)


@memory.command()
@click.argument("facts", metavar="ID...", nargs=-1, required=True)
@state_option
@json_option
def forget(facts: Sequence[str], state: Path | None, *, as_json: bool) -> None:
    """Take facts out of an agent's memory."""
    client = Client(state)
    for name in facts:
        gone = cast("Fact", client.delete(f"/api/memory/{quote(name, safe='')}"))
        click.echo(json.dumps(gone) if as_json else f"forgotten: {folded(gone['text'])}")


def _show(found: Iterator[Fact], *, as_json: bool) -> None:
    if as_json:
        print_json({}, "facts", found)
    else:
        table(
            dict.fromkeys(COLUMNS, "left"),
            map(_row, found),
            spare=("source", "importance", "origin", "agent"),
        )


def _row(fact: Fact) -> Sequence[str]:
    said, source = local(fact["updated_at"]), fact["source"] or ""
    return (
        fact["id"],
        fact["agent"],
        said,
        str(fact["importance"]),
        fact["origin"],
        source,
        folded(fact["text"]),
    )
