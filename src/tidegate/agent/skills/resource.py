"""The files beside a SKILL.md: listed for the model, read for it one by one. No link is followed."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tidegate.agent.skills import confined
from tidegate.agent.skills.shelf import FILE
from tidegate.agent.tools import ToolFailed

MAX_BYTES = 1 << 20
MAX_LISTED = 200
MAX_SEEN = 5_000
MAX_DEPTH = 6


class Resource(NamedTuple):
    """A file of a skill, named from the skill's folder."""

    name: str
    bytes: int


class Resources(NamedTuple):
    """The first files of a skill by name, and whether there are more."""

    files: list[Resource]
    has_more: bool


def listed(folder: Path) -> Resources:
    """List the files of a skill; a folder that is not there has none."""
    seen = list(islice(_walk(str(folder), "", MAX_DEPTH), MAX_SEEN))
    seen.sort()
    return Resources(seen[:MAX_LISTED], len(seen) > MAX_LISTED)


def text(folder: Path, name: str) -> str:
    """Read one file of a skill.

    Raises:
        ToolFailed: There is no such file, or none that a model could read.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ToolFailed(f"{name[:200]!r} is no file of this skill", hint="name it from the skill's folder")
    try:
        data = confined.read(folder.resolve(strict=True), path.parts, MAX_BYTES)
    except FileNotFoundError:
        hint = "call the tool without `file` to see which files there are"
        raise ToolFailed(f"there is no file {name[:200]!r} in this skill", hint=hint) from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ToolFailed(f"{name[:200]!r} cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise ToolFailed(f"{name[:200]!r} has more than {MAX_BYTES >> 20} MiB")
    try:
        return _decoded(data)
    except UnicodeDecodeError:
        hint = f"it lies at {folder / path}"
        raise ToolFailed(f"{name[:200]!r} is no text but {len(data):,} bytes", hint=hint) from None


def _decoded(data: bytes) -> str:
    if b"\0" in data:
        raise UnicodeDecodeError("utf-8", data, 0, 1, "binary")
    return data.decode("utf-8-sig")


def _walk(folder: str, prefix: str, depth: int) -> Iterator[Resource]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(islice(entries, MAX_SEEN), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        name = prefix + entry.name
        if entry.name.startswith(".") or not entry.name.isprintable() or name == FILE:
            continue
        try:
            if entry.is_file(follow_symlinks=False):
                yield Resource(name, entry.stat(follow_symlinks=False).st_size)
            elif depth and entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{name}/", depth - 1)
        except OSError:
            continue  # gone meanwhile
