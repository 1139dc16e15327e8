"""Where an answer is shown: its text on standard output, what belongs to it on standard error.

A terminal sees the text being made, and nothing that could steer it; anything else gets the exact text, once it is
whole. A tool call is one line, which its result completes.
"""

import sys

import click

from tidegate.cli.answer import Entry
from tidegate.cli.call import call_line, result_note, whole_call, whole_result
from tidegate.cli.client import Client
from tidegate.cli.text import plain


class Screen:
    """What stands there of the answer that is being made."""

    def __init__(self, client: Client, *, whole_calls: bool = False) -> None:
        self._client = client
        self._whole_calls = whole_calls
        self._is_terminal = sys.stdout.isatty()
        #: pieces that stand there and whose entry has not come yet
        self._pieces = ""
        #: calls without a result, by their ids
        self._calls: dict[str, Entry] = {}
        #: the call at whose end the cursor is
        self._open_call: str | None = None

    def piece(self, text: str, at: int) -> None:
        """Show a piece of a text that begins *at* so many characters; what stands there is not shown again.

        A piece behind a gap is passed over: the entry will fill it. One that contradicts what stands there is
        the start of another answer.
        """
        if not self._is_terminal or at > len(self._pieces):
            return
        known = self._pieces[at : at + len(text)]
        if not text.startswith(known):
            self._leave_pieces()
            if at:
                return
            known = ""
        fresh = text[len(known) :]
        self._end_call()
        self._pieces += fresh
        print(plain(fresh), end="", flush=True)

    def text(self, text: str) -> None:
        """Show a text that is whole, or what of it does not stand there yet."""
        if not text.startswith(self._pieces):
            self._leave_pieces()
        self._end_call()
        rest = text[len(self._pieces) :]
        self._pieces = ""
        print(plain(rest) if self._is_terminal else rest, flush=True)

    def call(self, call: Entry) -> None:
        """Show that a tool is called."""
        self.end_line()
        self._calls[call["call_id"] or ""] = call
        if self._whole_calls:
            click.secho(whole_call(call, self._client.text(call)), dim=True, err=True)
            return
        self._open_call = call["call_id"]
        click.secho(call_line(call), dim=True, err=True, nl=False)

    def result(self, result: Entry) -> None:
        """Show how a call went, in its line if the cursor is still there."""
        call = self._calls.pop(result["call_id"] or "", None)
        is_here = self._open_call is not None and self._open_call == result["call_id"]
        if self._whole_calls:
            click.secho(whole_result(result, self._client.text(result), call), dim=True, err=True)
        elif is_here:
            self._open_call = None
            click.secho(f" · {result_note(result, call)}", dim=True, err=True)
        else:
            self.end_line()
            click.secho(f"← {plain(result['tool'] or '')} · {result_note(result, call)}", dim=True, err=True)

    def warn(self, text: str) -> None:
        """Say something that is no part of the answer."""
        self.end_line()
        click.echo(plain(text), err=True)

    def aside(self, text: str) -> None:
        """Say something in the middle of an answer, which goes on behind it."""
        self._end_call()
        if self._pieces:
            print(flush=True)
        click.secho(plain(text), dim=True, err=True)

    def end_line(self) -> None:
        """Go to a line of its own for what comes."""
        self._leave_pieces()
        self._end_call()

    def _leave_pieces(self) -> None:
        if self._pieces:
            print(flush=True)
        self._pieces = ""

    def _end_call(self) -> None:
        if self._open_call is not None:
            click.echo(err=True)
        self._open_call = None
