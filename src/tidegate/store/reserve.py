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
        #: it was let go of, or there was no room for it
        self.is_out = False
        self._path = path
        self._bytes = 0
        self._was_released = False

    @property
    def held_bytes(self) -> int:
        """How much is held."""
        return 0 if self.is_out else self._bytes

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
            self._path.unlink()
        except OSError:
            return False
        self.is_out = self._was_released = True
        return True

    def take(self, size: int) -> bool:
        """Take *size* bytes if there is room, unless they are held; say whether they are held now."""
        if self._path is None or (self._bytes == size and not self.is_out):
            return not self.is_out
        try:
            self.is_out = not self._has(size) and not self._make(size)
        except OSError:
            self.is_out = True
        if not self.is_out:
            self._bytes = size
            self._was_released = False
        return not self.is_out

    def _has(self, size: int) -> bool:
        if self._path is None or not self._path.is_file() or self._path.is_symlink():
            return False
        found = self._path.stat()
        return found.st_size == size and found.st_blocks * 512 >= size

    def _make(self, size: int) -> bool:
        if self._path is None:
            return False
        self._path.unlink(missing_ok=True)
        if disk.free_bytes(self._path.parent) < size * (2 if self._was_released else 1):
            return False
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _fill(descriptor, size)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return True


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
    return min(MAX_BYTES, limit // SHARE) // len(_PAGE) * len(_PAGE)
