"""A connection to the embedded database, and the named queries run on it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from tidegate.domain.event import Audience
from tidegate.domain.policy import Policies
from tidegate.errors import Broken, StorageFailed
from tidegate.store.rows import Row, Value
from tidegate.store.sql import QUERIES
from tidegate.store.tx import Effects

CACHE_KIB = 2_048  # page cache of the writer; a larger one costs memory and gains nothing (store/DESIGN.md)
READER_CACHE_KIB = 1_024
CHECKPOINT_PAGES = 4_000  # about 16 MiB of log between checkpoints
WAL_CAP_BYTES = 64 << 20
BUSY_MS = 5_000
# The driver's cache of prepared statements forgets a slot with each use of any statement, so a statement that is used
# once a session needs more slots than a session uses statements (about 200), or it is prepared again each time.
STATEMENTS = 2_000

# Older libraries can corrupt a database in WAL mode when two connections meet (https://sqlite.org/changes.html,
# 3.51.3); these are the fixed lines.
_FIXED_BACKPORTS = {(3, 44): 6, (3, 50): 7, (3, 51): 3}


def check_library() -> None:
    """Refuse a SQLite library that can corrupt a WAL database.

    Raises:
        Broken: The library is one of those.
    """
    major, minor, patch = map(int, apsw.sqlite_lib_version().split(".")[:3])
    if (major, minor) >= (3, 53) or patch >= _FIXED_BACKPORTS.get((major, minor), 1_000):
        return
    raise Broken(
        f"SQLite {apsw.sqlite_lib_version()} can corrupt a database in WAL mode",
        hint="install apsw from its wheel, which brings SQLite 3.54 along",
    )


def open_writer(path: Path) -> apsw.Connection:
    """Open the one connection that writes and checkpoints; creates the file."""
    connection = apsw.Connection(str(path), statementcachesize=STATEMENTS)
    connection.set_busy_timeout(BUSY_MS)
    _distrust(connection)
    # auto_vacuum is fixed by the first table, so it comes before anything else.
    for pragma in (
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"cache_size = -{CACHE_KIB}",
        "mmap_size = 0",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        f"journal_size_limit = {WAL_CAP_BYTES}",
        "secure_delete = FAST",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def open_reader(path: Path) -> apsw.Connection:
    """Open a connection that can only read and never checkpoints.

    Raises:
        StorageFailed: It is a pipe or the like, which SQLite would wait for.
    """
    if path.exists() and not path.is_file():
        raise StorageFailed(f"{str(path)!r} is no file", hint="look at it: ls -l")
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, statementcachesize=STATEMENTS)
    connection.set_busy_timeout(BUSY_MS)
    _distrust(connection)
    for pragma in (f"cache_size = -{READER_CACHE_KIB}", "mmap_size = 0", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


def _distrust(connection: apsw.Connection) -> None:
    """Let nothing that a file brings along do more than our own schema has to (https://sqlite.org/security.html)."""
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)


def load_extension(connection: apsw.Connection, file: str) -> None:
    """Load an extension of SQLite; nothing else can be loaded afterwards."""
    connection.enable_load_extension(True)  # noqa: FBT003 - the library's signature
    try:
        connection.load_extension(file)
    finally:
        connection.enable_load_extension(False)  # noqa: FBT003 - the library's signature


def pragma(connection: apsw.Connection, name: str) -> int:
    """Return a number that SQLite tells of itself."""
    value = connection.pragma(name)
    if not isinstance(value, int):
        raise Broken(f"SQLite told {value!r} for {name}")
    return value


def shrink(connection: apsw.Connection) -> None:
    """Let go of the cached pages of a connection."""
    connection.execute("PRAGMA shrink_memory").fetchall()


class SqliteReads:
    """Named queries on a connection; every answer is read to its end, so that no read transaction stays open."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection

    def one(self, query: str, **values: Value) -> Row | None:
        """Return the first row of a named query."""
        found = self.connection.execute(QUERIES[query], values).fetchall()
        return found[0] if found else None

    def all(self, query: str, **values: Value) -> list[Row]:
        """Return every row of a named query."""
        return list[Row](self.connection.execute(QUERIES[query], values).fetchall())

    def pragma(self, name: str) -> int:
        """Return a number that SQLite tells of itself."""
        return pragma(self.connection, name)

    def shrink(self) -> None:
        """Let go of cached pages."""
        shrink(self.connection)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let several queries see one state of the database; short, since the log cannot be reset meanwhile."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("COMMIT")


NOBODY = Audience()


class SqliteTx(SqliteReads):
    """A transaction under way on the writer's thread."""

    def __init__(
        self, connection: apsw.Connection, now: int, policies: Policies, audience: Audience | None = None
    ) -> None:
        super().__init__(connection)
        self.now = now
        self.policies = policies
        self.audience = audience or NOBODY
        self.effects = Effects()

    def run(self, query: str, **values: Value) -> int:
        """Carry out a named query and return how many rows it changed."""
        self.connection.execute(QUERIES[query], values)
        return self.connection.changes()


class ReaderSlots:
    """A few read connections, handed to one thread each at a time."""

    def __init__(self, path: Path, count: int) -> None:
        self._free = [SqliteReads(open_reader(path)) for _ in range(count)]
        self._lock = threading.Lock()
        self.count = count

    def load(self, extension: str) -> None:
        """Load an extension into every connection, before any is taken."""
        with self._lock:
            for reads in self._free:
                load_extension(reads.connection, extension)

    def take(self) -> SqliteReads:
        """Take a free connection; the caller's limiter guarantees that there is one."""
        with self._lock:
            return self._free.pop()

    def give(self, reads: SqliteReads) -> None:
        """Hand a connection back."""
        with self._lock:
            self._free.append(reads)

    def shrink(self) -> None:
        """Let go of the cached pages of those that nobody uses."""
        with self._lock:
            for reads in self._free:
                reads.shrink()

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for reads in self._free:
                reads.connection.close()
            self._free.clear()
