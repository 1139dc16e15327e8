"""A SKILL.md as a whole: its head checked, its body as text.

Lenient: what breaks the format is told, and the skill is used all the same as long as it has a name and a description.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import NamedTuple

from tidegate.agent.skills import front_matter
from tidegate.agent.skills.front_matter import Field, Head, UnusableError, Value
from tidegate.domain.skill import (
    MAX_COMPATIBILITY_CHARS,
    MAX_DESCRIPTION_CHARS,
    MAX_NAME_CHARS,
    Problem,
    Severity,
    Skill,
    is_name,
)

MAX_BYTES = 1 << 20
KEYS = frozenset({"name", "description", "license", "compatibility", "metadata", "allowed-tools"})

_MISSING = Field("", 1)


class Document(NamedTuple):
    """What a file holds; no skill if it cannot be used as one."""

    skill: Skill | None
    body: str
    problems: tuple[Problem, ...]


def read(data: bytes, path: str) -> Document:
    """Read the bytes of the SKILL.md at *path*; the folder's name stands in for a name that cannot be used."""
    try:
        head = front_matter.read(_text(data, path), path)
        review = _Review(head, path)
        skill = review.skill(PurePath(path).parent.name)
    except UnusableError as error:
        return Document(None, "", (error.problem,))
    return Document(skill, head.body, tuple(review.problems))


def _text(data: bytes, path: str) -> str:
    if b"\0" in data:
        raise UnusableError(path, 1, "this is no text", "write a SKILL.md as UTF-8 text")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnusableError(path, line, "this is not UTF-8", "save the file as UTF-8") from None


class _Review:
    """Looks at the fields of one head and notes what is wrong."""

    def __init__(self, head: Head, path: str) -> None:
        self.problems = list(head.problems)
        self._fields = head.fields
        self._body = head.body
        self._path = path

    def skill(self, folder: str) -> Skill | None:
        """Return the skill; None if it lacks what a skill cannot be used without."""
        name, description = self._name(folder), self._description()
        for key in self._fields.keys() - KEYS:
            self._warn(key, f"{key[:40]!r} is no key of a skill", "put it under `metadata`")
        compatibility = self._one("compatibility")
        if len(compatibility) > MAX_COMPATIBILITY_CHARS:
            message = f"compatibility has {len(compatibility):,} characters"
            self._warn("compatibility", message, f"use at most {MAX_COMPATIBILITY_CHARS}")
        if not self._body.strip():
            self._warn("", "there is nothing below the front matter", "say there how the skill is done")
        self.problems.sort(key=lambda problem: problem.line)
        if not name or not description:
            return None
        return Skill(
            name=name,
            description=description,
            license=self._one("license"),
            compatibility=compatibility,
            metadata=self._metadata(),
            allowed_tools=tuple(self._tools()),
        )

    def _name(self, folder: str) -> str:
        name = self._one("name")
        if is_name(name):
            if name != folder:
                self._warn(
                    "name", f"the name {name!r} is not that of the folder", f"rename one: {folder[:80]!r}"
                )
            return name
        message = f"{name[:80]!r} cannot be a name" if name else "there is no name"
        remedy = f"use 1 to {MAX_NAME_CHARS} characters of a-z 0-9 and single dashes between them"
        self._note(Severity.ERROR, "name", message, remedy)
        return folder if is_name(folder) else ""

    def _description(self) -> str:
        text = self._one("description")
        if not text:
            remedy = "say in one or two sentences what the skill does and when to use it"
            self._note(Severity.ERROR, "description", "there is no description", remedy)
        if len(text) > MAX_DESCRIPTION_CHARS:
            message = f"the description has {len(text):,} characters; the rest is not shown"
            remedy = f"use at most {MAX_DESCRIPTION_CHARS:,}"
            self._note(Severity.ERROR, "description", message, remedy)
        return text[:MAX_DESCRIPTION_CHARS]

    def _metadata(self) -> Mapping[str, str]:
        value = self._value("metadata")
        if isinstance(value, Mapping):
            return {_line(key): _line(text) for key, text in value.items()}
        if value != "":
            self._warn("metadata", "metadata is not text by key", "write `key: value` lines below it")
        return {}

    def _tools(self) -> Iterable[str]:
        value = self._value("allowed-tools")
        if isinstance(value, str):
            return _line(value).replace(",", " ").split()
        if isinstance(value, tuple):
            return map(_line, value)
        self._warn(
            "allowed-tools", "allowed-tools is no list of names", "write the names with spaces between"
        )
        return ()

    def _one(self, key: str) -> str:
        value = self._value(key)
        if isinstance(value, str):
            return _line(value)
        self._warn(key, f"{key} is no text", "write one text")
        return ""

    def _value(self, key: str) -> Value:
        return self._fields.get(key, _MISSING).value

    def _warn(self, key: str, message: str, remedy: str) -> None:
        self._note(Severity.WARNING, key, message, remedy)

    def _note(self, severity: Severity, key: str, message: str, remedy: str) -> None:
        line = self._fields.get(key, _MISSING).line
        problem = Problem(severity=severity, path=self._path, line=line, message=message, remedy=remedy)
        self.problems.append(problem)


def _line(text: str) -> str:
    """Return a text as one line that can be shown anywhere: what a terminal would obey is left out."""
    return "".join(mark for mark in " ".join(text.split()) if mark.isprintable())
