"""One gateway for each state folder, held by the kernel: the lock goes with its process, however that ends.

The file says who holds it, for people; nobody judges by its contents, let alone by a process id.
"""

import fcntl
import os
from pathlib import Path
from typing import IO

from tidegate import private
from tidegate.errors import FolderHeld, FolderUnsafe

NAME = "gateway.lock"


class FolderLock:
    """The right to a state folder."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def describe(self, text: str) -> None:
        """Write who holds the folder."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(text)
        self._file.flush()

    def release(self) -> None:
        """Give the folder back; the file stays, so that two starters always meet at the same one."""
        self.describe("")
        self._file.close()


def hold(folder: Path) -> FolderLock:
    """Take the lock of a state folder.

    Raises:
        FolderHeld: Another process has it.
        FolderUnsafe: What has its name is no plain file of this user's.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(folder / NAME, flags, 0o600)
    try:
        private.check(folder / NAME, os.fstat(descriptor))
    except FolderUnsafe:
        os.close(descriptor)
        raise
    file = os.fdopen(descriptor, "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = file.read(500).strip() or "unknown"
        file.close()
        raise FolderHeld(
            f"another gateway holds {str(folder)!r}: {holder}",
            hint="stop it first, or give this one a folder of its own with --state",
        ) from None
    return FolderLock(file)


def is_held(folder: Path) -> bool:
    """Whether some process holds the folder."""
    try:
        hold(folder).release()
    except FolderHeld:
        return True
    except OSError:
        return False
    return False
