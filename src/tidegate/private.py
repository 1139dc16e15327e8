"""Files and folders for their owner alone: looked at without following a link or waiting for a pipe.

What somebody else could have put there, or could still change, is refused; what others may only read is tightened, and
whoever asked is told, because they may have read it already. As root nothing is excused: a folder of another user is
not root's.
"""

import errno
import os
import stat
from pathlib import Path

from tidegate.errors import FolderUnsafe

MAX_BYTES = 64 << 10  # of a small file that is read whole
OTHERS = 0o077

_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read(path: Path) -> bytes | None:
    """Return what stands in a small file of this user's; None if there is none.

    Raises:
        FolderUnsafe: It is no plain file, is somebody else's, or others may write to it.
    """
    descriptor = _open(path)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        check(path, found)
        if found.st_mode & 0o022:
            raise FolderUnsafe(f"others may write to {str(path)!r}", hint=f"chmod 600 {path}")
        return file.read(MAX_BYTES)


def tighten(path: Path, *, is_folder: bool = False) -> str:
    """See to it that a file or folder, if it is there, is its owner's alone; return what was changed, or nothing.

    Raises:
        FolderUnsafe: It is something else, is somebody else's, or has a second name.
        OSError: It cannot be changed.
    """
    descriptor = _open(path)
    if descriptor is None:
        return ""
    try:
        found = os.fstat(descriptor)
        check(path, found, is_folder=is_folder)
        mode = stat.S_IMODE(found.st_mode)
        if not mode & OTHERS:
            return ""
        if mode & stat.S_ISVTX or os.path.samestat(found, Path("/").stat()):
            raise FolderUnsafe(f"{str(path)!r} is shared with others", hint="name a folder of its own")
        os.fchmod(descriptor, mode & ~OTHERS)
    finally:
        os.close(descriptor)
    return f"{path} was open to others (mode {mode:o}); now it is not"


def check(path: Path, found: os.stat_result, *, is_folder: bool = False) -> None:
    """Refuse what is no plain file (or no folder) of this user's under one name.

    Raises:
        FolderUnsafe: It is so.
    """
    if not (stat.S_ISDIR if is_folder else stat.S_ISREG)(found.st_mode):
        wanted = "folder" if is_folder else "plain file"
        raise FolderUnsafe(f"{str(path)!r} is no {wanted}", hint="move it away")
    if found.st_uid != os.geteuid():
        raise FolderUnsafe(
            f"{str(path)!r} belongs to user {found.st_uid}, and this is user {os.geteuid()}",
            hint="start it as the owner, or name another folder with --state",
        )
    if not is_folder and found.st_nlink > 1:
        raise FolderUnsafe(
            f"{str(path)!r} has a second name somewhere (a hard link)", hint=f"copy it: cp {path} {path}.copy"
        )


def _open(path: Path) -> int | None:
    """Open something to look at; None if it is not there."""
    try:
        return os.open(path, _LOOK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            raise FolderUnsafe(
                f"{str(path)!r} is a link", hint="put there what it leads to, or name that with --state"
            ) from error
        what = "is a socket or device" if error.errno in {errno.ENXIO, errno.ENODEV} else "cannot be opened"
        raise FolderUnsafe(f"{str(path)!r} {what}: {error.strerror}", hint="look at it: ls -l") from error
