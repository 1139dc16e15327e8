"""Whether a storm of jobs delays anybody: many of one second, and many after a day without a gateway.

The inside of a gateway (store at synchronous=FULL, offline model, default slots and limits) on a clock that is moved by
hand: 1,000 jobs of one second, then 10,000 jobs that missed a day, a third of them by the minute, a third by the hour,
a third once a day. A probe in the same loop measures how late it wakes, and a person sends a message every quarter of a
second.

Run: python bench/storm.py [--quick]. To reach: loop lag at most 250 ms, one run a job, nothing left due.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

from child import compile_bytecode, folder
from report import Goal, finish, fsync_ms, percentiles, say
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, ManualClock
from tidegate.config import Config, Job
from tidegate.domain.job import FiringOutcome, JobOrigin
from tidegate.domain.run import Origin
from tidegate.engine import Engine, engine
from tidegate.store.tx import Effects

PROBE_S = 0.01
PERSON_S = 0.25
MADE_AT_ONCE = 200
SCHEDULES = (Job(every_ms=MINUTE_MS), Job(cron="7 * * * *"), Job(cron="30 9 * * *", timezone="Europe/Berlin"))


class Blown(NamedTuple):
    """What a storm has left behind."""

    jobs: int
    seconds: float
    fired: int
    missed_rows: int
    still_due: int
    orphans: int
    loop_lag_ms: dict[str, float]
    message_ms: dict[str, float]


class Storm:
    """One storm and what it did to the loop and to a person."""

    def __init__(self, here: Engine, clock: ManualClock) -> None:
        self.here = here
        self.clock = clock
        self.lags: list[float] = []
        self.answers: list[float] = []

    async def make(self, name: str, count: int, *, is_mixed: bool) -> None:
        """Make jobs."""
        schedules = SCHEDULES if is_mixed else SCHEDULES[:1]
        jobs = [
            msgspec.structs.replace(
                schedules[at % len(schedules)], name=f"{name}{at}", prompt="/echo hi", agent="main"
            )
            for at in range(count)
        ]
        for first in range(0, count, MADE_AT_ONCE):
            async with asyncio.TaskGroup() as tasks:
                for job in jobs[first : first + MADE_AT_ONCE]:
                    tasks.create_task(self.here.store.put_job(job, JobOrigin.API))

    async def blow(self, ms: int, runs: int) -> float:
        """Let time pass at once, wait until so many runs have ended, and return how many seconds that took."""
        ended = asyncio.Event()
        left = [runs]

        def count(effects: Effects) -> None:
            left[0] -= sum(run.origin is Origin.FIRING for run in effects.closed)
            if left[0] <= 0:
                ended.set()

        self.here.store.listen(count)
        started = time.perf_counter()
        self.clock.advance(ms)
        here = self.here
        async with asyncio.TaskGroup() as tasks:
            services = [
                tasks.create_task(serve())
                for serve in (here.cron.serve, here.runner.serve, here.sweeper.serve, self._probe, self._talk)
            ]
            await ended.wait()
            took_s = time.perf_counter() - started
            for service in services:
                service.cancel()
        return took_s

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wakes_at = loop.time() + PROBE_S
            await asyncio.sleep(PROBE_S)
            self.lags.append(loop.time() - wakes_at)

    async def _talk(self) -> None:
        while True:
            started = time.perf_counter()
            admitted = await self.here.intake.message("me", "/echo x", "main", is_named=False, receipt=None)
            await self.here.intake.outcome(admitted.run)
            self.answers.append(time.perf_counter() - started)
            await asyncio.sleep(PERSON_S)


async def storm(path: Path, count: int, ms: int, *, is_mixed: bool) -> Blown:
    """Let one storm blow over a new store."""
    clock = ManualClock()
    async with engine(Config(), path, clock) as here:
        one = Storm(here, clock)
        await one.make("j", count, is_mixed=is_mixed)
        took_s = await one.blow(ms, count)
        firings = here.store.tallies().firings
        return Blown(
            jobs=count,
            seconds=round(took_s, 1),
            fired=firings[FiringOutcome.FIRED],
            missed_rows=firings[FiringOutcome.MISSED],
            still_due=len(await here.store.jobs_due(clock.now(), 10, with_isolated=True)),
            orphans=sum((await here.store.orphans()).values()),
            loop_lag_ms=percentiles(one.lags),
            message_ms=percentiles(one.answers),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs")
    share = 10 if parser.parse_args().quick else 1
    compile_bytecode()
    figures: dict[str, Blown] = {}
    goals = []
    with folder(None) as base:
        for name, count, ms, is_mixed in (
            ("one second", 1_000 // share, MINUTE_MS, False),
            ("after a day", 10_000 // share, DAY_MS + HOUR_MS, True),
        ):
            path = base / name.replace(" ", "-")
            path.mkdir()
            say(f"{name}: {count:,} jobs …")
            found = figures[name] = uvloop.run(storm(path, count, ms, is_mixed=is_mixed))
            goals += [
                Goal(f"{name}: loop lag, ms", found.loop_lag_ms["max"], 250),
                Goal(f"{name}: runs more or fewer than one a job", abs(found.fired - count), 0),
                Goal(f"{name}: left due, orphans", found.still_due + found.orphans, 0),
            ]
        conditions = {"durability": "synchronous=FULL", "fsync_ms": fsync_ms(base), "model": "offline"}
    finish("storm", conditions, {name: found._asdict() for name, found in figures.items()}, goals)


if __name__ == "__main__":
    main()
