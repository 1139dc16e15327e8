"""``tidegate sweep``: lets the running gateway carry out at once what is due."""

import json
from pathlib import Path

import click

from tidegate.cli.client import Client
from tidegate.cli.options import json_option, state_option
from tidegate.cli.progress import waiting


@click.command()
@click.option("--dry-run", is_flag=True, help="Only count what would be done.")
@click.option("--confirm", is_flag=True, help="Trust a clock that was in doubt, so that deleting goes on.")
@state_option
@json_option
def sweep(state: Path | None, *, dry_run: bool, confirm: bool, as_json: bool) -> None:
    """Carry out now what is due."""
    client = Client(state)
    with waiting("sweeping", is_shown=not as_json):
        swept = client.post("/api/sweep", dry_run=int(dry_run), confirm=int(confirm))
    if as_json:
        click.echo(json.dumps(swept))
        return
    counts = ", ".join(f"{name} {count}" for name, count in swept.items())
    click.echo(f"would have {counts}" if dry_run else counts)
