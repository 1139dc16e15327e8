"""What a soak sees of its gateway, and the most it ever saw: a fixed number of figures, however long it lasts."""

import asyncio
import threading

import msgspec
import psutil

from tidegate.engine import Engine
from tidegate.soak.floor import WARM_UP, Floors, resident_bytes
from tidegate.store.port import StorageBytes

MIB = 1 << 20


class Peak(msgspec.Struct):
    """The most that a figure was while caches filled and threads started, and after that."""

    warm_up: int = 0
    after: int = 0


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """The main file after its log was folded in, and what its pages in use hold."""

    main: int = 0
    live: int = 0

    @property
    def bound(self) -> int:
        """How large the file may be."""
        return max(self.live + self.live // 2, self.live + 4 * MIB)

    @property
    def share(self) -> float:
        """Which part of its bound the file takes."""
        return self.main / self.bound


class Seen(msgspec.Struct, kw_only=True):
    """The figures of a soak; each is the worst of all readings."""

    stored: int = 0
    overdue: int = 0
    orphans: int = 0
    #: by container: how full, and its limit
    containers: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    handles: dict[str, Peak] = msgspec.field(default_factory=dict)
    disk: Disk = Disk()
    log_bytes: int = 0
    rss_bytes: int = 0


class Watch:
    """Reads a gateway between two waves, when nothing is under way."""

    def __init__(self, inside: Engine, sessions: int) -> None:
        self.seen = Seen()
        self.floors = Floors(sessions)
        self._inside = inside
        self._sessions = sessions

    @property
    def stored(self) -> int:
        """How many sessions there are."""
        return sum(count for count, _ in self._inside.store.tallies().sessions.values())

    def count(self) -> None:
        """Take in how many sessions there are, after each wave."""
        self.seen.stored = max(self.seen.stored, self.stored)

    def glance(self) -> None:
        """Take in how full the containers are, while sessions are under way."""
        seen = self.seen
        for gauge in self._inside.registry:
            fullest, _ = seen.containers.get(gauge.name, (0, 0))
            seen.containers[gauge.name] = (max(fullest, gauge.entries), gauge.limit)

    async def look(self, done: int) -> None:
        """Take in everything; *done* sessions have ended."""
        seen = self.seen
        is_warm_up = done < WARM_UP * self._sessions or not seen.handles
        for name, count in _handles().items():
            peak = seen.handles.setdefault(name, Peak())
            if is_warm_up:
                peak.warm_up = max(peak.warm_up, count)
            else:
                peak.after = max(peak.after, count)
        rss_bytes = resident_bytes()
        self.floors.add(done, rss_bytes)
        seen.rss_bytes = max(seen.rss_bytes, rss_bytes)
        await self.look_at_store()

    async def look_at_store(self) -> None:
        """Take in what the store holds, and how large its file is once the log is folded in."""
        seen, store = self.seen, self._inside.store
        seen.overdue = max(seen.overdue, await self._inside.sweeper.overdue())
        seen.orphans = max(seen.orphans, sum((await store.orphans()).values()))
        seen.log_bytes = max(seen.log_bytes, (await store.storage()).wal)
        await store.fold()
        disk = _disk(await store.storage())
        if disk.share >= seen.disk.share:
            seen.disk = disk


def _disk(storage: StorageBytes) -> Disk:
    return Disk(main=storage.main, live=storage.main - storage.free)


def _handles() -> dict[str, int]:
    """Count what the process holds open; a worker thread that rests is gone or taken again before the next reading."""
    return {
        "fds": psutil.Process().num_fds(),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
    }
