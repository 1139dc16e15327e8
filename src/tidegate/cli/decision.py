"""A call that waits for a person: how it is shown, and what the person says to it.

What a model wrote stands in one line with everything unseen spelled out, so that it can neither hide a part of itself
nor look like the question below it.
"""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast
from urllib.parse import quote

import click

from tidegate.cli.answer import Approval
from tidegate.cli.client import Answered, Client
from tidegate.cli.due import due
from tidegate.cli.text import literal, plain

QUESTION = "[o]nce / [a]lways this exact call / [d]eny / [l]ater: "
ANSWERS: Mapping[str, str] = MappingProxyType({"o": "once", "a": "always", "d": "deny", "l": "later"})


def decide(client: Client, approval: str, decision: str) -> Approval:
    """Tell the gateway what a person decided: ``once``, ``always`` or ``deny``."""
    place = f"/api/approvals/{quote(approval, safe='')}"
    return cast("Approval", client.post(place, {"decision": decision}))


def call_of(approval: Approval) -> str:
    """Return the literal call, whole: what is not shown cannot be judged."""
    return f"{literal(approval['tool'])} {literal(approval['arguments'])}"


def show(approval: Approval) -> None:
    """Show what is to be decided on standard error."""
    click.secho(f"{literal(approval['agent'])} asks to call:", bold=True, err=True)
    click.echo(f"  {call_of(approval)}", err=True)
    if approval["expires_at"]:
        click.secho(f"  {approval['id']}, expires {due(approval['expires_at'])}", dim=True, err=True)


def ask(client: Client, approvals: list[Approval]) -> bool:
    """Ask a person about each call; return whether all were decided.

    Keys that were struck before the question stood there are no answer to it.
    """
    for approval in approvals:
        show(approval)
        decision = _answer()
        if decision == "later":
            return False
        try:
            decide(client, approval["id"], decision)
        except Answered as error:  # somebody else was faster, or it has expired
            click.echo(plain(f"error: {error.message}"), err=True)
    return True


def _answer() -> str:
    import termios  # noqa: PLC0415 - not on every system

    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    while True:
        click.echo(QUESTION, nl=False, err=True)
        try:
            said = input().strip().lower()
        except EOFError:
            click.echo(err=True)
            return "later"
        decision = ANSWERS.get(said, said)
        if decision in ANSWERS.values():
            return decision
