import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import apsw
import pytest

from tidegate.clock import ManualClock
from tidegate.domain.policy import DEFAULTS
from tidegate.errors import Broken, Busy, DiskFull, StorageFailed
from tidegate.store import writer
from tidegate.store.connection import open_reader, open_writer
from tidegate.store.migrate import migrate
from tidegate.store.tx import Effects, Tx
from tidegate.store.writer import Writer

pytestmark = pytest.mark.anyio

Operation = Callable[[Tx], str]


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


class Desk:
    """A writer on a file of its own, and everything that it told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: how many operations each commit had
        self.groups: list[int] = []
        #: what the operations did, in order
        self.done: list[str] = []
        self.told: list[Effects] = []
        self.broken: list[StorageFailed] = []
        connection = open_writer(path)
        migrate(connection, path.parent)
        self.writer = Writer(connection, ManualClock(), DEFAULTS, self.told.append)
        self.writer.on_commit = lambda _seconds, count: self.groups.append(count)
        self.writer.on_broken = self.broken.append

    def keep(self, key: str, size: int = 1) -> Operation:
        """Return an operation that keeps a value."""

        def operation(tx: Tx) -> str:
            tx.run("meta_kept", key=key, value="x" * size)
            self.done.append(key)
            return key

        return operation

    def fail(self, key: str, error: Exception) -> Operation:
        """Return an operation that keeps a value and then fails."""

        def operation(tx: Tx) -> str:
            tx.run("meta_kept", key=key, value="x")
            raise error

        return operation

    def kept(self) -> list[str]:
        """Return the keys that are on the disk."""
        connection = open_reader(self.path)
        found = connection.execute("SELECT key FROM meta ORDER BY key").fetchall()
        connection.close()
        return [str(row[0]) for row in found]

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the writer's thread busy, so that what is written meanwhile waits together."""
        started, over = threading.Event(), threading.Event()

        def operation(_tx: Tx) -> str:
            started.set()
            over.wait(20)
            return ""

        future = asyncio.run_coroutine_threadsafe(self.writer.write(operation), asyncio.get_running_loop())
        self._over = over
        self._started = started
        self._gate = future
        try:
            yield
        finally:
            over.set()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Desk]:
    """Open a writer and close it."""
    desk = Desk(folder / "tidegate.db")
    try:
        yield desk
    finally:
        await desk.writer.close()
