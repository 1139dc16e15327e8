"""How much the state may take on its disk: as configured, as found fit at the first start, or as it would be now."""

from contextlib import closing
from pathlib import Path

import apsw

from tidegate.domain.storage import usual_limit
from tidegate.store import disk
from tidegate.store.connection import SqliteReads, open_reader
from tidegate.store.file import size_of
from tidegate.store.sqlite import NAME

KEPT = "disk_limit"  # under this key the store remembers what was found fit


def quota(folder: Path, wanted: int | None, kept: str | None) -> int:
    """Return how many bytes the state in a folder may take; *wanted* is what is configured, *kept* what was found."""
    if wanted is not None:
        return wanted
    return int(kept) if kept else usual(folder)


def usual(folder: Path) -> int:
    """Return what is fit now: half of what is free and of what the state has already, 10 GB at most."""
    own = sum(size_of(folder / f"{NAME}{suffix}") for suffix in ("", "-wal"))
    return usual_limit(disk.free_bytes(folder), own)


def look_up(folder: Path, wanted: int | None) -> int:
    """Return the quota of a folder, gateway running or not; nothing is written."""
    path = folder / NAME
    kept = None
    if wanted is None and size_of(path):
        try:
            with closing(open_reader(path)) as connection:
                row = SqliteReads(connection).one("meta", key=KEPT)
        except apsw.Error:
            row = None
        kept = row[0] if row else None
    return quota(folder, wanted, kept)
