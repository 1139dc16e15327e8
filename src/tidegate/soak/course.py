"""The course of a soak: waves of sessions against real gateway code, readings between them, and quiet in the end."""

import asyncio
import time
from pathlib import Path
from typing import Protocol

import msgspec
import psutil

from tidegate.clock import HOUR_MS
from tidegate.engine import Engine, engine
from tidegate.soak.load import Load
from tidegate.soak.scenario import Scenario
from tidegate.soak.virtual import VirtualClock, VirtualLoop
from tidegate.soak.watch import Seen, Watch

LOOKS = 120  # full readings in a run
POLL_S = 3_600.0  # a runner that looks for work every 5 s of 30 virtual days does little else


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """How far a soak is."""

    done: int
    sessions: int
    stored: int
    rss_bytes: int
    disk_bytes: int
    virtual_ms: int
    per_second: float


class Progress(Protocol):
    """Whoever shows how far it is."""

    def wants(self) -> bool:
        """Whether it is time to show something."""

    def show(self, now: Now) -> None:
        """Show it."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a soak has found."""

    done: int
    entries: int
    shapes: dict[str, int]
    astray: int
    first_astray: str
    seen: Seen
    floors: list[tuple[int, int]]
    growth_bytes: int
    #: sessions and blobs that were left once everything was due
    left: int
    left_blobs: int
    sweeps: int
    virtual_ms: int
    wall_s: float
    cpu_s: float


class Course:
    """One soak under way."""

    def __init__(self, inside: Engine, scenario: Scenario, progress: Progress, *, leaks: bool) -> None:
        self._inside = inside
        self._scenario = scenario
        self._progress = progress
        self._watch = Watch(inside, scenario.sessions)
        self._load = Load(inside, scenario, self._watch.glance, leaks=leaks)
        self._started_s = time.monotonic()
        self._started_cpu_s = time.process_time()
        self._started_ms = inside.clock.monotonic()
        self._sweeps = 0
        inside.sweeper.on_sweep = self._count_sweep
        inside.runner.poll_s = POLL_S

    async def run(self) -> Facts:
        """Let all sessions come and go."""
        scenario = self._scenario
        every = max(1, scenario.waves // LOOKS)
        for number in range(scenario.waves):
            await self._until(number * scenario.gap_ms)
            await self._load.wave()
            await self._until(number * scenario.gap_ms + scenario.gap_ms // 2)
            self._watch.count()
            if number % every == 0 or number == scenario.waves - 1:
                await self._watch.look(self._load.done)
            if self._progress.wants():
                self._progress.show(self._now())
        passed_s = time.monotonic() - self._started_s
        virtual_ms = self._passed_ms()
        await self._until(virtual_ms + scenario.residence_ms + HOUR_MS)
        await self._watch.look_at_store()
        return self._facts(passed_s, virtual_ms)

    async def _until(self, virtual_ms: int) -> None:
        """Let virtual time pass; when this returns, nothing that was due before is under way."""
        await asyncio.sleep((virtual_ms - self._passed_ms()) / 1_000)

    def _passed_ms(self) -> int:
        return self._inside.clock.monotonic() - self._started_ms

    def _count_sweep(self, _seconds: float) -> None:
        self._sweeps += 1

    def _now(self) -> Now:
        path = self._inside.store.path
        files = (path, path.with_name(f"{path.name}-wal"))
        return Now(
            done=self._load.done,
            sessions=self._scenario.sessions,
            stored=self._watch.stored,
            rss_bytes=psutil.Process().memory_info().rss,
            disk_bytes=sum(file.stat().st_size for file in files if file.exists()),
            virtual_ms=self._passed_ms(),
            per_second=self._load.done / (time.monotonic() - self._started_s),
        )

    def _facts(self, wall_s: float, virtual_ms: int) -> Facts:
        load, watch = self._load, self._watch
        return Facts(
            done=load.done,
            entries=load.entries,
            shapes=dict(sorted(load.shapes.items())),
            astray=load.astray,
            first_astray=load.first_astray,
            seen=watch.seen,
            floors=watch.floors.points,
            growth_bytes=watch.floors.growth_bytes,
            left=watch.stored,
            left_blobs=self._inside.store.tallies().blobs,
            sweeps=self._sweeps,
            virtual_ms=virtual_ms,
            wall_s=wall_s,
            cpu_s=time.process_time() - self._started_cpu_s,
        )


async def soak(
    loop: VirtualLoop, folder: Path, scenario: Scenario, progress: Progress, *, leaks: bool
) -> Facts:
    """Open a gateway without an edge on a folder, let a scenario take its course, and close it.

    Raises:
        FolderHeld, StorageFailed, Broken: It cannot be opened or go on; in an exception group.
    """
    clock = VirtualClock(loop)
    async with engine(scenario.config, folder, clock) as inside:
        loop.works.append(lambda: inside.store.writer.untold)
        async with asyncio.TaskGroup() as tasks:
            services = [
                tasks.create_task(service)
                for service in (inside.sweeper.serve(), inside.runner.serve(), _until_broken(inside))
            ]
            facts = await Course(inside, scenario, progress, leaks=leaks).run()
            for service in services:
                service.cancel()
        return facts


async def _until_broken(inside: Engine) -> None:
    """Fail when the store can acknowledge nothing more."""
    await inside.broken
