"""``tidegate chat``: one message and its answer, or a conversation."""

import json
import sys
from pathlib import Path

import click

from tidegate.cli.client import Client
from tidegate.cli.completion import agent_names, session_keys
from tidegate.cli.options import json_option, state_option
from tidegate.cli.reply import Waits
from tidegate.cli.talk import Talk, tell_later
from tidegate.config.job import CLI_CHAT
from tidegate.errors import BadText


@click.command()
@click.argument("text", required=False)
@click.option(
    "--session",
    default=CLI_CHAT,
    show_default=True,
    metavar="KEY",
    help="The session to talk in.",
    shell_complete=session_keys,
)
@click.option(
    "--agent",
    metavar="NAME",
    help="The agent to talk to (default: the session's, else the first).",
    shell_complete=agent_names,
)
@click.option("--tools", "whole_calls", is_flag=True, help="Show tool calls whole, not in a line each.")
@click.option("--no-history", is_flag=True, help="Neither read nor keep what is typed.")
@state_option
@json_option
def chat(text: str | None, session: str, agent: str | None, state: Path | None, **flags: bool) -> None:
    """Talk to an agent.

    Sends TEXT, or what standard input holds where TEXT is `-` or missing, and prints the answer; exit 1 if
    there is none. Without TEXT on a terminal it is a conversation.
    """
    as_json = flags["as_json"]
    talk = Talk(Client(state), session, agent, whole_calls=flags["whole_calls"])
    message = _message(text)
    if message is None:
        if as_json:
            raise click.UsageError("--json needs a TEXT")
        _converse(talk, has_history=not flags["no_history"])
    elif not (_ask(talk, message) if as_json else _say(talk, message)):
        raise click.exceptions.Exit(1)


def _converse(talk: Talk, *, has_history: bool) -> None:
    from tidegate.cli.conversation import Conversation  # noqa: PLC0415 - a single message needs none
    from tidegate.cli.history import History, place  # noqa: PLC0415

    Conversation(talk, History(place()) if has_history else None).hold()


def _ask(talk: Talk, message: str) -> bool:
    answer, is_well = talk.ask(message)
    click.echo(json.dumps(answer))
    return is_well


def _say(talk: Talk, message: str) -> bool:
    """Print the answer alone; where nobody can be asked, a call that waits for a decision ends it."""
    try:
        reply = talk.say(message, can_decide=sys.stdin.isatty() and sys.stderr.isatty())
    except Waits as waits:
        tell_later(waits)
        return False
    if reply.is_cancelled:
        raise click.Abort
    return reply.is_well


def _message(text: str | None) -> str | None:
    """Return the message; None where a person is to type it."""
    if text == "":
        raise click.UsageError("TEXT is empty")
    if text not in {None, "-"}:
        return text
    if text is None and sys.stdin.isatty():
        return None
    try:
        message = sys.stdin.buffer.read().decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise BadText(f"standard input is not UTF-8: byte {error.start + 1}") from error
    if not message:
        raise click.UsageError("standard input holds no message")
    return message
