"""Room on the disk that is taken beforehand, so that deleting works on a full one.

A database with a log needs space to give space back: for what deleting adds to the log, and for what the log still has
to add to the main file before it can be emptied. So a file lies in the state folder that is larger than the log gets;
what makes room and finds the disk full lets go of it, has the log folded in and tries again. While it is out nobody
else may write anything of size: what was given up for deleting must not go to the next message. It is taken again once
there is room for two of it, so that what it set free itself does not count.
"""

import os
from contextlib import suppress
from pathlib import Path

from tidegate.store import disk
from tidegate.store.connection import CHECKPOINT_PAGES

NAME = "gateway.reserve"
MAX_BYTES = 24 << 20
SHARE = 16  # at most a sixteenth of what the state may take
LITTLE_BYTES = 256 << 10  # with less than this free a store may not even open
_PAGE = bytes(4096)


class Reserve:
    """The file, or none; it is let go of and taken on the writer's thread."""

    def __init__(self, path: Path | None) -> None:
        #: it was let go of, or there was no room for any
        self.is_out = False
        self.held_bytes = 0
        self._path = path
        #: how much was let go of and has not come back
        self._given = 0

    def make_way(self) -> None:
        """Let go of what an earlier gateway has left if otherwise not even a start has room."""
        with suppress(OSError):
            if self._path and self._path.exists() and disk.free_bytes(self._path.parent) < LITTLE_BYTES:
                self.release()

    def release(self) -> bool:
        """Give the room back to the disk; say whether there was any."""
        if self._path is None:
            return False
        try:
            self._given = _allocated(self._path)
            self._path.unlink()
        except OSError:
            return False
        self.held_bytes, self.is_out = 0, True
        return True

    def take(self, size: int) -> bool:
        """Take *size* bytes, or a quarter of what is left where that is less; say whether any are held."""
        if self._path is None:
            return True
        try:
            self.held_bytes = self._taken(self._path, size)
        except OSError:
            self.held_bytes = 0
        self.is_out = not self.held_bytes
        return not self.is_out

    def _taken(self, path: Path, size: int) -> int:
        found = _allocated(path)
        if found == size:
            return found
        free = disk.free_bytes(path.parent) + found
        wanted = size if found else _whole(min(size, self._given or free // 4))
        if found < wanted and free < 2 * wanted:
            return found
        path.unlink(missing_ok=True)
        if wanted:
            _make(path, wanted)
            self._given = 0
        return wanted


def _allocated(path: Path) -> int:
    """Return the size of a file that has all of its bytes on the disk; 0 for any other."""
    if not path.is_file() or path.is_symlink():
        return 0
    found = path.stat()
    return found.st_size if found.st_blocks * 512 >= found.st_size else 0


def _make(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _fill(descriptor, size)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _fill(descriptor: int, size: int) -> None:
    """Allocate every byte; where the system cannot be asked for that, bytes are written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    for _ in range(size // len(_PAGE)):
        os.write(descriptor, _PAGE)


def checkpoint_pages(size: int) -> int:
    """Return with how many pages the log is folded in, so that a reserve of *size* bytes can take them."""
    return max(1, min(CHECKPOINT_PAGES, size * 2 // 3 // len(_PAGE)))


def size_for(limit: int) -> int:
    """Return how much is kept back where the state may take *limit* bytes, in whole pages."""
    return _whole(min(MAX_BYTES, limit // SHARE))


def _whole(size: int) -> int:
    return size // len(_PAGE) * len(_PAGE)
