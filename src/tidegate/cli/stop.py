"""``tidegate stop``: lets the running gateway end, and waits until it has."""

import json
import time
from pathlib import Path

import click

from tidegate.cli.client import Client
from tidegate.cli.options import json_option, state_option
from tidegate.errors import Unavailable
from tidegate.store import lock

LOOK_EVERY_S = 0.1


@click.command()
@click.option(
    "--timeout",
    "patience_s",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for its end.",
)
@state_option
@json_option
def stop(patience_s: float, state: Path | None, *, as_json: bool) -> None:
    """Stop the gateway: what runs gets its time, and what does not end goes on after the next start."""
    client = Client(state)
    client.post("/api/stop")
    until = time.monotonic() + patience_s
    while lock.is_held(client.folder):
        if time.monotonic() > until:
            raise Unavailable(
                f"the gateway at {client.url} has not ended after {patience_s:g} s",
                hint="it gives open runs the time of [gateway] drain; `tidegate status` shows whether it is there",
            )
        time.sleep(LOOK_EVERY_S)
    click.echo(json.dumps({"url": client.url, "stopped": True}) if as_json else f"stopped {client.url}")
