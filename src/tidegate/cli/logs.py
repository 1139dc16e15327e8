"""``tidegate logs``: the latest events of the running gateway's log."""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import cast

import click

from tidegate.cli.client import Client
from tidegate.cli.options import json_option, state_option
from tidegate.cli.text import plain

LOOK_EVERY_S = 1.0
_FIXED = ("timestamp", "level", "part", "event")

Event = Mapping[str, object]


@click.command()
@click.option(
    "--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="How many at most."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@state_option
@json_option
def logs(limit: int, state: Path | None, *, follow: bool, as_json: bool) -> None:
    """Show the latest events of the log, the newest last; a gateway keeps 500, and forgets them when it ends."""
    client = Client(state)
    after: object = 0
    while True:
        answer = client.get("/api/logs", limit=limit, after=after)
        for event in cast("list[Event]", answer["logs"]):
            click.echo(json.dumps(event) if as_json else _line(event))
        after = answer["next"]
        if not follow:
            return
        time.sleep(LOOK_EVERY_S)


def _line(event: Event) -> str:
    """Return an event as people read it: when, how bad, where, what, and what belongs to it."""
    at = datetime.fromisoformat(str(event["timestamp"])).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    more = " ".join(f"{key}={value}" for key, value in event.items() if key not in _FIXED)
    return plain(f"{at} {event['level']} {event.get('part', '')}: {event['event']} {more}".rstrip())
