"""The tools ``write_file`` and ``edit_file``: a file in the workspace is replaced whole or not at all.

What is written lies beside its target first, is flushed to the disk and then takes its place, so that neither a reader
nor a crash sees half of it, and what a link or another name of the file leads to is never touched.
"""

import contextlib
import hashlib
import os
import stat
from typing import Annotated

import msgspec

from tidegate.agent.place import Parts, Place, check_regular, file_in, shown, told
from tidegate.agent.tools import Caller, Tool, ToolFailed, decoded, spec
from tidegate.agent.turns import Turns

MAX_WRITE_BYTES = 1 << 20
MAX_TOLD_LINES = 10
NEW_MODE = 0o644

_BESIDE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_Text = Annotated[str, msgspec.Meta(max_length=MAX_WRITE_BYTES)]


class WriteFile(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of ``write_file``."""

    path: Annotated[str, msgspec.Meta(description="The file, from the workspace on.")]
    text: Annotated[_Text, msgspec.Meta(description="The whole text of the file.")]


class EditFile(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of ``edit_file``."""

    path: Annotated[str, msgspec.Meta(description="The file, from the workspace on.")]
    old: Annotated[
        _Text, msgspec.Meta(min_length=1, description="The text to replace, exactly as it stands there.")
    ]
    new: Annotated[_Text, msgspec.Meta(description="What to put in its place.")]
    all: Annotated[
        bool, msgspec.Meta(description="Replace every place; otherwise there has to be exactly one.")
    ] = False


def writing_tools(place: Place, turns: Turns) -> list[Tool]:
    """Return the tools for one workspace."""

    async def write_file(asked: WriteFile, _: Caller) -> str:
        return await turns.thread(lambda: write(place, asked))

    async def edit_file(asked: EditFile, _: Caller) -> str:
        return await turns.thread(lambda: edit(place, asked))

    return [
        Tool(
            spec=spec("write_file", "Write a file in the workspace, in place of an older one.", WriteFile),
            run=decoded(WriteFile, write_file),
            is_idempotent=True,
            deadline_s=60.0,
        ),
        Tool(
            spec=spec("edit_file", "Replace a piece of text in a file in the workspace.", EditFile),
            run=decoded(EditFile, edit_file),
            deadline_s=60.0,
        ),
    ]


def write(place: Place, asked: WriteFile) -> str:
    """Write a file, with the folders it needs; return what was done."""
    parts = place.parts(asked.path)
    place.check_writable(parts)
    data = _encoded(asked.text)
    with place.changing, place.folder(parts[:-1], create=True, to_write=True) as folder:
        before = _target(folder, parts)
        _replace(folder, parts, data, NEW_MODE if before is None else stat.S_IMODE(before.st_mode))
    return f"{'created' if before is None else 'replaced'} {shown(parts)}, {len(data)} bytes"


def edit(place: Place, asked: EditFile) -> str:
    """Replace text in a file; return what was done.

    A line break in `old` and `new` stands for whichever the file has, if it has one kind alone.
    """
    parts = place.parts(asked.path)
    place.check_writable(parts)
    with place.changing, place.folder(parts[:-1], to_write=True) as folder:
        data, found = _whole(folder, parts)
        old, new = (_as_in(data, _encoded(text)) for text in (asked.old, asked.new))
        places = data.count(old)
        if not places:
            raise ToolFailed(f"{shown(parts)!r} does not hold this text", hint=_near(data, old))
        if places > 1 and not asked.all:
            raise ToolFailed(
                f"{shown(parts)!r} holds this text {places} times, in line {_lines(data, old)}",
                hint="give more of the text around it, or all=true",
            )
        if len(data) + places * (len(new) - len(old)) > MAX_WRITE_BYTES:
            raise ToolFailed(f"the file would have more than {MAX_WRITE_BYTES >> 20} MiB")
        edited = data.replace(old, new)
        _replace(folder, parts, edited, stat.S_IMODE(found.st_mode))
    return f"replaced {places} {'place' if places == 1 else 'places'} in {shown(parts)}"


def _encoded(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise ToolFailed("the text holds halves of surrogate pairs") from None
    if len(data) > MAX_WRITE_BYTES:
        raise ToolFailed(f"a file is written with at most {MAX_WRITE_BYTES >> 20} MiB")
    return data


def _target(folder: int, parts: Parts) -> os.stat_result | None:
    """Return what stands where the file is to be; it may be a regular file or nothing."""
    try:
        found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise told(error, parts) from error
    check_regular(found, parts)
    return found


def _replace(folder: int, parts: Parts, data: bytes, mode: int) -> None:
    """Put a file in its place, durably; a name that became a link meanwhile is replaced, not followed."""
    # Always the same name for a file, so that what a crash leaves is used up by the next write.
    beside = f".tidegate-{hashlib.sha256(parts[-1].encode()).hexdigest()[:16]}.new"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=folder)
        held = os.open(beside, _BESIDE, 0o600, dir_fd=folder)
    except OSError as error:
        raise told(error, parts) from error
    try:
        with os.fdopen(held, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(held, mode & 0o777)  # never with a set-user-id bit
            os.fsync(held)
        os.rename(beside, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    except OSError as error:
        raise told(error, parts) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=folder)


def _whole(folder: int, parts: Parts) -> tuple[bytes, os.stat_result]:
    with file_in(folder, parts) as (held, found), os.fdopen(held, "rb", closefd=False) as file:
        data = file.read(MAX_WRITE_BYTES + 1)
    if len(data) > MAX_WRITE_BYTES:
        raise ToolFailed(f"{shown(parts)!r} has more than {MAX_WRITE_BYTES >> 20} MiB; it cannot be edited")
    if b"\0" in data:
        raise ToolFailed(f"{shown(parts)!r} is no text")
    return data, found


def _as_in(data: bytes, text: bytes) -> bytes:
    """Return *text* with the line breaks of *data*, where that has CRLF alone and models wrote LF."""
    crlf = data.count(b"\r\n")
    if not crlf or crlf != data.count(b"\n") or b"\r\n" in text:
        return text
    return text.replace(b"\n", b"\r\n")


def _near(data: bytes, old: bytes) -> str:
    """Say where the first line of *old* stands, as a help to find the difference."""
    first = next((line.strip() for line in old.splitlines() if line.strip()), b"")
    lines = [at for at, line in enumerate(data.splitlines(), 1) if first and first in line]
    if not lines:
        return "read_file shows what it holds"
    return f"its first line stands in line {_joined(lines)}, so what follows, or a blank, differs"


def _lines(data: bytes, old: bytes) -> str:
    lines: list[int] = []
    at, line, counted = -1, 1, 0
    while len(lines) <= MAX_TOLD_LINES and (at := data.find(old, at + 1)) >= 0:
        line += data.count(b"\n", counted, at)
        counted = at
        lines.append(line)
        at += len(old) - 1
    return _joined(lines)


def _joined(lines: list[int]) -> str:
    cut = ", …" if len(lines) > MAX_TOLD_LINES else ""
    return ", ".join(map(str, lines[:MAX_TOLD_LINES])) + cut
