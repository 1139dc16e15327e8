"""The course of a soak in real time: a model, a gateway and clients, readings all the while, and quiet in the end."""

import asyncio
import math
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import uvloop
from msgspec.structs import replace

from tidegate.domain.run import Lane
from tidegate.domain.session import Outcome, PolicyName
from tidegate.errors import ConfigError
from tidegate.extras import how_to_install
from tidegate.folder import prepare
from tidegate.soak import interrupt
from tidegate.soak.course import LOOKS, Facts, Now, Progress
from tidegate.soak.wall import gateway
from tidegate.soak.wall.gateway import Gateway
from tidegate.soak.wall.line import Line, line
from tidegate.soak.wall.load import READERS, Load
from tidegate.soak.wall.model import ScriptedModel, served
from tidegate.soak.wall.plan import Wall
from tidegate.soak.wall.watch import Watch
from tidegate.store import orphans
from tidegate.store.connection import SqliteReads, open_reader
from tidegate.store.sqlite import READERS as STORE_READERS

GLANCE_S = 0.2
LOOK_S = 1.0
REST_S = 30.0  # beyond the longest life, until nothing may be left
CONVERSATION = "chat:"
#: connections beside those of clients and readers: what watches has its own
WATCHERS = 4


class Course:
    """One soak under way."""

    def __init__(self, plan: Wall, line: Line, child: Gateway, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress
        # a client has a connection to the gateway, and its run one to the model
        slack = {"fds": 2 * (plan.clients + READERS), "threads": STORE_READERS + plan.clients}
        slack["tasks"] = 2 * slack["fds"]
        self._watch = Watch(line, plan, child.pid, slack)
        self._load = Load(line, plan)
        self._took_ms = 0

    async def run(self) -> None:
        """Let the wall time pass under load."""
        await self._load.open()
        async with asyncio.TaskGroup() as tasks:
            glances = tasks.create_task(self._glances())
            looks = tasks.create_task(self._looks())
            await self._load.run()
            self._took_ms = self._load.passed_ms
            glances.cancel()
            looks.cancel()

    async def rest(self) -> None:
        """Let every session go that came."""
        for job in self._plan.asked_for:
            await self._watch.ask("PATCH", f"/api/jobs/{job}", {"paused": True})
        longest_ms = max(self._plan.residence_ms(name) or 0 for name in PolicyName)
        until = time.monotonic() + longest_ms / 1_000 + REST_S
        while True:
            await self._watch.look(1.0)
            is_over = not (self._left or self._left_blobs) and self._watch.disk.share <= 1
            if is_over or time.monotonic() > until:
                break
            if self._progress.wants():
                self._progress.show(self._now())
            await asyncio.sleep(LOOK_S)
        self._watch.seen.disk = self._watch.disk
        self._watch.read(self._load.passed_ms)

    async def _glances(self) -> None:
        while True:
            self._watch.glance(self._share)
            if self._progress.wants():
                self._progress.show(self._now())
            await asyncio.sleep(GLANCE_S)

    async def _looks(self) -> None:
        every_ms = self._plan.wall_ms / LOOKS
        while True:
            await self._watch.look(self._share)
            if self._load.passed_ms >= len(self._watch.readings) * every_ms:
                self._watch.read(self._load.passed_ms)
            await asyncio.sleep(LOOK_S)

    @property
    def _share(self) -> float:
        return self._load.passed_ms / self._plan.wall_ms

    @property
    def _left(self) -> int:
        return self._watch.stored.total()

    @property
    def _left_blobs(self) -> int:
        return round(self._watch.metrics["blobs"][()])

    def _now(self) -> Now:
        passed_ms, watch = self._load.passed_ms, self._watch
        return Now(
            done=watch.born,
            sessions=self._plan.sessions,
            stored=self._left,
            rss_bytes=watch.rss_bytes,
            disk_bytes=watch.disk.main,
            passed_ms=passed_ms,
            per_second=1_000 * watch.born / max(1, passed_ms),
            is_virtual=False,
            share=min(1.0, self._share),
        )

    def facts(self) -> Facts:
        """Return what was found, once all is over."""
        load, watch = self._load, self._watch
        astray, first = self._astray_runs()
        return Facts(
            born=dict(sorted(self._born().items())),
            most_a_wave=load.most_a_wave,
            entries=None,
            shapes=dict(sorted(load.shapes.items())),
            ends={f"{lane} {outcome}": count for (lane, outcome), count in sorted(watch.ends.items())},
            astray=load.astray + astray,
            first_astray=load.first_astray or first,
            seen=watch.seen,
            readings=watch.readings,
            floors=watch.floors.points,
            memory=watch.memory,
            warm_up=watch.floors.warm_up,
            growth_bytes=watch.floors.growth_bytes,
            left=self._left,
            left_blobs=self._left_blobs,
            sweeps=round(watch.metrics["sweep_seconds_count"][()]),
            passed_ms=self._took_ms,
            wall_s=self._took_ms / 1_000,
            cpu_s=watch.cpu_s,
            is_virtual=False,
        )

    def _born(self) -> Counter[PolicyName]:
        """Return how many sessions came: by messages, and one for each run of a job or a sub-agent."""
        born = self._load.born.copy()
        for (lane, _), count in self._watch.ends.items():
            if lane != Lane.INTERACTIVE:
                born[PolicyName(lane)] += count
        delivered = {job.deliver for job in self._plan.config.jobs if job.deliver.startswith(CONVERSATION)}
        born[PolicyName.CHAT] += len(delivered)
        return born

    def _astray_runs(self) -> tuple[int, str]:
        """Return how many runs that nobody waits for ended badly beyond those that are meant to."""
        bad: Counter[str] = Counter()
        runs: Counter[str] = Counter()
        for (lane, outcome), count in self._watch.ends.items():
            runs[lane] += count
            bad[lane] += count * (outcome != Outcome.OK)
        part, jobs = self._plan.stray_firings, len(self._plan.config.jobs)
        # jobs take turns, so that those which fail do so as often as they are many, give or take a turn
        meant = math.ceil(runs[Lane.CRON] * part) + jobs if part else 0
        found = max(0, bad[Lane.CRON] - meant), bad[Lane.SUBAGENT]
        return sum(found), f"firings beyond the {meant} meant to fail: {found[0]}, sub-agents: {found[1]}"


def check() -> None:
    """See that a gateway can ask a model over HTTP, before a long run.

    Raises:
        ConfigError: What it needs for that is not installed.
    """
    if find_spec("pydantic_ai") is None or find_spec("openai") is None:
        hint = how_to_install("models")
        raise ConfigError(
            "a soak in real time needs what speaks to models, which is not installed", hint=hint
        )


def run(folder: Path, plan: Wall, progress: Progress, *, leaks: bool) -> Facts:
    """Carry a plan out in a folder; Ctrl-C, SIGTERM and SIGHUP end it, and its gateway with it.

    Raises:
        KeyboardInterrupt: It was ended so.
        Broken: The gateway did not come up, or died; in an exception group.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return interrupt.run(runner, lambda: soak(folder, plan, progress, leaks=leaks))


async def soak(folder: Path, plan: Wall, progress: Progress, *, leaks: bool) -> Facts:
    """Start everything, let a plan take its course, and stop everything."""
    prepare(folder)
    plan.furnish(folder)
    connections = plan.clients + READERS + WATCHERS
    async with served(ScriptedModel()) as model_url:
        config = replace(plan, model_url=model_url).config
        async with (
            gateway.up(folder, config, leaks=leaks) as child,
            line(child.url, child.token, connections) as connected,
            asyncio.TaskGroup() as tasks,
        ):
            living = tasks.create_task(child.until_dead())
            course = Course(plan, connected, child, progress)
            await course.run()
            await course.rest()
            facts = course.facts()
            living.cancel()
    facts.seen.orphans = max(facts.seen.orphans, _orphans(folder))
    return facts


def _orphans(folder: Path) -> int:
    """Count what has lost its owner in the store of a gateway that has stopped."""
    connection = open_reader(folder / "tidegate.db")
    try:
        return sum(orphans.count(SqliteReads(connection)).values())
    finally:
        connection.close()
