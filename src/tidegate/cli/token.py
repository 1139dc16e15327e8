"""``tidegate token``: prints the token, and nothing else."""

import json
from pathlib import Path

import click

from tidegate.cli import client
from tidegate.cli.options import json_option, state_option
from tidegate.config import state_folder


@click.command()
@state_option
@json_option
def token(state: Path | None, *, as_json: bool) -> None:
    """Print the token that requests need."""
    found = client.token(state_folder(state))
    click.echo(json.dumps({"token": found}) if as_json else found)
