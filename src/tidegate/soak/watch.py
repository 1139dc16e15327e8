"""What a soak sees of its gateway, and the most it ever saw: a fixed number of figures, however long it lasts."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import psutil

from tidegate.domain.session import PolicyName
from tidegate.engine import Engine
from tidegate.soak.floor import WARM_UP, Floors, resident_bytes
from tidegate.store.sqlite import READERS
from tidegate.store.tally import StorageBytes

#: what comes and goes: threads that read, tasks that are under way at the moment of a reading
SLACK: Mapping[str, int] = MappingProxyType({"threads": READERS, "tasks": 8})

MIB = 1 << 20


class Peak(msgspec.Struct):
    """The most that a figure was while caches filled and threads started, and after that."""

    warm_up: int = 0
    after: int = 0
    #: how much more it may be
    slack: int = 0

    def take(self, figure: int, *, is_warm_up: bool) -> None:
        """Take in another figure."""
        if is_warm_up:
            self.warm_up = max(self.warm_up, figure)
        else:
            self.after = max(self.after, figure)


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


class Reading(NamedTuple):
    """One full reading, as it is drawn."""

    #: on the clock that the gateway lives by
    passed_ms: int
    wall_s: float
    born: int
    rss_bytes: int
    stored: int
    disk_bytes: int


class Seen(msgspec.Struct, kw_only=True):
    """The figures of a soak; each is the worst of all readings."""

    #: by kind, the most at once
    stored: dict[PolicyName, int] = msgspec.field(default_factory=dict)
    #: snapshots of skills, and the texts that they refer to, each counted once
    snapshots: int = 0
    skills: int = 0
    #: how many of both agents are offered
    offered_snapshots: int = 0
    offered_skills: int = 0
    overdue: int = 0
    orphans: int = 0
    #: by container: how full, and its limit
    containers: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    handles: dict[str, Peak] = msgspec.field(default_factory=dict)
    disk: Disk = Disk()
    log_bytes: int = 0
    #: main file and log together, where they are looked at under load
    files: Peak = msgspec.field(default_factory=Peak)
    rss_bytes: int = 0


class Watch:
    """Reads a gateway between two waves, when nothing is under way."""

    def __init__(self, inside: Engine) -> None:
        self.seen = Seen()
        self.floors = Floors()
        #: twice as many as `course.LOOKS` at most
        self.readings: list[Reading] = []
        self._inside = inside
        self._started_s = time.monotonic()
        self._started_ms = inside.clock.monotonic()

    @property
    def stored(self) -> Counter[PolicyName]:
        """How many sessions there are, by kind."""
        counts: Counter[PolicyName] = Counter()
        for (name, _), (count, _) in self._inside.store.tallies().sessions.items():
            counts[name] += count
        return counts

    def count(self) -> None:
        """Take in how many sessions there are, after each wave."""
        for name, count in self.stored.items():
            self.seen.stored[name] = max(self.seen.stored.get(name, 0), count)

    def glance(self) -> None:
        """Take in how full the containers are, while sessions are under way."""
        seen = self.seen
        for gauge in self._inside.registry:
            fullest, _ = seen.containers.get(gauge.name, (0, 0))
            seen.containers[gauge.name] = (max(fullest, gauge.entries), gauge.limit)

    async def look(self, born: int, share: float) -> None:
        """Take in everything; *born* sessions have come, which is this share of the whole."""
        seen = self.seen
        is_warm_up = share < WARM_UP or not seen.handles
        for name, count in _handles().items():
            # a reader's thread that has had nothing to do for long goes, and comes back when it is needed
            peak = seen.handles.setdefault(name, Peak(slack=SLACK.get(name, 0)))
            peak.take(count, is_warm_up=is_warm_up)
        rss_bytes = resident_bytes()
        self.floors.add(born, rss_bytes, share)
        seen.rss_bytes = max(seen.rss_bytes, rss_bytes)
        disk = await self.look_at_store()
        await self._look_at_skills()
        self.readings.append(
            Reading(
                passed_ms=self._inside.clock.monotonic() - self._started_ms,
                wall_s=time.monotonic() - self._started_s,
                born=born,
                rss_bytes=rss_bytes,
                stored=self.stored.total(),
                disk_bytes=disk.main,
            )
        )

    async def look_at_store(self) -> Disk:
        """Take in what the store holds, and return how large its file is once the log is folded in."""
        seen, store = self.seen, self._inside.store
        seen.overdue = max(seen.overdue, await self._inside.sweeper.overdue())
        seen.orphans = max(seen.orphans, sum((await store.orphans()).values()))
        seen.log_bytes = max(seen.log_bytes, (await store.storage()).wal)
        await store.fold()
        disk = _disk(await store.storage())
        if disk.share >= seen.disk.share:
            seen.disk = disk
        return disk

    async def _look_at_skills(self) -> None:
        """Take in how often the skills are stored: each snapshot is read back, and its texts are counted by hash."""
        seen, inside = self.seen, self._inside
        seen.snapshots = max(seen.snapshots, inside.store.tallies().snapshots)
        offered = {inside.skills.choice(agent).snapshot for agent in inside.agents}
        seen.offered_snapshots = len(offered)
        seen.offered_skills = len({ref.blob for snapshot in offered for ref in snapshot.skills})
        stored = [await inside.store.skills(snapshot.name) for snapshot in offered]
        seen.skills = max(seen.skills, len({ref.blob for refs in stored for ref in refs}))


def _disk(storage: StorageBytes) -> Disk:
    return Disk(main=storage.main, live=storage.main - storage.free)


def _handles() -> dict[str, int]:
    """Count what the process holds open; a worker thread that rests is gone or taken again before the next reading."""
    return {
        "fds": psutil.Process().num_fds(),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
    }
