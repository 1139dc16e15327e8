"""The database file: how large it is, and how it gives space back without stopping.

Freed pages are reused first; what is more than `SLACK_PAGES` and a twentieth of the file goes back to the disk, a few
hundred pages at a time, and the log is folded in once nothing is left to give back.
"""

from pathlib import Path
from typing import NamedTuple

import apsw

from tidegate.store.connection import BUSY_MS, SqliteReads, pragma
from tidegate.store.tx import Reads

SLICE_PAGES = 300
SLACK_PAGES = 128
SLACK_SHARE = 20  # a twentieth
LOG_BYTES = 4 << 20


class Size(NamedTuple):
    """Bytes of the main file, of its log, of the free pages, and of all the others, wherever they lie."""

    main: int
    wal: int
    free: int
    live: int


def compact(connection: apsw.Connection, path: Path) -> bool:
    """Give one slice of free pages back; say whether another one is worth it."""
    if _excess(connection) > 0:
        connection.execute(f"PRAGMA incremental_vacuum({SLICE_PAGES})").fetchall()
        if _excess(connection) > 0:
            return True
        fold(connection)
    elif size_of(path.with_name(path.name + "-wal")) > LOG_BYTES:
        fold(connection)
    return False


def measure(reads: Reads, path: Path) -> Size:
    """Say how large the database is, on the disk and inside."""
    if not isinstance(reads, SqliteReads):
        raise TypeError
    page_bytes, free = reads.pragma("page_size"), reads.pragma("freelist_count")
    return Size(
        main=size_of(path),
        wal=size_of(path.with_name(path.name + "-wal")),
        free=free * page_bytes,
        live=(reads.pragma("page_count") - free) * page_bytes,
    )


def live_bytes(reads: Reads) -> int:
    """Return the bytes of the pages in use, in the main file and in its log."""
    if not isinstance(reads, SqliteReads):
        raise TypeError
    return (reads.pragma("page_count") - reads.pragma("freelist_count")) * reads.pragma("page_size")


def size_of(path: Path) -> int:
    """Return the size of a file, 0 if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def fold(connection: apsw.Connection) -> None:
    """Fold the log in; while somebody reads (a backup, a scrub) it is left for the next time, not waited for."""
    connection.set_busy_timeout(0)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.set_busy_timeout(BUSY_MS)


def _excess(connection: apsw.Connection) -> int:
    free = pragma(connection, "freelist_count")
    return free - max(SLACK_PAGES, pragma(connection, "page_count") // SLACK_SHARE)
