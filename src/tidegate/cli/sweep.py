"""``tidegate sweep``: lets the running gateway carry out at once what is due; and how a date is told."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from tidegate.cli.client import Client, Session
from tidegate.cli.options import json_option, state_option
from tidegate.units import print_span

MOVES = {"completed": "times out", "archived": "archives", "deleted": "deleted"}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only count what would be done.")
@click.option("--confirm", is_flag=True, help="Trust a clock that was in doubt, so that deleting goes on.")
@state_option
@json_option
def sweep(state: Path | None, *, dry_run: bool, confirm: bool, as_json: bool) -> None:
    """Carry out now what is due."""
    swept = Client(state).post("/api/sweep", dry_run=int(dry_run), confirm=int(confirm))
    if as_json:
        click.echo(json.dumps(swept))
        return
    counts = ", ".join(f"{name} {count}" for name, count in swept.items())
    click.echo(f"would have {counts}" if dry_run else counts)


def upcoming(head: Session) -> str:
    """Say what becomes of a session next, and when."""
    if head["due_at"] is None or head["due_to"] is None:
        return "pinned" if head["pinned"] else "kept"
    left = datetime.fromisoformat(head["due_at"]) - datetime.now(UTC)
    left_ms = int(left.total_seconds() * 1_000)
    return f"{MOVES[head['due_to']]} {f'in {print_span(left_ms)}' if left_ms > 0 else 'now'}"
