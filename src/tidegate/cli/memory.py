"""``tidegate memory``: what agents remember."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import quote

import click

from tidegate.cli.answer import Fact
from tidegate.cli.client import Answered, Client
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
    """Take facts out of an agent's memory; one that is not there does not keep the others."""
    client = Client(state)
    gone: list[Fact] = []
    refusals: list[Answered] = []
    for name in dict.fromkeys(facts):
        try:
            gone.append(cast("Fact", client.delete(f"/api/memory/{quote(name, safe='')}")))
        except Answered as error:
            refusals.append(error)
            continue
        if not as_json:
            click.echo(f"forgotten: {folded(gone[-1]['text'])}")
    if as_json:
        click.echo(json.dumps({"facts": gone}))
    if refusals:
        first = refusals[0]
        raise Answered(first.code, first.status, "; ".join(error.message for error in refusals), first.hint)


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
