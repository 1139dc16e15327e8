"""Files that a command writes: whole or not at all, for their owner alone."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tidegate.errors import Refused, StorageFailed


class FileExists(Refused):
    """There is a file in this place already."""

    code = "file_exists"


def refuse_to_replace(target: Path, *, force: bool) -> None:
    """Make sure that nothing is overwritten unless somebody asked for it.

    Raises:
        FileExists: Something is there.
    """
    if os.path.lexists(target) and not force:
        raise FileExists(f"{target}: this file exists already", hint="--force replaces it")


@contextmanager
def replacing(target: Path) -> Iterator[TextIO]:
    """Write a file beside its place first; it takes the place when it is whole and on the disk.

    Raises:
        StorageFailed: It cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name[:200]}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fsync(handle)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageFailed(f"{target}: cannot be written: {error.strerror}") from error


def make_folder(folder: Path) -> None:
    """Make a folder for its owner alone, and those above it.

    Raises:
        StorageFailed: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageFailed(f"{folder}: cannot be made: {error.strerror}") from error
