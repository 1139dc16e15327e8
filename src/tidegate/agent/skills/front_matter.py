"""The head of a SKILL.md: YAML between two lines of three dashes.

Every value is text, as it was written: nothing is taken for a date or a number, nothing is built from a tag, and
anchors and aliases are refused, so that a small file cannot become a large one. The parser's events are read in one
pass, without recursion. The library (1 MB) is imported with the first head that is more than plain words, which most
are not.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tidegate.domain.skill import Problem, Severity

MAX_HEAD_BYTES = 16 << 10
MAX_DEPTH = 1_000  # of brackets; more than one deep a value means nothing here

Value = str | tuple[str, ...] | Mapping[str, str] | None

_HEAD = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_PLAIN_LINE = re.compile(r"^([A-Za-z][\w-]*):[ \t]+([^'\"|>&*!\[{\s].*)$", re.MULTILINE)
# Of these characters nothing means anything to YAML, so that the line is what it looks like.
_WORDS_LINE = re.compile(r"([a-z][a-z-]*): ([A-Za-z0-9](?:[A-Za-z0-9 ,.;()/_`'?!+=-]*[A-Za-z0-9.)`?!])?)")
_BRACKET = re.compile(r"[\[\]{}]")
_NOTHING = frozenset({"", "~", "null"})


class Field(NamedTuple):
    """A value and the line of its key; None is a value nested too deep to mean anything here."""

    value: Value
    line: int


class Head(NamedTuple):
    """What stands in a head, the text below it, and what was passed over."""

    fields: Mapping[str, Field]
    body: str
    problems: tuple[Problem, ...]


class UnusableError(Exception):
    """The file cannot be used as a skill."""

    def __init__(self, path: str, line: int, message: str, remedy: str) -> None:
        super().__init__(message)
        self.problem = Problem(severity=Severity.ERROR, path=path, line=line, message=message, remedy=remedy)


def read(text: str, path: str) -> Head:
    """Split a text with single line feeds into its head and its body.

    Raises:
        UnusableError: It has no head, or one that cannot be read.
    """
    match = _HEAD.match(text, 0, MAX_HEAD_BYTES)
    if match is None:
        raise _headless(text, path)
    head, body = match[1], text[match.end() :]
    problems: list[Problem] = []
    try:
        fields = dict(_fields(head, path, problems))
    except UnusableError as error:
        quoted = _PLAIN_LINE.sub(_quoted, head)
        if quoted == head:
            raise
        problems = [error.problem]  # a colon in plain text is the usual fault; what was meant is plain
        try:
            fields = dict(_fields(quoted, path, problems))
        except UnusableError:
            raise error from None
    return Head(fields, body, tuple(problems))


def _quoted(line: re.Match[str]) -> str:
    value = line[2].rstrip(" \t").replace("'", "''")
    return f"{line[1]}: '{value}'"


def _headless(text: str, path: str) -> UnusableError:
    if not re.match(r"---[ \t]*\n", text):
        remedy = "begin the file with a line `---`, then name and description, then a line `---`"
        return UnusableError(path, 1, "there is no front matter", remedy)
    if len(text) > MAX_HEAD_BYTES:
        message = f"the front matter does not end within {MAX_HEAD_BYTES >> 10} KiB"
        return UnusableError(path, 1, message, "end it with a line `---`; what is long belongs below it")
    return UnusableError(path, 1, "the front matter has no end", "add a line `---` below it")


def _fields(head: str, path: str, problems: list[Problem]) -> Iterator[tuple[str, Field]]:
    """Yield each key with its field; a key that comes again is passed over."""
    plain = _plain(head)
    if plain is not None:
        yield from plain.items()
        return
    events = _events(head, path)
    start = next(events)
    if start.kind == "end":
        return
    if start.kind != "mapping":
        raise UnusableError(path, start.line, "the front matter is no list of keys", "write `name: ...`")
    known: set[str] = set()
    for key in events:
        if key.kind == "end":
            return
        if key.kind != "text":
            raise UnusableError(path, key.line, "a key is no text", "write `name: ...`")
        field = Field(_value(next(events), events), key.line)
        if key.text in known:
            message = f"{key.text[:40]!r} stands there twice"
            problems.append(
                Problem(
                    severity=Severity.WARNING,
                    path=path,
                    line=key.line,
                    message=message,
                    remedy="keep one of them",
                )
            )
        else:
            known.add(key.text)
            yield key.text, field


def _plain(head: str) -> Mapping[str, Field] | None:
    """Read a head whose values are plain words, each on a line; nothing comes back for any other."""
    found: dict[str, Field] = {}
    for line, text in enumerate(head.splitlines(), 2):
        match = _WORDS_LINE.fullmatch(text)
        if match is None or match[1] in found:
            return None
        found[match[1]] = Field("" if match[2] in _NOTHING else match[2], line)
    return found or None


class _Event(NamedTuple):
    kind: str  # text, mapping, sequence or end
    text: str
    line: int


def _value(first: _Event, events: Iterator[_Event]) -> Value:
    """Take the events of one value."""
    if first.kind == "text":
        return first.text
    texts: list[str] = []
    depth, is_flat = 1, True
    while depth:
        event = next(events)
        if event.kind == "text":
            texts.append(event.text)
        else:
            depth += -1 if event.kind == "end" else 1
            is_flat = is_flat and depth <= 1
    if not is_flat:
        return None
    return tuple(texts) if first.kind == "sequence" else dict(zip(texts[::2], texts[1::2], strict=True))


def _events(head: str, path: str) -> Iterator[_Event]:
    """Yield what the parser finds, without the frame of stream and document but for one end."""
    import yaml  # noqa: PLC0415 - see the head of this file

    _check_depth(head, path)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(head, Loader=loader):
            line = _line(event.start_mark)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise UnusableError(path, line, "anchors and aliases are not taken", "write the value out")
            if getattr(event, "tag", None):
                raise UnusableError(path, line, "tags are not taken", "write plain text")
            if isinstance(event, yaml.ScalarEvent):
                is_nothing = event.implicit[0] and event.value in _NOTHING
                yield _Event("text", "" if is_nothing else event.value, line)
            elif isinstance(event, yaml.CollectionStartEvent):
                kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "sequence"
                yield _Event(kind, "", line)
            elif isinstance(event, yaml.CollectionEndEvent | yaml.StreamEndEvent):
                yield _Event("end", "", line)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "nested too deep"
        line = _line(mark)
        raise UnusableError(
            path, line, f"this is no YAML: {what}", "put text with `:` or `#` in quotes"
        ) from None


def _check_depth(head: str, path: str) -> None:
    """Refuse brackets within brackets before they are parsed, which takes the square of how deep they are."""
    depth = 0
    for bracket in _BRACKET.finditer(head):
        depth = depth + 1 if bracket[0] in "[{" else max(0, depth - 1)
        if depth > MAX_DEPTH:
            line = head.count("\n", 0, bracket.start()) + 2
            raise UnusableError(path, line, "this is no YAML: nested too deep", "write plain text")


def _line(mark: Any) -> int:
    """Return the line of the file at a mark of the parser, which begins below the first dashes."""
    return mark.line + 2 if mark else 1
