import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from house import SqliteHouse, sqlite
from tidegate.bounded import Registry
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.sample import COARSE, FINE, MIDDLE, RINGS, Ring, Slot
from tidegate.domain.session import PolicyName
from tidegate.domain.weight import TOP, Table
from tidegate.runtime import explainer
from tidegate.runtime.explainer import Explainer, Explanation
from tidegate.runtime.growth import Growth
from tidegate.store import weight
from tidegate.store.weight import Held
from work import offer, work

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[SqliteHouse]:
    """Open a store."""
    async with sqlite(tmp_path) as opened:
        yield opened


class Instruments:
    """The instruments of one life of a gateway, as they are built at its start."""

    def __init__(self, house: SqliteHouse, boot: int = 1) -> None:
        registry = Registry()
        #: how full a container is
        self.held = 0
        registry.add("box", lambda: self.held, 1_000)
        self._house = house
        self.growth = Growth(house.store, registry, house.clock, boot)
        self.explainer = Explainer(self.growth, house.store, registry, DEFAULTS, house.clock)

    async def watch(self, ms: int) -> None:
        """Let time pass, with a sample every ten seconds."""
        for _ in range(ms // FINE.step_ms):
            await self.growth.tick()
            self._house.clock.advance(FINE.step_ms)

    async def explain(self, since_ms: int) -> Explanation:
        """Explain."""
        return await self.explainer.explain(since_ms)


def ago_ms(found: Explanation) -> tuple[int, int] | None:
    """Return how long before it was, and in which ring."""
    return None if found.since is None else (found.now - found.since.at, found.since.step_ms)


def grown(found: Explanation) -> dict[str, tuple[int, int]]:
    """Return what has grown of what is stored."""
    return {one.name: (one.before, one.now) for one in found.changes if one.part in {"sessions", "table"}}


async def test_the_finest_ring_that_reaches_back(house: SqliteHouse) -> None:
    """What is compared with is the last sample up to then, of the finest ring that has one; else the first of all."""
    here = Instruments(house)
    assert (await here.explain(HOUR_MS)).since is None
    for ring in RINGS:
        await house.store.samples.keep(slots(ring, 30 * HOUR_MS, house.clock.now()))
    asked = (MINUTE_MS, 59 * MINUTE_MS, 5 * HOUR_MS, 25 * HOUR_MS, 80 * DAY_MS)

    assert [
        (MINUTE_MS, FINE.step_ms),
        (59 * MINUTE_MS, FINE.step_ms),
        (5 * HOUR_MS, MIDDLE.step_ms),
        (25 * HOUR_MS, COARSE.step_ms),
        (30 * HOUR_MS - COARSE.step_ms, COARSE.step_ms),
    ] == [ago_ms(await here.explain(span)) for span in asked]


def slots(ring: Ring, span_ms: int, now: int) -> list[Slot]:
    """Return what is left in a ring after a while."""
    count = span_ms // ring.step_ms
    return [
        Slot(step_ms=ring.step_ms, number=number, at=now - ago * ring.step_ms, boot=1, values={})
        for number, ago in enumerate(range(count - 1, -1, -1))
        if ago < ring.slots
    ]


async def test_what_came_since(house: SqliteHouse) -> None:
    """What came after the sample is told, up to this moment, what came before it is not."""
    here = Instruments(house)
    await work(house.store, offer(PolicyName.API))
    await here.watch(10 * MINUTE_MS)
    for _ in range(3):
        await work(house.store, offer(PolicyName.API))

    assert {"api": (1, 4), "runs": (1, 4)} == grown(await here.explain(5 * MINUTE_MS))
    await here.watch(10 * MINUTE_MS)
    assert {} == grown(await here.explain(5 * MINUTE_MS))


async def test_what_is_not_written_yet_counts(house: SqliteHouse) -> None:
    """A sample of exactly then is the one, also before it is in the store."""
    here = Instruments(house)
    await here.watch(3 * FINE.step_ms)

    assert (2 * FINE.step_ms, FINE.step_ms) == ago_ms(await here.explain(2 * FINE.step_ms))


async def test_asking_changes_no_sample(house: SqliteHouse) -> None:
    """An explanation reads the gauges, and the next sample still tells the lag, and comes when it comes."""
    here = Instruments(house)
    await here.watch(MINUTE_MS)
    here.growth.sampler.note_lag(0.5)
    before = here.growth.latest
    await here.explain(HOUR_MS)
    assert before is here.growth.latest
    await here.watch(FINE.step_ms)

    assert here.growth.latest is not None
    assert 500_000 == here.growth.latest.values["loop_lag_us"]


async def test_a_restart_in_between(house: SqliteHouse) -> None:
    """What is stored is compared across it; what the process holds with the first sample of this life."""
    first = Instruments(house)
    first.held = 900
    await first.watch(30 * MINUTE_MS)
    await first.growth.flush()
    await work(house.store, offer(PolicyName.CHAT))
    await house.reopen()
    here = Instruments(house, boot=2)
    started_at = house.clock.now()
    await here.watch(10 * MINUTE_MS)
    here.held = 400
    found = await here.explain(20 * MINUTE_MS)

    assert {"chat": (0, 1), "runs": (0, 1)} == grown(found)
    assert [(0, 400)] == [(one.before, one.now) for one in found.changes if one.name == "box"]
    assert found.since is not None
    assert found.process_since is not None
    assert (1, 2, 2) == (found.since.boot, found.process_since.boot, found.boot)
    assert (20 * MINUTE_MS, started_at) == (found.now - found.since.at, found.process_since.at)
    assert (await here.explain(MINUTE_MS)).process_since is None


async def test_before_the_first_sample_of_a_life(house: SqliteHouse) -> None:
    """Right after a restart there is nothing to compare memory with, and what is stored is compared."""
    await (first := Instruments(house)).watch(10 * MINUTE_MS)
    await first.growth.flush()
    await house.reopen()
    await work(house.store, offer(PolicyName.CHAT))
    found = await Instruments(house, boot=2).explain(HOUR_MS)

    assert {"chat", "runs"} == {one.name for one in found.changes}
    assert found.process_since is None


async def test_the_heaviest_of_all_pages(house: SqliteHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are walked page by page to the end; of all of them the ten heaviest are told, and their jobs."""
    monkeypatch.setattr(weight, "PAGE", 3)
    for number in range(14):
        text = "x" * 100 * (number * 5 % 14)
        await work(
            house.store, offer(PolicyName.CRON, key=f"s{number}", text=text, group=f"job:j{number % 2}")
        )
    found = await Instruments(house).explainer.weights()

    assert (14, True, TOP) == (found.looked_at, found.is_all, len(found.sessions))
    assert sorted((one.bytes for one in found.sessions), reverse=True) == [
        one.bytes for one in found.sessions
    ]
    assert ["s11", "s8"] == [one.key for one in found.sessions[:2]]
    assert [("j0", 7), ("j1", 7)] == sorted((job.name, job.sessions) for job in found.jobs)


async def test_a_walk_ends_in_time(house: SqliteHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time is up the newest ones have been looked at, and that is told."""
    monkeypatch.setattr(weight, "PAGE", 3)
    for _ in range(9):
        await work(house.store, offer(PolicyName.API))
    page = house.store.weight.page

    async def slow(before: str) -> weight.Page:
        house.clock.advance(explainer.WALK_MS // 2)
        return await page(before)

    monkeypatch.setattr(house.store.weight, "page", slow)
    found = await Instruments(house).explainer.weights()

    assert (6, False) == (found.looked_at, found.is_all)


async def test_one_walk_serves_all_who_ask(house: SqliteHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks while one walks, and for ten seconds after it, gets the same answer; then it is walked again."""
    here, walks, page = Instruments(house).explainer, [], house.store.weight.page

    async def counted(before: str) -> weight.Page:
        walks.append(before)
        return await page(before)

    monkeypatch.setattr(house.store.weight, "page", counted)
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(here.weights()) for _ in range(20)]
    assert (1, 1) == (len(walks), len({id(one.result()) for one in asked}))
    house.clock.advance(explainer.FRESH_MS - 1)
    await here.weights()
    assert 1 == len(walks)
    house.clock.advance(1)
    await here.weights()

    assert 2 == len(walks)


async def test_a_large_file_is_not_walked(house: SqliteHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the tables are told by the rows that are counted anyway."""
    monkeypatch.setattr(weight, "MOST_PAGES", 1)
    await work(house.store, offer(PolicyName.API))
    found = await Instruments(house).explainer.weights()

    assert [Table(name="runs", rows=1, bytes=None), Table(name="sessions", rows=1, bytes=None)] == list(
        found.tables[:2]
    )


def test_names_of_jobs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many jobs the lightest are forgotten while sessions are walked."""
    monkeypatch.setattr(explainer, "MOST_JOBS", 3)
    jobs: dict[str, Held] = {}
    for number in range(10):
        jobs = explainer._added(jobs, {f"j{number}": Held(1, 100 - number), "j0": Held(1, 200)})  # noqa: SLF001

    assert {"j0": Held(10, 2_000), "j1": Held(1, 99), "j2": Held(1, 98)} == jobs
