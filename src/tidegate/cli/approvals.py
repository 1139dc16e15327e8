"""``tidegate approvals``: calls that wait for a person, and what the person says to them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import click

from tidegate.cli.answer import Approval
from tidegate.cli.client import Client
from tidegate.cli.completion import approval_ids
from tidegate.cli.decision import call_of, decide
from tidegate.cli.due import due
from tidegate.cli.options import json_option, state_option
from tidegate.cli.output import print_json
from tidegate.cli.table import table

COLUMNS = ("id", "session", "agent", "state", "expires", "call")
DONE = {"allowed": "allowed", "always": "always allowed", "denied": "denied"}

id_argument = click.argument("approval", metavar="ID", shell_complete=approval_ids)


@click.group()
def approvals() -> None:
    """Decide on calls that wait for a person."""


@approvals.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that were decided on or have expired.")
@state_option
@json_option
def list_(state: Path | None, *, everything: bool, as_json: bool) -> None:
    """List calls that wait for a decision, each literally, with all that cannot be seen spelled out."""
    query = {} if everything else {"state": "pending"}
    found = cast("Iterator[Approval]", Client(state).pages("/api/approvals", "approvals", query, None))
    if as_json:
        print_json({}, "approvals", found)
    else:
        table(dict.fromkeys(COLUMNS, "left"), map(_row, found), spare=("agent", "session"))


@approvals.command()
@id_argument
@click.option("--always", is_flag=True, help="From now on, whenever the very same call is made.")
@state_option
@json_option
def allow(approval: str, state: Path | None, *, always: bool, as_json: bool) -> None:
    """Let a call be made, this once."""
    _decide(Client(state), approval, "always" if always else "once", as_json=as_json)


@approvals.command()
@id_argument
@state_option
@json_option
def deny(approval: str, state: Path | None, *, as_json: bool) -> None:
    """Do not let a call be made; the model is told."""
    _decide(Client(state), approval, "deny", as_json=as_json)


def _decide(client: Client, approval: str, decision: str, *, as_json: bool) -> None:
    after = decide(client, approval, decision)
    if as_json:
        click.echo(json.dumps(after))
    else:
        click.echo(f"{DONE.get(after['state'], after['state'])}: {call_of(after)}")


def _row(approval: Approval) -> Sequence[str]:
    is_open = approval["state"] == "pending" and approval["expires_at"]
    expires = due(approval["expires_at"] or "") if is_open else ""
    names = (approval["id"], approval["session"] or "", approval["agent"], approval["state"])
    return *names, expires, call_of(approval)
