"""What an export looks like: JSONL that holds everything, or Markdown that reads well.

What people and models wrote can hold any Markdown. It stands in quotations, which end whatever was left open in them,
or, where it holds a tag of HTML, in a fence that is longer than any in it; so nothing of it can pass for the document.
"""

import json
import re
from collections.abc import Iterable, Iterator

from tidegate.cli.answer import Entry, Session
from tidegate.cli.due import local

#: what a reader would take for HTML, or fetch from somewhere: an image tells who keeps it that it was looked at
_TAG = re.compile("<[!?/a-zA-Z]|!\\[")
_TICKS = re.compile("`+")
_LINE_END = re.compile("\r\n?|\n")


def jsonl(head: Session, entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the head and each entry as a line; each says of which type it is."""
    yield json.dumps({"type": "session", **head}, ensure_ascii=False) + "\n"
    for entry in entries:
        yield json.dumps(entry, ensure_ascii=False) + "\n"


def markdown(head: Session, entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the parts of a document."""
    yield f"# {_code(head['key'])}\n\n{head['kind']} of {_code(head['agent'])}, since {local(head['created_at'])}\n"
    if head["title"]:
        yield f"\n{_quoted(head['title'])}"
    for entry in entries:
        yield f"\n## {_title(head, entry)}\n\n{_body(entry)}"


def _title(head: Session, entry: Entry) -> str:
    when = local(entry["created_at"])
    if entry["tool"] is not None:
        what = "call" if entry["type"] == "tool_call" else "error" if entry["is_error"] else "result"
        return f"{what} {_code(entry['tool'])}, {when}"
    if entry["type"] != "message":
        return f"{entry['type']}, {when}"
    return f"{_code(head['agent']) if entry['role'] == 'assistant' else entry['role']}, {when}"


def _body(entry: Entry) -> str:
    if entry["tool"] is None:
        return _quoted(entry["text"])
    return _fenced(entry["text"], "json" if entry["type"] == "tool_call" else "")


def _quoted(text: str) -> str:
    """Return a text as a quotation, or fenced where it could break out of one."""
    if _TAG.search(text):
        return _fenced(text)
    return "".join(f"> {line}\n" if line else ">\n" for line in _LINE_END.split(text))


def _fenced(text: str, language: str = "") -> str:
    """Return a text as code, in a fence longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, _TICKS.findall(text)), default=0))
    end = "" if text.endswith(("\n", "\r")) else "\n"
    return f"{fence}{language}\n{text}{end}{fence}\n"


def _code(name: str) -> str:
    """Return a name as code in a line."""
    ticks = "`" * (1 + max(map(len, _TICKS.findall(name)), default=0))
    pad = " " if name.startswith("`") or name.endswith("`") else ""
    return f"{ticks}{pad}{' '.join(name.split())}{pad}{ticks}"
