"""Copies a store into one file while it is written to; the copy is verified before it gets its name.

The copy is made by SQLite's online backup on a connection of its own, inside one read transaction: it holds what was
committed when that began, and is never begun anew, however busy the writer is. The log cannot be reset meanwhile, so
it grows by what is written during the copy; above `MAX_LOG_BYTES` the copy is given up rather than fill the disk
(docs/DECISIONS.md: the other ways, measured). Verifying needs no lock at all: it reads the copy.

Until it is verified the copy lies in the target's folder as ``tidegate.db.part-…``, locked by its maker; one whose
maker is gone is removed by the next backup into that folder. Then it gets its name at once, by a rename. So under the
name there is either nothing (or what was there before) or a whole copy: one file, readable by its owner alone.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import apsw

from tidegate.errors import BadRequest, Conflict, DiskFull, NotFound, StorageFailed
from tidegate.store import disk, replacement
from tidegate.store.connection import SqliteReads, open_reader
from tidegate.store.file import size_of
from tidegate.store.scrub import verify
from tidegate.store.writer import translate

PART = "tidegate.db.part-"
SLICE_PAGES = 2_000  # about 8 MiB between two looks at the log and at whoever wants to stop
MAX_LOG_BYTES = 512 << 20
LOOK_EVERY = 20_000  # steps of SQLite between two looks while the copy is verified
_MAGIC = b"SQLite format 3\0"

#: told what is done and which part of it, from 0 to 1; raises to give up
Watch = Callable[[str, float], None]


def unwatched(_what: str, _share: float) -> None:
    """Watch nothing."""


class Rules(NamedTuple):
    """How a copy is made."""

    verify: Callable[[apsw.Connection], None] = verify
    #: an older backup under the name may be replaced
    is_forced: bool = False
    watch: Watch = unwatched


class Contents(NamedTuple):
    """What a whole copy holds, as far as its owner should know."""

    bytes: int
    sessions: int
    #: accepted and not done: queued, running or waiting
    open_runs: int


class Part(NamedTuple):
    """A copy that has no name yet."""

    path: Path
    descriptor: int


def back_up(path: Path, target: Path, rules: Rules) -> Contents:
    """Copy the store at *path* into the file *target*, gateway running or not.

    Raises:
        NotFound, BadRequest, Conflict: There is no store; the target cannot be one, or is there already.
        Corrupt: The copy does not verify, so the store is damaged.
        DiskFull, StorageFailed, Unavailable: It could not be written; it took too long.
    """
    if not path.exists():
        raise NotFound(
            f"there is no store in {str(path.parent)!r}", hint="name the state folder with --state"
        )
    replacement.check(path)
    check_target(target, path, is_forced=rules.is_forced)
    try:
        with closing(open_reader(path)) as source:
            return copy(source, target, rules)
    except apsw.Error as error:
        raise translate(error) from error


def copy(source: apsw.Connection, target: Path, rules: Rules) -> Contents:
    """Copy the database of a connection that is in no transaction; it is only read."""
    try:
        sweep(target.parent)
        with _part(target.parent) as part:
            _copy_pages(source, part, rules.watch)
            contents = _finish(part.path, rules)
            os.fsync(part.descriptor)
            _refuse_taken(target, is_forced=rules.is_forced)
            part.path.rename(target)
        disk.sync_folder(target.parent)
    except apsw.FullError as error:
        raise DiskFull(
            f"there is no room for the backup in {str(target.parent)!r}", retry_after_s=60
        ) from error
    except OSError as error:
        raise StorageFailed(f"{str(target)!r} cannot be written: {error.strerror}") from error
    return contents


def check_target(target: Path, store: Path, *, is_forced: bool) -> None:
    """Refuse a target that is no place for a backup; what is replaced by force is an older backup, nothing else.

    Raises:
        NotFound, BadRequest, Conflict: Its folder is missing; it is no file, or the store itself; it is there.
    """
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {str(target.parent)!r}", hint="create it first")
    if target.name.startswith((store.name, "gateway.")) and target.parent.samefile(store.parent):
        raise BadRequest(
            f"{target.name!r} is a name of the gateway's own", hint="take another name, or folder"
        )
    _refuse_taken(target, is_forced=is_forced)
    if os.path.lexists(target) and (_is_same(target, store) or not is_database(target)):
        raise BadRequest(f"{str(target)!r} is no backup, so it is not replaced", hint="take another name")


def is_database(path: Path) -> bool:
    """Whether a file begins as one of SQLite does; nothing but a plain file is opened."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def sweep(folder: Path) -> None:
    """Remove copies whose makers are gone."""
    for part in folder.glob(f"{PART}*"):
        if part.name.endswith(("-wal", "-shm", "-journal")):
            continue
        if not stat.S_ISREG(part.lstat().st_mode):
            continue
        with suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _discard(part)


