"""What makes a file durable, and the room that there is for it."""

import os
from datetime import datetime
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make names durable: of files created in, moved to or removed from *folder*."""
    _sync(folder, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    _sync(path, 0)


def free_bytes(folder: Path) -> int:
    """Return how much may still be written to the disk that *folder* is on."""
    return room(folder)[0]


def room(folder: Path) -> tuple[int, int]:
    """Return how much may still be written to the disk that *folder* is on, and how large that is."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def stamp(now: int) -> str:
    """Print an instant, in local time, as part of a file's name: ``20261121-033000``."""
    return f"{datetime.fromtimestamp(now / 1_000).astimezone():%Y%m%d-%H%M%S}"


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
