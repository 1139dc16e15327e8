"""``tidegate sessions export``: sessions as files, with the whole text of each entry.

A file is written whole or not at all, and never over another one unasked. Entries are passed on one by one, so that
the size of a session does not matter.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

import click

from tidegate.cli.answer import Entry, Session
from tidegate.cli.client import Answered, Client
from tidegate.cli.completion import session_keys
from tidegate.cli.document import jsonl, markdown
from tidegate.cli.file import FileExists, make_folder, refuse_to_replace, replacing
from tidegate.cli.options import json_option, state_option
from tidegate.cli.progress import counting
from tidegate.cli.text import plain
from tidegate.errors import SessionNotFound, TidegateError

NAME_CHARS = 200  # of a key in a file's name; file systems take 255 bytes

Form = Callable[[Session, Iterable[Entry]], Iterator[str]]

FORMS: Mapping[str, Form] = MappingProxyType({"jsonl": jsonl, "md": markdown})


@click.command()
@click.argument("key", required=False, shell_complete=session_keys)
@click.option("--format", "form", type=click.Choice(list(FORMS)), default="jsonl", show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The file to write; with --all, the folder. Otherwise it is printed.",
)
@click.option("--all", "everything", is_flag=True, help="Each session in a file of its own.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@state_option
@json_option
def export(key: str | None, form: str, out: Path | None, state: Path | None, **flags: bool) -> None:
    """Write a session with the whole text of each entry."""
    if (key is None) is not flags["everything"]:
        raise click.UsageError("name either a KEY or --all")
    if out is None and (flags["everything"] or flags["as_json"]):
        raise click.UsageError("--all and --json need --out")
    exporter = Exporter(Client(state), form, force=flags["force"], as_json=flags["as_json"])
    if key is None and out is not None:
        exporter.all(out)
    elif key is not None and out is not None:
        exporter.one(exporter.head(key), out)
        click.echo(json.dumps({"path": str(out.absolute())}) if flags["as_json"] else f"wrote {out}")
    elif key is not None:
        parts = exporter.parts(exporter.head(key))
        sys.stdout.writelines(map(plain, parts) if sys.stdout.isatty() else parts)


class Exporter:
    """Writes sessions in one form."""

    def __init__(self, client: Client, form: str, *, force: bool, as_json: bool) -> None:
        self._client = client
        self._form = form
        self._force = force
        self._as_json = as_json

    def head(self, key: str) -> Session:
        """Return the head of a session."""
        return self._client.session(key)

    def one(self, head: Session, target: Path) -> None:
        """Write a session into a file."""
        refuse_to_replace(target, force=self._force)
        is_shown = not self._as_json
        with counting(head["key"], head["entries"], is_shown=is_shown) as step, replacing(target) as file:
            for part in self.parts(head):
                file.write(part)
                step()

    def all(self, folder: Path) -> None:
        """Write each session into a file of its own; one that cannot be does not keep the others from it."""
        make_folder(folder)
        count, first = 0, cast("TidegateError | None", None)
        for head in cast("Iterator[Session]", self._client.pages("/api/sessions", "sessions", {}, None)):
            try:
                self.one(head, folder / f"{_stem(head)}.{self._form}")
                count += 1
            except (Answered, FileExists) as error:
                if error.code != SessionNotFound.code:  # it has gone meanwhile, as sessions do
                    first = first or error
        told = {"path": str(folder.absolute()), "sessions": count}
        click.echo(json.dumps(told) if self._as_json else f"wrote {count} sessions into {folder}")
        if first is not None:
            raise first

    def parts(self, head: Session) -> Iterator[str]:
        """Yield what is written of a session."""
        return FORMS[self._form](head, self._entries(head["key"]))

    def _entries(self, key: str) -> Iterator[Entry]:
        for entry in self._client.entries(key):
            yield cast("Entry", {**entry, "text": self._client.text(entry)})


def _stem(head: Session) -> str:
    """Return the name of a session's file: its key, and its id where the key is too long for one."""
    key = head["key"]
    return key if len(key) <= NAME_CHARS else f"{key[:NAME_CHARS]}.{head['id']}"
