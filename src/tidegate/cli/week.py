"""``tidegate growth summary``: how the gateway was in the last seven days, in one line."""

import json
from pathlib import Path

import click

from tidegate.cli.client import Client
from tidegate.cli.options import json_option, state_option


@click.command()
@state_option
@json_option
def summary(state: Path | None, *, as_json: bool) -> None:
    """Tell in one line how the gateway was in the last seven days."""
    found = Client(state).get("/api/growth/summary")
    click.echo(json.dumps(found) if as_json else found["line"])
