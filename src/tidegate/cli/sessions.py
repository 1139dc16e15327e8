"""``tidegate sessions``: what the running gateway keeps, and what is to become of it."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from textwrap import indent
from typing import TextIO, cast

import click

from tidegate.cli.chat import call_line, folded, plain
from tidegate.cli.client import Answered, Client, Entry, Session, session_path
from tidegate.cli.options import json_option, state_option
from tidegate.cli.status import Status, count_table, table
from tidegate.cli.sweep import upcoming
from tidegate.errors import StorageFailed
from tidegate.units import print_size

#: what can be done to sessions, how that is told, what it means
ACTIONS = (
    ("archive", "archived", "Archive sessions now."),
    ("restore", "restored", "Bring archived sessions back."),
    ("pin", "pinned", "Keep sessions: no archiving, no deleting."),
    ("unpin", "unpinned", "Let the life of sessions go on, from now."),
    ("cancel", "cancelled", "Close all that is open in sessions."),
)

keys_argument = click.argument("keys", nargs=-1, required=True, metavar="KEY...")


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
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, newest first."
)
@click.option("--all", "everything", is_flag=True, help="Without a limit.")
@state_option
@json_option
def list_(state: Path | None, limit: int, *, everything: bool, as_json: bool, **query: str | None) -> None:
    """List sessions, newest first."""
    query["state"] = query.pop("in_state")
    pages = Client(state).pages("/api/sessions", "sessions", query, None if everything else limit)
    found = cast("Iterator[Session]", pages)
    if as_json:
        click.echo(json.dumps({"sessions": list(found)}))
        return
    columns = ("key", "kind", "state", "entries", "size", "next", "title")
    table({name: "right" if name in {"entries", "size"} else "left" for name in columns}, map(_row, found))


@sessions.command()
@click.argument("key")
@click.option(
    "--limit", type=click.IntRange(0), default=50, show_default=True, help="How many of the last entries."
)
@state_option
@json_option
def show(key: str, limit: int, state: Path | None, *, as_json: bool) -> None:
    """Show a session and the end of its transcript."""
    client = Client(state)
    head = client.session(key)
    after = max(0, head["entries"] - limit)
    entries = client.entries(key, after) if limit else iter(())
    if as_json:
        click.echo(json.dumps({"session": head, "entries": list(entries)}))
        return
    _show_head(head)
    if after:
        click.secho(f"\n… {after} earlier entries", dim=True)
    for entry in entries:
        _show_entry(entry)


@sessions.command()
@click.argument("key")
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "markdown"]), default="jsonl", show_default=True
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")
@state_option
@json_option
def export(key: str, form: str, output: Path | None, state: Path | None, *, as_json: bool) -> None:
    """Print a session with the whole text of each entry."""
    client = Client(state)
    head = client.session(key)
    entries = (Entry({**entry, "text": client.text(entry)}) for entry in client.entries(key))
    parts = _jsonl(head, entries) if form == "jsonl" else _markdown(head, entries)
    if output is None:
        for part in parts:
            print(part)
        return
    with _replacing(output) as file:
        file.writelines(f"{part}\n" for part in parts)
    click.echo(json.dumps({"path": str(output.absolute())}) if as_json else f"wrote {output}")


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
    _each(keys, "deleted", lambda key: client.request("DELETE", session_path(key)), as_json=as_json)


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


def _action(name: str, done: str, summary: str) -> click.Command:
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


def _each(keys: Sequence[str], done: str, do: Callable[[str], object], *, as_json: bool) -> None:
    """Do something to each session; one that refuses does not keep it from the others."""
    after: list[object] = []
    refusals: list[Answered] = []
    for key in dict.fromkeys(keys):
        try:
            after.append(do(key))
        except Answered as error:
            refusals.append(error)
            continue
        if not as_json:
            click.echo(f"{done} {key}")
    if as_json:
        click.echo(json.dumps({"sessions": after}))
    if refusals:
        first = refusals[0]
        raise Answered(first.code, first.status, "; ".join(error.message for error in refusals), first.hint)


def _row(head: Session) -> Sequence[str]:
    size = print_size(head["bytes"])
    return (
        head["key"],
        head["kind"],
        _state(head),
        str(head["entries"]),
        size,
        upcoming(head),
        folded(head["title"]),
    )


def _state(head: Session) -> str:
    return head["state"] if head["outcome"] in {None, "ok"} else f"{head['state']} ({head['outcome']})"


def _show_head(head: Session) -> None:
    click.secho(head["key"], bold=True)
    below = f" below {head['parent']}" if head["parent"] else ""
    click.echo(f"{head['kind']} of {head['agent']}{below}, {_state(head)}, {upcoming(head)}")
    click.echo(f"{head['entries']} entries, {print_size(head['bytes'])}, since {head['created_at']}")
    if head["title"]:
        click.echo(folded(head["title"]))


def _show_entry(entry: Entry) -> None:
    if entry["type"] == "tool_call":
        click.secho(f"\n{call_line(entry)}", dim=True)
    elif entry["type"] == "tool_result":
        click.secho(f"← {folded(entry['text'])}", dim=True)
    else:
        who = entry["role"] if entry["type"] == "message" else entry["type"]
        click.secho(f"\n{who}  {entry['created_at']}", bold=True)
        click.echo(plain(entry["text"]))
    if entry["blob"]:
        click.secho(
            f"… {print_size(entry['bytes'])} in all; `tidegate sessions export` prints them", dim=True
        )


def _jsonl(head: Session, entries: Iterator[Entry]) -> Iterator[str]:
    """Yield the head and each entry as a line; each says of which type it is."""
    for line in chain([{"type": "session", **head}], entries):
        yield json.dumps(line, ensure_ascii=False)


def _markdown(head: Session, entries: Iterator[Entry]) -> Iterator[str]:
    """Yield parts of a document; what tools take and answer stands there as code."""
    yield f"# {head['title'] or head['key']}\n\n`{head['key']}`, {head['kind']} of {head['agent']}"
    for entry in entries:
        who = entry["role"] if entry["type"] == "message" else entry["type"].replace("_", " ")
        yield f"\n## {who} {entry['tool'] or ''}".rstrip()
        yield "\n" + (indent(entry["text"], "    ") if entry["tool"] else entry["text"])


@contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    """Write a file whole, readable by its owner alone, or not at all."""
    try:
        handle, name = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                yield file
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageFailed(f"{target}: cannot be written: {error.strerror}") from error
