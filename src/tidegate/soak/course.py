"""The course of a soak: waves of sessions against real gateway code, readings between them, and quiet in the end."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import psutil

from tidegate.clock import HOUR_MS
from tidegate.domain.session import PolicyName
from tidegate.engine import Engine, engine
from tidegate.folder import prepare
from tidegate.soak.census import Census
from tidegate.soak.floor import WARM_UP
from tidegate.soak.leak import Leak
from tidegate.soak.load import Load
from tidegate.soak.plan import Plan
from tidegate.soak.virtual import VirtualClock, VirtualLoop
from tidegate.soak.watch import Reading, Seen, Watch

LOOKS = 120  # full readings in a run
POLL_S = 3_600.0  # a runner that looks for work every 5 s of 30 virtual days does little else


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """How far a soak is."""

    done: int
    sessions: int
    stored: int
    rss_bytes: int
    disk_bytes: int
    #: on the clock that the gateway lives by
    passed_ms: int
    per_second: float
    is_virtual: bool = True
    #: how much of the whole is over
    share: float = 0.0


class Progress(Protocol):
    """Whoever shows how far it is."""

    def wants(self) -> bool:
        """Whether it is time to show something."""

    def show(self, now: Now) -> None:
        """Show it."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a soak has found."""

    born: Mapping[PolicyName, int]
    most_a_wave: Mapping[PolicyName, int]
    #: None where only the gateway could count them
    entries: int | None
    #: what was said, by its shape
    shapes: dict[str, int]
    #: runs by lane and outcome
    ends: dict[str, int]
    astray: int
    first_astray: str
    seen: Seen
    readings: Sequence[Reading]
    floors: list[tuple[int, int]]
    #: of which memory they are
    memory: str = "resident"
    #: which share of the whole they leave out
    warm_up: float = WARM_UP
    growth_bytes: int
    #: sessions that should go, and blobs, that were left once everything was due
    left: int
    left_blobs: int
    sweeps: int
    #: on the clock that the gateway lives by
    passed_ms: int
    wall_s: float
    cpu_s: float
    is_virtual: bool = True

    @property
    def done(self) -> int:
        """How many sessions have come."""
        return sum(self.born.values())


class Course:
    """One soak under way."""

    def __init__(self, inside: Engine, plan: Plan, progress: Progress, *, leaks: bool) -> None:
        self._inside = inside
        self._plan = plan
        self._progress = progress
        self._census = Census(plan.strays)
        self._watch = Watch(inside)
        self._load = Load(inside, plan, self._watch.glance)
        self._started_s = time.monotonic()
        self._started_cpu_s = time.process_time()
        self._started_ms = inside.clock.monotonic()
        self._share = 0.0
        inside.store.listen(self._census.on_commit)
        if leaks:
            inside.store.listen(Leak().on_commit)
        inside.runner.poll_s = POLL_S
        inside.cron.look_s = POLL_S
        inside.disk.look_s = POLL_S

    async def run(self) -> tuple[float, int]:
        """Let all sessions come; return how long that took, in real seconds and in virtual ms."""
        plan, census = self._plan, self._census
        every = max(1, plan.waves // LOOKS)
        number, share = 0, 0.0
        while share < 1:
            await self._until(number * plan.gap_ms)
            await self._load.wave(number)
            await self._until(number * plan.gap_ms + plan.gap_ms // 2)
            census.turn()
            self._watch.count()
            self._share = share = plan.share(number + 1, census.total)
            if number % every == 0 or share >= 1:
                await self._watch.look(census.total, share)
            if self._progress.wants():
                self._progress.show(self._now())
            number += 1
        return time.monotonic() - self._started_s, self._passed_ms()

    async def rest(self) -> None:
        """Let every session go that came."""
        lives = [self._plan.residence_ms(name) or 0 for name in self._census.born]
        await self._until(self._passed_ms() + max(lives, default=0) + 2 * HOUR_MS)
        await self._watch.look_at_store()

    async def _until(self, virtual_ms: int) -> None:
        """Let virtual time pass; when this returns, nothing that was due before is under way."""
        await asyncio.sleep(max(0, virtual_ms - self._passed_ms()) / 1_000)

    def _passed_ms(self) -> int:
        return self._inside.clock.monotonic() - self._started_ms

    def _now(self) -> Now:
        path = self._inside.store.path
        files = (path, path.with_name(f"{path.name}-wal"))
        return Now(
            done=self._census.total,
            sessions=self._plan.sessions,
            stored=self._watch.stored.total(),
            rss_bytes=psutil.Process().memory_info().rss,
            disk_bytes=sum(file.stat().st_size for file in files if file.exists()),
            passed_ms=self._passed_ms(),
            per_second=self._census.total / (time.monotonic() - self._started_s),
            share=self._share,
        )

    def facts(self, wall_s: float, passed_ms: int) -> Facts:
        """Return what was found, once all is over."""
        load, watch, census = self._load, self._watch, self._census
        goes = [name for name in census.born if self._plan.residence_ms(name) is not None]
        keeps = len(goes) < len(census.born)
        return Facts(
            born=dict(sorted(census.born.items())),
            most_a_wave=census.most_a_wave,
            entries=census.entries,
            shapes=dict(sorted(load.shapes.items())),
            ends={f"{lane} {outcome}": count for (lane, outcome), count in sorted(census.ends.items())},
            astray=load.astray + census.astray,
            first_astray=load.first_astray or census.first_astray,
            seen=watch.seen,
            readings=watch.readings,
            floors=watch.floors.points,
            growth_bytes=watch.floors.growth_bytes,
            left=sum(watch.stored[name] for name in goes),
            left_blobs=0 if keeps else self._inside.store.tallies().blobs,
            sweeps=sum(self._inside.sweeper.seconds.counts),
            passed_ms=passed_ms,
            wall_s=wall_s,
            cpu_s=time.process_time() - self._started_cpu_s,
        )


async def soak(loop: VirtualLoop, folder: Path, plan: Plan, progress: Progress, *, leaks: bool) -> Facts:
    """Open a gateway without an edge on a folder, let a plan take its course, and close it.

    Raises:
        FolderHeld, StorageFailed, Broken: It cannot be opened or go on; in an exception group.
    """
    clock = VirtualClock(loop)
    prepare(folder)
    plan.furnish(folder)
    async with engine(plan.config, folder, clock) as inside:
        loop.works.append(lambda: inside.store.writer.untold)
        async with asyncio.TaskGroup() as tasks:
            course = Course(inside, plan, progress, leaks=leaks)
            services = [
                tasks.create_task(service)
                for service in (
                    inside.sweeper.serve(),
                    inside.disk.serve(),
                    inside.runner.serve(),
                    _until_broken(inside),
                )
            ]
            cron = tasks.create_task(inside.cron.serve())
            took = await course.run()
            cron.cancel()
            await course.rest()
            facts = course.facts(*took)
            for service in services:
                service.cancel()
        return facts


async def _until_broken(inside: Engine) -> None:
    """Fail when the store can acknowledge nothing more."""
    await inside.broken
