"""A writer on a file of its own, and everything that it told."""

import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from tidegate.clock import ManualClock
from tidegate.domain.policy import DEFAULTS
from tidegate.errors import StoreBroken, TidegateError
from tidegate.store.connection import open_reader, open_writer
from tidegate.store.migrate import migrate
from tidegate.store.tx import Effects, Tx
from tidegate.store.writer import Writer

Operation = Callable[[Tx], str]


class Desk:
    """A writer on a file of its own, and everything that it told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: how many operations each commit had
        self.groups: list[int] = []
        #: what the operations did, in order
        self.done: list[str] = []
        self.told: list[Effects] = []
        self.broken: list[StoreBroken] = []
        self.faults: list[Exception] = []
        connection = open_writer(path)
        migrate(connection, path.parent)
        self.writer = Writer(connection, ManualClock(), DEFAULTS, self.told.append)
        self.writer.on_commit = lambda _seconds, count: self.groups.append(count)
        self.writer.on_broken = self.broken.append
        self.writer.on_fault = self.faults.append

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

    async def together(self, *writes: Coroutine[object, object, object]) -> list[object]:
        """Let writes wait together, in this order, behind one that is under way, and return what became of each."""
        found: list[object] = [None] * len(writes)
        started, over = threading.Event(), threading.Event()

        async def submit(place: int, write: Coroutine[object, object, object]) -> None:
            try:
                found[place] = await write
            except TidegateError as error:
                found[place] = error

        def wait(_tx: Tx) -> None:
            started.set()
            over.wait(20)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.writer.write, wait)
            await anyio.to_thread.run_sync(started.wait, 20)
            for place, write in enumerate(writes):
                tasks.start_soon(submit, place, write)
                await anyio.wait_all_tasks_blocked()
            over.set()
        return found


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Desk]:
    """Open a writer and close it."""
    desk = Desk(folder / "tidegate.db")
    try:
        yield desk
    finally:
        await desk.writer.close()
