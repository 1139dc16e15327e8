"""Brings a backup back: made ready beside the store first, verified, then put in its place.

What is made ready is a copy: the backup itself is only read. It is migrated if it is older, counts its starts on from
the present store, and remembers that it was restored, so that the next gateway holds deleting by date as it does when
the clock is in doubt (``runtime/sweeper.py``): sessions whose date has passed since the backup are not gone at once.
The sign of life of the last sweep stays the backup's, since its dates are to be judged by that.
"""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import apsw

from tidegate.errors import BadRequest, Corrupt, NotFound, StorageFailed
from tidegate.store import backup, disk, migrate, replacement, schema
from tidegate.store.backup import Contents, Rules, Watch
from tidegate.store.connection import SqliteReads, open_reader, open_writer
from tidegate.store.file import size_of
from tidegate.store.replacement import RESTORED_AT
from tidegate.store.scrub import verify, verify_pages
from tidegate.store.sql import QUERIES
from tidegate.store.sqlite import NAME
from tidegate.store.writer import translate

STAGED = f"{NAME}.staged"


class Restored(NamedTuple):
    """What was put in place, and what is to be known about it."""

    contents: Contents
    #: where the store that was there before is kept; None if there was none
    kept: Path | None
    #: sessions whose date for being deleted has passed; held back at first
    overdue_deletes: int


def restore(folder: Path, file: Path, now: int, watch: Watch = backup.unwatched) -> Restored:
    """Put what *file* holds in place of the store of *folder*; needs the folder's lock.

    Raises:
        NotFound, BadRequest: There is no such file; it is no backup of ours, or its schema has been changed.
        ConfigError: It is from a release too far ahead.
        Corrupt: It is damaged.
        DiskFull, StorageFailed: The copy could not be made. Whatever is raised, nothing has been replaced.
    """
    path = folder / NAME
    try:
        replacement.settle(path)
        _check(file)
        staged = _stage(folder, file, watch)
        try:
            contents, overdue = _make_ready(staged, path, now)
        except BaseException:
            _discard(staged)
            raise
        return Restored(contents, replacement.replace(path, staged, disk.stamp(now)), overdue)
    except apsw.Error as error:
        raise translate(error) from error
    except OSError as error:
        raise StorageFailed(f"{str(folder)!r} cannot be written: {error.strerror}") from error


def _check(file: Path) -> None:
    if not file.exists():
        raise NotFound(f"there is no file {str(file)!r}")
    if not backup.is_database(file):
        raise BadRequest(f"{str(file)!r} is no backup of Tidegate", hint="`tidegate backup FILE` makes one")
    with closing(open_reader(file)) as connection:
        try:
            found = SqliteReads(connection).one("backup_tables")
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise Corrupt(f"{str(file)!r} is damaged: {error}", hint="restore another one") from error
        if found != (4,):
            raise BadRequest(f"{str(file)!r} is a database, but none of Tidegate")
        migrate.check_version(connection)


def _stage(folder: Path, file: Path, watch: Watch) -> Path:
    """Copy the backup beside the store."""
    staged = folder / STAGED
    _discard(staged)
    try:
        with closing(open_reader(file)) as source:
            backup.copy(source, staged, Rules(verify=verify_pages, watch=watch))
    except Corrupt as error:
        raise Corrupt(f"{str(file)!r} is damaged: {error.message}", hint="restore another one") from error
    return staged


def _make_ready(staged: Path, path: Path, now: int) -> tuple[Contents, int]:
    """Make of a copy what is to be put in place: of this schema, verified to the last byte, one file."""
    boots = _boots(path)
    with closing(open_reader(staged)) as connection:
        schema.check(connection, "the backup")
    with closing(open_writer(staged)) as connection:
        migrate.upgrade(connection)
        reads = SqliteReads(connection)
        boots = max(boots, _number(reads, "boots"))
        for key, value in (("boots", boots), (RESTORED_AT, now)):
            connection.execute(QUERIES["meta_kept"], {"key": key, "value": str(value)})
        verify(connection)
        row = reads.one("backup_contents") or (0, 0)
        overdue = {row[0]: int(row[1]) for row in reads.all("due_counts", until=now, with_deletes=True)}
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    disk.sync_file(staged)
    return Contents(size_of(staged), row[0], row[1]), overdue.get("deleted", 0)


def _boots(path: Path) -> int:
    """Return how often a gateway has started on the present store, 0 where it cannot be read any more."""
    if not path.exists():
        return 0
    try:
        with closing(open_reader(path)) as connection:
            return _number(SqliteReads(connection), "boots")
    except apsw.Error:
        return 0


def _number(reads: SqliteReads, key: str) -> int:
    row = reads.one("meta", key=key)
    return int(row[0]) if row else 0


def _discard(staged: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal", ""):
        staged.with_name(staged.name + suffix).unlink(missing_ok=True)
