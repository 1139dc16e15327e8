"""``tidegate sessions fork``: a new chat that shares the beginning of another one."""

import json
from pathlib import Path

import click

from tidegate.cli.client import Client, session_path
from tidegate.cli.completion import session_keys
from tidegate.cli.options import json_option, state_option


@click.command()
@click.argument("key", shell_complete=session_keys)
@click.option("--before", type=int, metavar="SEQ", help="The first entry not to share; by default all are.")
@click.option("--text", help="The first message of the new chat.")
@click.option("--as", "new_key", metavar="KEY", help="The key of the new chat; by default one is made.")
@state_option
@json_option
def fork(  # noqa: PLR0913 - what a command line has
    key: str, before: int | None, text: str | None, new_key: str | None, state: Path | None, *, as_json: bool
) -> None:
    """Make a chat that shares what was said before an entry; the original stays as it is."""
    client = Client(state)
    asked = {
        "before": client.session(key)["entries"] + 1 if before is None else before,
        "text": text,
        "key": new_key,
    }
    body = {name: value for name, value in asked.items() if value is not None}
    forked = client.post(session_path(key, "fork"), body)
    click.echo(json.dumps(forked) if as_json else f"forked {key} as {forked['key']}")
