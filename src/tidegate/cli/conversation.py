"""A conversation on a terminal: what is typed, what is a command of the client's own, when it ends."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import click

from tidegate.cli.call import whole_call, whole_result
from tidegate.cli.history import History
from tidegate.cli.reply import Waits
from tidegate.cli.talk import Talk, tell_later
from tidegate.cli.text import plain
from tidegate.errors import TidegateError

PROMPT = "> "
HELP = """\
/help     this
/expand   the tool calls of the latest answer, whole
/quit     leave; so does Ctrl-D
/compact  let a summary take the place of what is older
/new      begin afresh; what was said before stays readable
//TEXT    send a message that begins with a slash, as /TEXT
Everything else goes to the agent. Ctrl-C stops an answer, a second one leaves."""


class Conversation:
    """Takes messages until a person leaves."""

    def __init__(self, talk: Talk, history: History | None) -> None:
        self._talk = talk
        self._history = history

    def hold(self) -> None:
        """Talk until the input ends."""
        click.secho(f"{self._talk.greeting()} · /help", dim=True, err=True)
        pasted = _set_up_line_editing(self._history)
        self._attempt(self._talk.go_on)
        for line in _typed(is_pasted_at_once=pasted):
            if not line.strip():
                continue
            if self._history is not None:
                self._history.add(line)
            if line.strip() in {"/quit", "/exit"}:
                return
            self._take(line)

    def _take(self, line: str) -> None:
        match line.strip():
            case "/help":
                click.echo(HELP, err=True)
            case "/expand":
                self._attempt(self._expand)
            case _:
                text = line[1:] if line.startswith("//") else line
                self._attempt(lambda: self._talk.say(text, can_decide=True))

    def _attempt(self, do: Callable[[], object]) -> None:
        """Do something; what goes wrong is told, and the conversation goes on."""
        try:
            do()
        except Waits as waits:
            tell_later(waits)
        except TidegateError as error:
            told = f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else "")
            click.echo(plain(told), err=True)

    def _expand(self) -> None:
        for entry in self._talk.calls():
            whole = whole_call if entry["type"] == "tool_call" else whole_result
            click.secho(whole(entry, entry["text"]), dim=True, err=True)


def _set_up_line_editing(history: History | None) -> bool:
    """Give `input` editing and a history; return whether the terminal hands over what is pasted in one piece."""
    try:
        import readline  # noqa: PLC0415 - not on every system
    except ImportError:
        return False
    readline.set_auto_history(False)
    for line in history.lines if history else ():
        readline.add_history(line)
    if "libedit" in (readline.__doc__ or "") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    readline.parse_and_bind("set enable-bracketed-paste on")
    return True


def _typed(*, is_pasted_at_once: bool) -> Iterator[str]:
    """Yield what a person types until there is no more; the second Ctrl-C in a row goes through."""
    is_warned = False
    while True:
        try:
            line = _line(is_pasted_at_once=is_pasted_at_once)
        except KeyboardInterrupt:
            print()
            if is_warned:
                raise
            is_warned = True
            click.secho("Ctrl-C again leaves", dim=True, err=True)
        except EOFError:
            print()
            return
        else:
            is_warned = False
            _remember(line)
            yield line


def _line(*, is_pasted_at_once: bool) -> str:
    """Return what was typed, or all the lines that were pasted."""
    if not sys.stdout.isatty():
        click.echo(PROMPT, nl=False, err=True)
    lines = [input(PROMPT if sys.stdout.isatty() else "")]
    with suppress(EOFError):
        while not is_pasted_at_once and select.select([sys.stdin], [], [], 0)[0]:
            lines.append(input())
    return "\n".join(lines)


def _remember(line: str) -> None:
    with suppress(ImportError):
        import readline  # noqa: PLC0415 - not on every system

        if line.strip():
            readline.add_history(line)