@contextmanager
def _part(folder: Path) -> Iterator[Part]:
    """Make an empty file for the copy, held while it is made; whatever is left of it at the end is removed."""
    part = folder / f"{PART}{secrets.token_hex(6)}"
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield Part(part, descriptor)
    finally:
        _discard(part)
        os.close(descriptor)


def _discard(part: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal", ""):
        part.with_name(part.name + suffix).unlink(missing_ok=True)


def _copy_pages(source: apsw.Connection, part: Part, watch: Watch) -> None:
    log = Path(f"{source.db_filename('main')}-wal")
    before = size_of(log)
    with closing(apsw.Connection(str(part.path))) as made:
        # a file that nobody knows yet needs no journal, and is synced once, at the end
        for pragma in ("journal_mode = OFF", "synchronous = OFF"):
            made.execute(f"PRAGMA {pragma}").fetchall()
        # with its read transaction open the source stays as it is, and the copy is never begun anew
        with SqliteReads(source).snapshot(), made.backup("main", source, "main") as backup:
            source.execute("SELECT 1 FROM sqlite_schema").fetchall()
            while not backup.step(SLICE_PAGES):
                # little by little: one large sync at the end would hold up those of the writer
                os.fdatasync(part.descriptor)
                watch("copying", 1 - backup.remaining / max(1, backup.page_count))
                if size_of(log) - before > MAX_LOG_BYTES:
                    raise StorageFailed(
                        f"the copy is too slow: the log grew by {MAX_LOG_BYTES >> 20} MiB meanwhile",
                        hint="take a faster disk as the target, or a quieter hour",
                    )


def _finish(part: Path, rules: Rules) -> Contents:
    """Make the copy one plain file, verify it as somebody who opens it later would find it."""
    with closing(apsw.Connection(str(part))) as made:
        # the copy says of itself that it has a log; alone with it nobody needs an index of that
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = DELETE"):
            made.execute(f"PRAGMA {pragma}").fetchall()
    with closing(open_reader(part)) as made, _watched(made, rules.watch):
        rules.verify(made)
        return _contents(made, size_of(part))


@contextmanager
def _watched(made: apsw.Connection, watch: Watch) -> Iterator[None]:
    """Let the watcher look while SQLite works; what it raises ends the work."""

    def look() -> bool:
        watch("verifying", 0.0)
        return False

    made.set_progress_handler(look, LOOK_EVERY)
    try:
        yield
    finally:
        made.set_progress_handler(None)


def _contents(made: apsw.Connection, size: int) -> Contents:
    try:
        row = SqliteReads(made).one("backup_contents")
    except apsw.SQLError:
        row = None  # of a schema that has no sessions there is nothing to tell
    return Contents(size, *row) if row else Contents(size, 0, 0)


def _refuse_taken(target: Path, *, is_forced: bool) -> None:
    if not is_forced and os.path.lexists(target):
        raise Conflict(f"{str(target)!r} is there already", hint="take another name, or --force")


def _is_same(target: Path, store: Path) -> bool:
    """Whether a name, a link or a second name of the file leads to the store itself."""
    return target.exists() and target.samefile(store)
