"""Texts with places for values: ``{body}`` for all of a document, ``{issue.labels.0.name}`` for one value in it.

A path leads through keys of objects and numbers of lists, and through nothing else: no attributes, no calls, no
formats. What is not there is empty. ``{{`` and ``}}`` are braces.
"""

import re
from collections.abc import Callable, Sequence

import msgspec

from tidegate.errors import TooLarge

MAX_CHARS = 16_000
MAX_FIELDS = 64
WHOLE = "body"

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PATH = re.compile(r"[A-Za-z0-9_-]{1,80}(\.[A-Za-z0-9_-]{1,80}){0,15}")


class Field(msgspec.Struct, frozen=True):
    """A place for a value; no path is the whole document."""

    path: Sequence[str]


Part = str | Field


def parse(text: str) -> Sequence[Part]:
    """Return the parts of a template.

    Raises:
        ValueError: It is too large, or a brace stands alone, or what stands in braces is no path.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"it has more than {MAX_CHARS:,} characters")
    parts: list[Part] = []
    end = 0
    for match in _PART.finditer(text):
        parts += [text[end : match.start()], _part(match)]
        end = match.end()
    parts.append(text[end:])
    if sum(isinstance(part, Field) for part in parts) > MAX_FIELDS:
        raise ValueError(f"it has more than {MAX_FIELDS} fields")
    return [part for part in parts if part]


def fill(
    parts: Sequence[Part], document: object, whole: str, quote: Callable[[str], str], max_chars: int
) -> str:
    """Return the text with each value in its place, as *quote* writes it; *whole* stands for the document itself.

    Raises:
        TooLarge: It would have more than *max_chars*; a large value may have many places, so no more than one is made.
    """
    filled: list[str] = []
    for part in parts:
        text = part if isinstance(part, str) else quote(_found(document, part.path) if part.path else whole)
        max_chars -= len(text)
        if max_chars < 0:
            raise TooLarge("the template makes a text of it that is too long", hint="send less at once")
        filled.append(text)
    return "".join(filled)


def _part(match: re.Match[str]) -> Part:
    if match[0] in {"{{", "}}"}:
        return match[0][0]
    if match[1] is None:
        raise ValueError(f"the brace at character {match.start() + 1} stands alone; write it twice")
    if not _PATH.fullmatch(match[1]):
        raise ValueError(
            f"{match[0][:80]!r} is no field; write {{{WHOLE}}} or a path such as {{issue.title}}"
        )
    return Field(() if match[1] == WHOLE else tuple(match[1].split(".")))


def _found(document: object, path: Sequence[str]) -> str:
    value = document
    for name in path:
        match value:
            case dict():
                value = value.get(name)
            case list():
                value = value[int(name)] if name.isdecimal() and int(name) < len(value) else None
            case _:
                value = None
    match value:
        case None:
            return ""
        case str():
            return value
        case _:
            return msgspec.json.encode(value).decode()
