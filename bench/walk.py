"""How far the data walks: the files and the calls of one message, firing, spawn, sweep and compaction.

The inside of a gateway as the gateway itself builds it, on a new store with the offline model and a clock that is moved
by hand. Each walk is done once to warm up and once to count, from intake to the end of the run, on all threads: how
many functions are entered, resumed ones not counted again, in how many files of the package, and how many of these are
entered from another file of it. A task or a thread begins in nobody's file. Comprehensions count as a part of where
they stand.

Run: python bench/walk.py [--top N]. To reach, for a message: 32 files, 170 calls from file to file.
"""

import argparse
import asyncio
import sys
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import tidegate
from child import folder
from report import Goal, finish, say
from tidegate.clock import HOUR_MS, MINUTE_MS, ManualClock
from tidegate.config import Config, Job
from tidegate.domain.job import JobOrigin
from tidegate.domain.run import Origin
from tidegate.engine import Engine, engine
from tidegate.store.tx import Effects

HOUSE = f"{Path(tidegate.__file__).parent}/"
PARTS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<module>"})
MAX_FILES, MAX_ACROSS = 32, 170
WARM = 2  # walks before the one that counts
QUIET_S = 0.2

Call = tuple[str, str, str]  # the file that called, the file and the function that were entered


class Walk(NamedTuple):
    """What one walk took."""

    files: int
    calls: int
    across: int


class Tracer:
    """Counts while it is told to; it has to be there before any thread is."""

    def __init__(self) -> None:
        self.calls: Counter[Call] = Counter()
        self.is_on = False
        self._seen: dict[int, FrameType] = {}
        threading.setprofile(self._take)
        sys.setprofile(self._take)

    def begin(self) -> None:
        """Count from here on."""
        self.calls, self._seen, self.is_on = Counter(), {}, True

    def end(self) -> Walk:
        """Return what came since."""
        self.is_on = False
        files = {callee for _, callee, _ in self.calls}
        return Walk(files=len(files), calls=self.calls.total(), across=self.across.total())

    @property
    def across(self) -> "Counter[Call]":
        """The calls from file to file."""
        return Counter({call: count for call, count in self.calls.items() if call[0] not in {"", call[1]}})

    def _take(self, frame: FrameType, event: str, _: object) -> None:
        if not self.is_on or event != "call" or not _is_ours(frame.f_code):
            return
        if id(frame) in self._seen:  # resumed; it is held, so that no other has its id
            return
        self._seen[id(frame)] = frame
        self.calls[_caller(frame), _file(frame.f_code), frame.f_code.co_qualname] += 1


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(HOUSE) and code.co_name not in PARTS


def _file(code: CodeType) -> str:
    return code.co_filename.removeprefix(HOUSE)


def _caller(frame: FrameType) -> str:
    """Return the nearest file of the package below a frame; empty at the bottom of a task or a thread."""
    below = frame.f_back
    while below is not None and not below.f_code.co_filename.startswith(HOUSE):
        below = below.f_back
    return "" if below is None else _file(below.f_code)


class Scenario:
    """One gateway, in which each walk can be taken again and again, once it is prepared."""

    def __init__(self, here: Engine, clock: ManualClock) -> None:
        self._here = here
        self._clock = clock
        self._closed: asyncio.Queue[Origin] = asyncio.Queue()
        here.store.listen(self._on_commit)

    async def nothing(self) -> None:
        """Prepare nothing."""

    async def message(self) -> None:
        """Ask and be answered, in a chat that is there."""
        await self._say("me", "/echo hi")

    async def plan(self) -> None:
        """Have one job that is due, and nothing else that is."""
        for name in [job.name for job in await self._here.store.jobs("", 10)]:
            await self._here.store.remove_job(name)
        job = Job(every_ms=MINUTE_MS, name="j", prompt="/echo hi", agent="main")
        await self._here.store.put_job(job, JobOrigin.API)
        self._clock.advance(MINUTE_MS)

    async def firing(self) -> None:
        """Let a job fire, and its run end."""
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self._here.cron.serve())
            await self._until(Origin.FIRING)
            serving.cancel()

    async def spawn(self) -> None:
        """Have the model hand something to a sub-agent, and hear of its result."""
        await self._say("me", "/spawn 1 /echo hi")

    async def leave(self) -> None:
        """Have one session that is due to leave."""
        await self._here.sweeper.sweep()
        await self.spawn()
        self._clock.advance(2 * HOUR_MS)

    async def sweep(self) -> None:
        """Let it leave for the archive."""
        await self._here.sweeper.sweep()

    async def grow(self) -> None:
        """Say something that is worth a summary."""
        for _ in range(3):
            await self._say("long", "/big 20000")

    async def compaction(self) -> None:
        """Have a chat compacted by hand."""
        await self._say("long", "/compact")

    async def _say(self, key: str, text: str) -> None:
        admitted = await self._here.intake.message(key, text, "main", is_named=False, receipt=None)
        await self._here.intake.outcome(admitted.run)
        await self._until(Origin.MESSAGE)

    async def _until(self, origin: Origin) -> None:
        while await self._closed.get() is not origin:
            pass

    def _on_commit(self, effects: Effects) -> None:
        for run in effects.closed:
            self._closed.put_nowait(run.origin)


async def walked(path: Path, tracer: Tracer, top: int) -> dict[str, Walk]:
    """Take every walk on a new store; tell of the calls from file to file that come most often."""
    clock = ManualClock()
    found: dict[str, Walk] = {}
    async with engine(Config(), path, clock) as here, asyncio.TaskGroup() as tasks:
        await here.store.recover()
        running = tasks.create_task(here.runner.serve())
        scenario = Scenario(here, clock)
        for prepare, walk in (
            (scenario.nothing, scenario.message),
            (scenario.plan, scenario.firing),
            (scenario.nothing, scenario.spawn),
            (scenario.leave, scenario.sweep),
            (scenario.grow, scenario.compaction),
        ):
            for _ in range(WARM):
                await prepare()
                await walk()
            await prepare()
            await until_quiet()
            tracer.begin()
            await walk()
            await until_quiet()
            found[walk.__name__] = tracer.end()
            say(f"{walk.__name__}: {found[walk.__name__]}")
            for (caller, callee, name), count in tracer.across.most_common(top):
                say(f"  {count:4} {caller} -> {callee} {name}")
        running.cancel()
    return found


async def until_quiet() -> None:
    """Let what follows a walk at once come to its end."""
    await asyncio.sleep(QUIET_S)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--top", type=int, default=0, help="tell the N calls from file to file that come most often"
    )
    top = parser.parse_args().top
    tracer = Tracer()
    with folder(None) as base:
        found = asyncio.run(walked(base, tracer, top))
    goals = [
        Goal("files of a message", found["message"].files, MAX_FILES),
        Goal("calls from file to file of a message", found["message"].across, MAX_ACROSS),
    ]
    finish("walk", {"model": "offline"}, {name: walk._asdict() for name, walk in found.items()}, goals)


if __name__ == "__main__":
    main()
