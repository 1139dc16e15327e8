"""``tidegate sessions``: what the running gateway keeps, and what is to become of it."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import cast

import click

from tidegate.cli.answer import Session
from tidegate.cli.client import Answered, Client, session_path
from tidegate.cli.completion import session_keys
from tidegate.cli.due import upcoming
from tidegate.cli.export import export
from tidegate.cli.fork import fork
from tidegate.cli.options import json_option, state_option
from tidegate.cli.output import page, print_json
from tidegate.cli.status import Status
from tidegate.cli.table import Side, count_table, table
from tidegate.cli.text import folded
from tidegate.cli.transcript import Transcript, heading, state_of
from tidegate.units import print_size

COLUMNS: Mapping[str, Side] = MappingProxyType(
    {
        "key": "left",
        "kind": "left",
        "state": "left",
        "entries": "right",
        "size": "right",
        "next": "left",
        "title": "left",
    }
)

#: in this order they are listed, the newest of each first
PEOPLE_FIRST = ("chat", "subagent,cron,hook,api")

Told = str | Callable[[str, Mapping[str, object]], str]


def _compacted(key: str, after: Mapping[str, object]) -> str:
    """Say what became of asking for a summary."""
    match after.get("compacted"):
        case None:
            return f"{key} is compacted once a person has decided on a call: tidegate approvals list"
        case False:
            return f"there is nothing to compact in {key}"
        case _:
            return f"compacted {key}"


def _begun(key: str, after: Mapping[str, object]) -> str:
    """Say where the conversation before is."""
    former = after.get("former")
    return (
        f"begun afresh: {key}; what was said before stands in {former}" if former else f"{key} is new already"
    )


#: what can be done to sessions, how that is told, what it means
ACTIONS: tuple[tuple[str, Told, str], ...] = (
    ("archive", "archived", "Archive sessions now."),
    ("restore", "restored", "Bring archived sessions back."),
    ("pin", "pinned", "Keep sessions: no archiving, no deleting."),
    ("unpin", "unpinned", "Let the life of sessions go on, from now."),
    ("cancel", "cancelled", "Close all that is open in sessions."),
    ("compact", _compacted, "Let summaries take the place of what is older; it stays readable."),
    ("new", _begun, "Begin conversations afresh; what was said before gets a key of its own."),
)

keys_argument = click.argument("keys", nargs=-1, required=True, metavar="KEY...", shell_complete=session_keys)


@click.group()
def sessions() -> None:
    """List, show, keep and delete sessions."""


@sessions.command("list")
@click.option("--kind", help="chat, subagent, cron, hook or api; several with commas.")
@click.option("--in-state", "in_state", help="created, active, completed or archived; several with commas.")
@click.option("--parent", metavar="KEY", help="Only those below this session.")
@click.option("--agent", metavar="NAME", help="Only those of this agent.")
@click.option("--q", metavar="TEXT", help="Only those with this in their key or title.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="How many, the newest of each first.",
)
@click.option("--all", "everything", is_flag=True, help="Without a limit.")
@state_option
@json_option
def list_(state: Path | None, limit: int, *, everything: bool, as_json: bool, **query: str | None) -> None:
    """List sessions: people's conversations first, then what came of jobs, hooks, programs and sub-agents."""
    query["state"] = query.pop("in_state")
    client = Client(state)
    kinds = [query["kind"]] if query["kind"] else list(PEOPLE_FIRST)
    pages = chain.from_iterable(
        client.pages("/api/sessions", "sessions", {**query, "kind": kind}, None if everything else limit)
        for kind in kinds
    )
    found = cast("Iterator[Session]", pages if everything else islice(pages, limit))
    if as_json:
        print_json({}, "sessions", found)
        return
    table(COLUMNS, map(_row, found), spare=("size", "entries", "kind", "title", "state"), elastic="title")


@sessions.command()
@click.argument("key", shell_complete=session_keys)
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N entries.")
@click.option("--tools", "whole_calls", is_flag=True, help="Show tool calls whole, not in a line each.")
@state_option
@json_option
def show(key: str, tail: int | None, state: Path | None, *, whole_calls: bool, as_json: bool) -> None:
    """Show a session and its transcript."""
    client = Client(state)
    head = client.session(key)
    after = 0 if tail is None else max(0, head["entries"] - tail)
    entries = iter(()) if tail == 0 else client.entries(key, after)
    if as_json:
        print_json({"session": head}, "entries", entries)
        return
    transcript = Transcript(client, head, whole_calls=whole_calls)
    left_out = [click.style(f"\n… {after} earlier entries\n", dim=True)] if after else []
    page(chain(heading(head), left_out, transcript.of(entries)))


sessions.add_command(export)
sessions.add_command(fork)


@sessions.command()
@keys_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_option
@json_option
def delete(keys: Sequence[str], state: Path | None, *, yes: bool, as_json: bool) -> None:
    """Delete sessions and everything below them."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked here; --yes deletes without asking")
        what = keys[0] if len(keys) == 1 else f"{len(keys)} sessions"
        if not click.confirm(f"Delete {what} and everything below?", err=True):
            raise click.exceptions.Exit(1)
    client = Client(state)
    _each(keys, "deleted", lambda key: client.delete(session_path(key)), as_json=as_json)


@sessions.command()
@state_option
@json_option
def stats(state: Path | None, *, as_json: bool) -> None:
    """Show how many sessions there are and how many bytes they have, by kind and state."""
    found = cast("Status", Client(state).get("/api/status"))
    counts, sizes = found["sessions"], found["session_bytes"]
    if as_json:
        click.echo(json.dumps({"sessions": counts, "session_bytes": sizes}))
        return
    count_table(counts)
    click.echo()
    count_table(sizes, print_size)


def _action(name: str, done: Told, summary: str) -> click.Command:
    @click.command(name, help=summary)
    @keys_argument
    @state_option
    @json_option
    def act(keys: Sequence[str], state: Path | None, *, as_json: bool) -> None:
        client = Client(state)
        _each(keys, done, lambda key: client.post(session_path(key, name)), as_json=as_json)

    return act


for _name, _done, _summary in ACTIONS:
    sessions.add_command(_action(_name, _done, _summary))


def _each(
    keys: Sequence[str], done: Told, do: Callable[[str], Mapping[str, object]], *, as_json: bool
) -> None:
    """Do something to each session; one that refuses does not keep it from the others."""
    after: list[Mapping[str, object]] = []
    refusals: list[Answered] = []
    for key in dict.fromkeys(keys):
        try:
            after.append(do(key))
        except Answered as error:
            refusals.append(error)
            continue
        if not as_json:
            click.echo(f"{done} {key}" if isinstance(done, str) else done(key, after[-1]))
    if as_json:
        click.echo(json.dumps({"sessions": after}))
    if refusals:
        first = refusals[0]
        raise Answered(first.code, first.status, "; ".join(error.message for error in refusals), first.hint)


def _row(head: Session) -> Sequence[str]:
    size = print_size(head["bytes"])
    counted = (str(head["entries"]), size)
    return head["key"], head["kind"], state_of(head), *counted, upcoming(head), folded(head["title"])
