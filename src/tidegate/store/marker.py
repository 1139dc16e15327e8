"""A small file beside the store that says that there is one.

A start on a folder whose store has gone, with a disk that is not mounted or by mistake, would begin an empty one, and
nobody would know what was lost. So the file is written once the store is durable, and a start without the store is
refused while it is there.
"""

from pathlib import Path

from tidegate.errors import StorageFailed
from tidegate.store import disk
from tidegate.store.file import size_of

NAME = "gateway.store"
_TEXT = "There is a store beside this file. While it is here, no gateway starts without that.\n"


def check(path: Path) -> None:
    """Refuse to begin a store at *path* where there was one.

    Raises:
        StorageFailed: There was.
    """
    if not size_of(path) and path.with_name(NAME).exists():
        raise StorageFailed(
            f"there was a store in {str(path.parent)!r}, and {path.name} is gone",
            hint="`tidegate restore FILE` brings a backup back; `tidegate up --new-store` begins with nothing",
        )


def leave(path: Path) -> None:
    """Say that there is a store at *path*, which is durable."""
    mark = path.with_name(NAME)
    if not mark.exists():
        mark.touch(mode=0o600)
        mark.write_text(_TEXT)
        disk.sync_file(mark)
        disk.sync_folder(path.parent)


def forget(folder: Path) -> None:
    """Let a store be begun in a folder, whatever was there; one that is there stays."""
    (folder / NAME).unlink(missing_ok=True)
