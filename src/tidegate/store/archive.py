"""Rows that are to be removed, written down first: one JSON object a line, durable before anybody commits."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from tidegate.store import disk


class Rows(Protocol, Iterable[Sequence[Any]]):
    """The answer of a query, which knows the names of its columns."""

    def get_description(self) -> Sequence[Sequence[Any]]:
        """Return name and type of each column."""


class Archive:
    """A file for what is removed; it is made with the first row. Bytes are told in Base64."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._file: IO[bytes] | None = None

    def keep(self, kind: str, found: Rows) -> int:
        """Write rows down, as orphans of a type, and return how many there were."""
        before = self.rows
        for row in found:
            names = [column[0] for column in found.get_description()]
            line = {"type": kind, "row": dict(zip(names, row, strict=True))}
            self._open().write(msgspec.json.encode(line) + b"\n")
            self.rows += 1
        return self.rows - before

    def close(self) -> None:
        """Make durable what was written."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            disk.sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove the file again: nothing of what stands in it was removed."""
        if self._file is not None:
            self._file.close()
            self.path.unlink(missing_ok=True)

    def _open(self) -> IO[bytes]:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self.path, flags, 0o600), "wb")
        return self._file
