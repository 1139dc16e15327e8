"""A store in a house of its own: a manual clock, policies, and the ways in which it may be left and entered again."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from tidegate.bounded import Registry
from tidegate.clock import ManualClock
from tidegate.domain.policy import DEFAULTS, Policies
from tidegate.store.port import Store
from tidegate.store.sqlite import NAME, SqliteStore
from tidegate.store.tx import Effects


class House(Protocol):
    """Somebody's data, a clock, and the store that is open on the data now."""

    @property
    def clock(self) -> ManualClock:
        """The clock, moved by hand."""

    @property
    def heard(self) -> list[Effects]:
        """The effects that listeners were told since the store was opened."""

    @property
    def store(self) -> Store:
        """The open store."""

    async def reopen(self, policies: Policies | None = None) -> None:
        """Close the store in good order and open the same data, with other policies if any are given."""

    async def crash(self) -> None:
        """Leave the store as a killed process would, and open what the disk then holds."""


class SqliteHouse:
    """A house whose data are in one folder."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.heard: list[Effects] = []
        self.policies: Policies = DEFAULTS
        self._folders = folder
        self._lives = 0
        self.folder = self._next_folder()
        self.store: SqliteStore

    async def open(self) -> None:
        """Open the store."""
        self.heard = []
        self.store = await SqliteStore.open(self.folder, self.clock, self.policies, Registry())
        self.store.listen(self.heard.append)

    async def close(self) -> None:
        """Close the store in good order."""
        await self.store.close()

    async def reopen(self, policies: Policies | None = None) -> None:
        """Close and open the store."""
        await self.close()
        self.policies = policies or self.policies
        await self.open()

    async def crash(self) -> None:
        """Open a copy of the files as they lie on the disk: the log is not folded in, nothing was said goodbye to."""
        left = self.folder
        self.folder = self._next_folder()
        for suffix in ("", "-wal"):
            shutil.copy(left / (NAME + suffix), self.folder / (NAME + suffix))
        await self.close()
        shutil.rmtree(left)
        await self.open()

    def _next_folder(self) -> Path:
        self._lives += 1
        folder = self._folders / str(self._lives)
        folder.mkdir()
        return folder


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[SqliteHouse]:
    """Open a house in a folder and close it."""
    house = SqliteHouse(folder)
    await house.open()
    try:
        yield house
    finally:
        await house.close()


#: each store that the contract holds for
HOUSES: dict[str, Callable[[Path], AbstractAsyncContextManager[House]]] = {"sqlite": sqlite}
