"""Files below a root that nothing leaves: no link on the way, no `..`, no pipe that would block.

Every step is opened relative to the folder before it and follows no link, so that nobody can swap one in between.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class OutsideError(OSError):
    """A link leads out of its root."""


def inside(path: Path, root: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the real root and the steps from there to where *path* really is; links inside the root are fine.

    Raises:
        OutsideError: It is not below the root.
        OSError: It is not there.
    """
    real_root, real = root.resolve(strict=True), path.resolve(strict=True)
    if not real.is_relative_to(real_root):
        raise OutsideError(f"{str(path)!r} leads out of {str(root)!r}")
    return real_root, real.relative_to(real_root).parts


def read(root: Path, steps: Sequence[str], limit: int) -> bytes:
    """Return the bytes of a regular file, one more than *limit* at most.

    Raises:
        OSError: It is not there, not a regular file, cannot be read, or a link is in the way.
    """
    with _opened(root, steps) as file:
        parts = bytearray()
        while len(parts) <= limit and (part := os.read(file, limit + 1 - len(parts))):
            parts += part
        return bytes(parts)


@contextmanager
def _opened(root: Path, steps: Sequence[str]) -> Iterator[int]:
    folder = os.open(root, _FOLDER)
    try:
        for step in steps[:-1]:
            inner = os.open(step, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        if not stat.S_ISREG(os.stat(steps[-1], dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError("not a regular file")
        file = os.open(steps[-1], _FILE, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError("not a regular file")
        yield file
    finally:
        os.close(file)
