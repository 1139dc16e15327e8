"""The forecast held against what the soak measures: real gateway code on virtual time, in this process."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from extent import share
from tidegate.clock import DAY_MS
from tidegate.domain.arrival import Observed
from tidegate.domain.forecast import Limits, Outlook, outlook
from tidegate.domain.session import PolicyName
from tidegate.engine import Engine, engine
from tidegate.folder import prepare
from tidegate.runtime.forecast import Known, ground
from tidegate.soak import virtual
from tidegate.soak.course import Course, Now
from tidegate.soak.everyday import Everyday
from tidegate.soak.plan import Plan
from tidegate.soak.scenario import Scenario
from tidegate.soak.virtual import EPOCH, VirtualClock, VirtualLoop
from tidegate.store.connection import SqliteReads, open_reader
from tidegate.store.file import live_bytes
from tidegate.store.tx import Effects

WITHIN = 0.2
FEW = 1.0  # sessions: a kind that has few at once may be off by this much
LIMITS = Limits(disk_bytes=10 << 30, memory_bytes=1 << 30)


class Meter:
    """Averages over the second half of a soak: sessions of each kind by the ms, the store by the wave."""

    def __init__(self, inside: Engine, plan: Plan, reads: SqliteReads) -> None:
        self.born: Counter[PolicyName] = Counter()
        self.span_ms = 0
        self._inside = inside
        self._reads = reads
        # between two waves, as the end is
        self._begins_ms = inside.clock.now() + plan.waves // 2 * plan.gap_ms + plan.gap_ms // 2
        self._at_ms = inside.clock.now()
        self._kinds: dict[str, PolicyName] = {}
        self._sums: Counter[PolicyName] = Counter()
        self._disk: list[int] = []

    @property
    def live(self) -> Mapping[PolicyName, float]:
        """How many sessions of each kind there were."""
        return {name: self._sums[name] / self.span_ms for name in PolicyName}

    @property
    def disk_bytes(self) -> float:
        """How large the store was."""
        return sum(self._disk) / len(self._disk)

    def on_commit(self, effects: Effects) -> None:
        """Count what was there until now, then take in what has changed."""
        self.pass_time()
        for key, head in effects.heads.items():
            if head is None:
                self._kinds.pop(key, None)
            else:
                self._kinds[key] = head.policy
        if self.span_ms:
            self.born.update(effects.born)

    def pass_time(self) -> None:
        """Count who has been there since the last time."""
        now = self._inside.clock.now()
        passed_ms = max(0, now - max(self._at_ms, self._begins_ms))
        for name in self._kinds.values():
            self._sums[name] += passed_ms
        self.span_ms += passed_ms
        self._at_ms = now

    def wants(self) -> bool:
        """Read the disk, as the progress of the soak."""
        if self.span_ms:
            self._disk.append(live_bytes(self._reads))
        return False

    def show(self, now: Now) -> None:
        """Show nothing."""


class Result(NamedTuple):
    """What was measured, and what was foretold from the rates, sizes and spans that were measured."""

    meter: Meter
    outlook: Outlook


async def soak(loop: VirtualLoop, folder: Path, plan: Plan) -> Result:
    """Let a plan take its course; the forecast knows its configuration, how many came, and the store in the end."""
    clock = VirtualClock(loop)
    prepare(folder)
    plan.furnish(folder)
    async with engine(plan.config, folder, clock) as inside, asyncio.TaskGroup() as tasks:
        loop.works.append(lambda: inside.store.writer.untold)
        with reader(inside) as reads:
            meter = Meter(inside, plan, reads)
            inside.store.listen(meter.on_commit)
            course = Course(inside, plan, meter, leaks=False)
            services = (inside.sweeper.serve(), inside.runner.serve(), inside.cron.serve())
            running = [tasks.create_task(service) for service in services]
            await course.run()
            meter.pass_time()
            for service in running:
                service.cancel()
        known = Known(
            now=clock.now(),
            limits=LIMITS,
            survey=await inside.store.survey(clock.now()),
            observed=Observed(span_ms=meter.span_ms, born=meter.born),
        )
    return Result(meter, outlook(ground(plan.config, known)))


@contextmanager
def reader(inside: Engine) -> Iterator[SqliteReads]:
    """Lend a connection of one's own."""
    connection = open_reader(inside.store.path)
    try:
        yield SqliteReads(connection)
    finally:
        connection.close()


def run(folder: Path, plan: Plan) -> Result:
    """Run a soak."""
    return virtual.run(lambda loop: soak(loop, folder, plan))


def check_sessions(result: Result) -> None:
    """Compare the sessions that there were with what was foretold."""
    for name, live in result.meter.live.items():
        assert result.outlook.kinds[name].live == pytest.approx(live, rel=WITHIN, abs=FEW), name


@pytest.mark.parametrize("seed", range(share(2)))
def test_the_built_in_scenario(tmp_path: Path, seed: int) -> None:
    """Sessions of each kind and the disk are foretold within 20 %, and firings from the configuration alone."""
    plan = Everyday(wanted=700, seed=seed)
    result = run(tmp_path / "state", plan)
    told = ground(plan.config, Known(now=EPOCH, limits=LIMITS)).rates[PolicyName.CRON].per_day
    came = result.meter.born[PolicyName.CRON] * DAY_MS / result.meter.span_ms

    assert {"chat", "subagent", "cron", "api", "api_named"} == {
        name.value for name, live in result.meter.live.items() if live > 3
    }
    check_sessions(result)
    assert result.outlook.disk.bytes == pytest.approx(result.meter.disk_bytes, rel=WITHIN)
    assert told == pytest.approx(came, rel=WITHIN / 2)


@pytest.mark.parametrize("kind", [PolicyName.API, PolicyName.API_NAMED, PolicyName.CHAT])
def test_one_kind(tmp_path: Path, kind: PolicyName) -> None:
    """Sessions of one kind under their own retention are foretold within 20 %."""
    result = run(tmp_path / "state", Scenario(kind=kind, sessions=200))

    assert result.meter.live[kind] > 5
    assert 0 == sum(foretold.live or 0 for name, foretold in result.outlook.kinds.items() if name != kind)
    check_sessions(result)
