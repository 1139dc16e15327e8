"""What watching growth costs: CPU of a sample and of a minute's writing, size of full rings, time to read them.

The gateway is one without an edge, in this process, with a store on a real disk; its samples are taken one after the
other instead of one every ten seconds, on a clock that is moved by hand. "Busy" has 10,000 sleeping tasks beside it, as
10,000 open streams would be.

Run: python bench/growth.py [--dir FOLDER]. To reach: at most 0.2 % of a core, 8 MiB on disk when the rings are full.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import NamedTuple

from child import folder
from report import MIB, Goal, finish, say
from tidegate.bounded import Registry
from tidegate.clock import ManualClock, SystemClock
from tidegate.config import Config
from tidegate.domain.sample import FINE, RINGS, Range, Slot
from tidegate.engine import Engine, engine
from tidegate.runtime.growth import Growth
from tidegate.store.connection import pragma

SAMPLES = 180
STREAMS = 10_000
CHUNK = 1_000


class Cost(NamedTuple):
    """CPU of the whole process for a sample, its share of the writing included."""

    sample_ms: float
    core_percent: float


async def sampling(inside: Engine, tasks: int) -> Cost:
    """Take samples, with some sleeping tasks about."""
    clock = ManualClock()
    growth = Growth(inside.store, inside.registry, clock, 1)
    async with asyncio.TaskGroup() as group:
        sleeping = [group.create_task(asyncio.sleep(3_600)) for _ in range(tasks)]
        await growth.tick()
        started = time.process_time()
        for _ in range(SAMPLES):
            clock.advance(FINE.step_ms)
            await growth.tick()
        cpu_s = (time.process_time() - started) / SAMPLES
        for task in sleeping:
            task.cancel()
    return Cost(round(1_000 * cpu_s, 3), round(100 * cpu_s / (FINE.step_ms / 1_000), 4))


async def filling(inside: Engine) -> dict[str, float]:
    """Fill every ring with slots like the last sample, and return what that takes on disk, and what reading takes."""
    growth = Growth(inside.store, Registry(), SystemClock(), 1)
    await growth.tick()
    assert growth.latest is not None  # noqa: S101 - it was just taken
    values = {name: Range(value, value + value // 50, value) for name, value in growth.latest.values.items()}
    before = await _size(inside)
    for ring in RINGS:
        for first in range(0, ring.slots, CHUNK):
            numbers = range(first, min(ring.slots, first + CHUNK))
            slots = [
                Slot(step_ms=ring.step_ms, number=number, at=0, boot=1, values=values) for number in numbers
            ]
            await inside.store.samples.keep(slots)
    after = await _size(inside)
    started = time.perf_counter()
    for ring in RINGS:
        await growth.history(ring, ["rss_bytes", "anonymous_bytes"], 360)
    read_ms = 1_000 * (time.perf_counter() - started) / len(RINGS)
    return {
        "series": len(values),
        "slots": sum(ring.slots for ring in RINGS),
        "disk_mib": round((after - before) / MIB, 2),
        "read_ms": round(read_ms, 1),
    }


async def _size(inside: Engine) -> int:
    """Return how large the main file is, once the log is folded in."""
    return await inside.store.writer.maintain(
        lambda connection: pragma(connection, "page_count") * pragma(connection, "page_size")
    )


async def measure(state: Path) -> dict[str, object]:
    """Measure on a fresh store."""
    async with engine(Config(), state, SystemClock()) as inside:
        say("sampling")
        idle, busy = await sampling(inside, 0), await sampling(inside, STREAMS)
        say("filling the rings")
        return {"idle": idle._asdict(), "busy": busy._asdict(), "rings": await filling(inside)}


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure")
    with folder(parser.parse_args().dir) as state:
        figures = asyncio.run(measure(state))
    busy, rings = figures["busy"], figures["rings"]
    assert isinstance(busy, dict)  # noqa: S101 - as made above
    assert isinstance(rings, dict)  # noqa: S101
    goals = [
        Goal("core, with 10,000 tasks, %", busy["core_percent"], 0.2),
        Goal("full rings on disk, MiB", rings["disk_mib"], 8.0),
    ]
    finish("growth", {"samples": SAMPLES, "streams": STREAMS}, figures, goals)


if __name__ == "__main__":
    main()
