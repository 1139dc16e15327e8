"""A session as a person reads it: who said what and when, with tool calls in a line each.

Entries are taken one by one, so that the longest transcript takes no more memory than its longest stretch of calls.
"""

from collections.abc import Iterable, Iterator

import click

from tidegate.cli.answer import Entry, Session
from tidegate.cli.call import call_line, result_note, whole_call, whole_result
from tidegate.cli.client import Client
from tidegate.cli.due import local, upcoming
from tidegate.cli.text import folded, plain
from tidegate.units import print_size


def heading(head: Session) -> Iterator[str]:
    """Yield what is to be known of a session before its transcript."""
    below = f" below {head['parent']}" if head["parent"] else ""
    yield f"{click.style(head['key'], bold=True)}\n"
    yield f"{head['kind']} of {head['agent']}{below}, {state_of(head)}, {upcoming(head)}\n"
    yield f"{head['entries']} entries, {print_size(head['bytes'])}, since {local(head['created_at'])}\n"
    if head["title"]:
        yield f"{folded(head['title'])}\n"


def state_of(head: Session) -> str:
    """Return the state of a session, with its outcome where that is not ``ok``."""
    return head["state"] if head["outcome"] in {None, "ok"} else f"{head['state']} ({head['outcome']})"


class Transcript:
    """The readable form of one session's entries."""

    def __init__(self, client: Client, head: Session, *, whole_calls: bool) -> None:
        self._client = client
        self._agent = head["agent"]
        self._whole_calls = whole_calls
        #: calls of the stretch at hand whose results have not come yet
        self._calls: dict[str, Entry] = {}

    def of(self, entries: Iterable[Entry]) -> Iterator[str]:
        """Yield the transcript in pieces."""
        for entry in entries:
            match entry["type"]:
                case "tool_call" if not self._whole_calls:
                    self._calls[entry["call_id"] or ""] = entry
                case "tool_call":
                    yield _dim(whole_call(entry, self._client.text(entry)))
                case "tool_result":
                    yield self._result(entry)
                case _:
                    yield from self._open()
                    yield self._message(entry)
        yield from self._open()

    def _result(self, entry: Entry) -> str:
        call = self._calls.pop(entry["call_id"] or "", None)
        if self._whole_calls:
            return _dim(whole_result(entry, self._client.text(entry)))
        line = call_line(call) if call else f"← {plain(entry['tool'] or '')}"
        return _dim(f"{line} · {result_note(entry, call)}")

    def _open(self) -> Iterator[str]:
        """Yield the calls that have no result."""
        for call in self._calls.values():
            yield _dim(f"{call_line(call)} · no result")
        self._calls.clear()

    def _message(self, entry: Entry) -> str:
        when = click.style(local(entry["created_at"]), dim=True)
        text = f"\n{click.style(self._who(entry), bold=True)}  {when}\n{plain(entry['text'])}\n"
        if entry["blob"]:
            text += _dim(f"… {print_size(entry['bytes'])} in all; `tidegate sessions export` has them")
        return text

    def _who(self, entry: Entry) -> str:
        if entry["type"] == "message" and entry["role"] == "assistant":
            return self._agent
        return entry["role"] if entry["type"] == "message" else entry["type"]


def _dim(text: str) -> str:
    return click.style(text, dim=True) + "\n"
