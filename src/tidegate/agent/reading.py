"""The tools ``read_file`` and ``list_files``: what is in the workspace, a page at a time.

Both are bounded in what they look at and in what they answer, and say so where they stop.
"""

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, BinaryIO

import msgspec

from tidegate.agent.place import Parts, Place, kind_of, shown, told
from tidegate.agent.tools import Caller, Reach, Tool, ToolFailed, decoded, spec
from tidegate.agent.turns import Turns
from tidegate.units import print_size

MAX_PAGE_BYTES = 256 << 10
MAX_LINES = 1_000_000_000
DEFAULT_LINES = 2_000
SNIFF_BYTES = 8_192  # a NUL among the first of them makes a file binary
MAX_SKIPPED_BYTES = 256 << 20  # read to get to a line far down

MAX_NAMES = 1_000
MAX_LOOKED_AT = 20_000
MAX_LEVELS = 16

_MAGIC = (
    (b"\x89PNG", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF8", "GIF image"),
    (b"%PDF", "PDF document"),
    (b"PK\x03\x04", "zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x7fELF", "ELF program"),
    (b"SQLite format 3\0", "SQLite database"),
)


class ReadFile(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of ``read_file``."""

    path: Annotated[str, msgspec.Meta(description="The file, from the workspace on.")]
    offset: Annotated[int, msgspec.Meta(ge=1, le=MAX_LINES, description="The first line, from 1.")] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LINES, description="How many lines at most.")] = (
        DEFAULT_LINES
    )


class ListFiles(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of ``list_files``."""

    path: Annotated[str, msgspec.Meta(description="The folder, from the workspace on.")] = ""
    pattern: Annotated[
        str,
        msgspec.Meta(
            max_length=255, description="Only names like this, such as *.py; with a slash, whole paths."
        ),
    ] = ""
    depth: Annotated[
        int, msgspec.Meta(ge=1, le=MAX_LEVELS, description="How many levels of folders to show.")
    ] = 1


def reading_tools(place: Place, turns: Turns) -> list[Tool]:
    """Return the tools for one workspace."""

    async def read_file(asked: ReadFile, _: Caller) -> str:
        return await turns.thread(lambda: read(place, asked))

    async def list_files(asked: ListFiles, _: Caller) -> str:
        return await turns.thread(lambda: listed(place, asked))

    return [
        Tool(
            spec=spec("list_files", "List the files in a folder of the workspace.", ListFiles),
            run=decoded(ListFiles, list_files),
            is_idempotent=True,
            reach=Reach.READ,
            deadline_s=30.0,
        ),
        Tool(
            spec=spec("read_file", "Read lines of a text file in the workspace.", ReadFile),
            run=decoded(ReadFile, read_file),
            is_idempotent=True,
            reach=Reach.READ,
            deadline_s=30.0,
        ),
    ]


def read(place: Place, asked: ReadFile) -> str:
    """Return lines of a file exactly, and where to read on if there are more; or what it is, if it is no text."""
    parts = place.parts(asked.path)
    with place.file(parts) as (held, found), os.fdopen(held, "rb", closefd=False) as file:
        start = file.read(SNIFF_BYTES)
        if b"\0" in start:
            return f"{shown(parts)}: {_type_of(start)}, {print_size(found.st_size)}; it is no text"
        file.seek(0)
        try:
            return _page(file, asked)
        except OSError as error:
            raise told(error, parts) from error


def listed(place: Place, asked: ListFiles) -> str:
    """Return the names below a folder in order, with the size of each file and a slash behind each folder."""
    parts = place.parts(asked.path)
    walk = _Walk(place, asked)
    lines: list[str] = []
    for line in walk.lines(parts):
        if len(lines) == MAX_NAMES:
            lines.append(f"[only the first {MAX_NAMES} names are shown; name a folder or a pattern]")
            break
        lines.append(line)
    if walk.looked_at >= MAX_LOOKED_AT:
        lines.append(f"[only {MAX_LOOKED_AT} names were looked at; name a folder]")
    return "\n".join(lines) or "nothing"


class _Walk:
    """A look at a folder and the ones below it, bounded in how much it looks at."""

    def __init__(self, place: Place, asked: ListFiles) -> None:
        self.looked_at = 0
        self._place = place
        self._depth = asked.depth
        self._pattern = asked.pattern

    def lines(self, parts: Parts, level: int = 1) -> Iterator[str]:
        with self._place.folder(parts) as folder:
            names = self._names(folder)
        for name, found in names:
            path = (*parts, name)
            is_folder = stat.S_ISDIR(found.st_mode)
            if self._is_wanted(path):
                yield _line(path, found)
            if is_folder and level < self._depth:
                try:
                    yield from self.lines(path, level + 1)
                except ToolFailed as error:  # it has gone or become something else meanwhile
                    yield f"{shown(path)}/: {error.message}"

    def _names(self, folder: int) -> list[tuple[str, os.stat_result]]:
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if self.looked_at >= MAX_LOOKED_AT:
                    break
                self.looked_at += 1
                try:
                    found.append((entry.name, entry.stat(follow_symlinks=False)))
                except OSError:  # it has gone meanwhile
                    continue
        return sorted(found, key=lambda one: one[0])

    def _is_wanted(self, path: Parts) -> bool:
        if not self._pattern:
            return True
        return fnmatchcase(shown(path) if "/" in self._pattern else path[-1], self._pattern)


def _line(path: Parts, found: os.stat_result) -> str:
    name = shown(path).encode(errors="replace").decode()
    escaped = "".join(
        character if character.isprintable() else f"\\x{ord(character):02x}" for character in name
    )
    if stat.S_ISDIR(found.st_mode):
        return f"{escaped}/"
    if stat.S_ISREG(found.st_mode):
        return f"{escaped} ({print_size(found.st_size)})"
    return f"{escaped} ({kind_of(found.st_mode)})"


def _page(file: BinaryIO, asked: ReadFile) -> str:
    skipped = 0
    for _ in range(asked.offset - 1):
        size = _skip_line(file, MAX_SKIPPED_BYTES - skipped)
        if not size:
            raise ToolFailed(f"the file ends before line {asked.offset}")
        skipped += size
    page, lines = bytearray(), 0
    while lines < asked.limit and (line := file.readline(MAX_PAGE_BYTES + 1 - len(page))):
        if len(page) + len(line) > MAX_PAGE_BYTES:
            break
        page += line
        lines += 1
    else:
        line = file.read(1)
    if not lines and line:
        text = line[:MAX_PAGE_BYTES].decode(errors="replace")
        return (
            f"{text}\n[line {asked.offset} is longer than {MAX_PAGE_BYTES >> 10} KiB; this is its beginning]"
        )
    text = page.decode(errors="replace")
    if not line:
        return text
    break_ = "" if text.endswith("\n") else "\n"
    return f"{text}{break_}[there is more: read on with offset={asked.offset + lines}]"


def _skip_line(file: BinaryIO, room: int) -> int:
    """Read over a line without holding it whole; return its size."""
    size = 0
    while piece := file.readline(65_536):
        size += len(piece)
        if size > room:
            raise ToolFailed(f"this line is more than {MAX_SKIPPED_BYTES >> 20} MiB into the file")
        if piece.endswith(b"\n"):
            break
    return size


def _type_of(start: bytes) -> str:
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "binary data")
