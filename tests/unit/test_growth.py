import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from house import SqliteHouse, sqlite
from tidegate.bounded import Registry
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain.sample import COARSE, FINE, MIDDLE, RINGS, Range, Ring, Slot
from tidegate.domain.trend import MB, Shape
from tidegate.runtime.growth import MAX_PENDING, Growth
from tidegate.store.growth import MAX_SERIES
from tidegate.store.sqlite import NAME

MOST = 100_000  # points

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


def instruments(house: SqliteHouse, boot: int = 1) -> Growth:
    """Return the instruments as a gateway builds them at its start."""
    return Growth(house.store, Registry(), house.clock, boot)


async def watch(house: SqliteHouse, growth: Growth, ms: int) -> None:
    """Let time pass, with a sample every ten seconds."""
    for _ in range(ms // FINE.step_ms):
        await growth.tick()
        house.clock.advance(FINE.step_ms)


def rows(house: SqliteHouse) -> list[tuple[int, int]]:
    """Return how many slots of each ring lie in the store, and how many bytes they take."""
    connection = apsw.Connection(str(house.folder / NAME), flags=apsw.SQLITE_OPEN_READONLY)
    counted = "SELECT count(*), sum(length(body)) FROM growth GROUP BY step_ms ORDER BY step_ms"
    found = connection.execute(counted).fetchall()
    connection.close()
    return [(int(str(row[0])), int(str(row[1]))) for row in found]


def slots(ring: Ring, first: int, count: int, boot: int = 1) -> list[Slot]:
    """Return slots of a ring, as time would make them."""
    return [
        Slot(
            step_ms=ring.step_ms,
            number=number,
            at=1_800_000_000_000 + number * ring.step_ms,
            boot=boot,
            values={"rss_bytes": Range(number, number + 2, number + 1)},
        )
        for number in range(first, first + count)
    ]


async def test_a_sample_has_every_instrument(house: SqliteHouse) -> None:
    """A sample holds the memory now, the store, the counts by kind and lane, and each bounded container."""
    growth = instruments(house)
    await growth.tick()
    assert growth.latest is not None
    values = growth.latest.values

    assert {"rss_bytes", "sqlite_bytes", "main_bytes", "wal_bytes", "free_bytes", "threads", "tasks"} <= set(
        values
    )
    assert {"sessions.chat.active", "runs.cron.queued", "approvals.pending", "loop_lag_us"} <= set(values)
    assert 0 == values["container.growth_pending"]
    assert MB < values["sqlite_bytes"] + MB < values["rss_bytes"]
    assert values["main_bytes"] + values["wal_bytes"] > 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
async def test_memory_is_what_it_is_now(house: SqliteHouse) -> None:
    """Memory is the current one: it rises with what is taken, falls when it is given back, by kind of memory."""
    growth = instruments(house)

    async def read() -> dict[str, int]:
        await growth.tick()
        assert growth.latest is not None
        return dict(growth.latest.values)

    before = await read()
    native = bytearray(b"x" * (64 * MB))
    large = await read()
    del native
    after = await read()
    small = [str(number) * 3 for number in range(400_000)]
    filled = await read()

    for name in ("rss_bytes", "anonymous_bytes", "native_gap_bytes"):
        assert 50 * MB < large[name] - before[name] < 80 * MB, name
        assert abs(after[name] - before[name]) < 14 * MB, name
    assert abs(large["python_heap_bytes"] - before["python_heap_bytes"]) < 4 * MB
    assert 15 * MB < filled["python_heap_bytes"] - after["python_heap_bytes"] < 60 * MB
    assert len(small) == 400_000


async def test_the_lag_is_the_worst_since_the_last_sample(house: SqliteHouse) -> None:
    """A sample tells how late the loop woke at worst since the sample before."""
    growth = instruments(house)
    told = []
    for lags in ((0.001, 0.25, 0.002), ()):
        for lag in lags:
            growth.sampler.note_lag(lag)
        await growth.tick()
        told.append(growth.latest.values["loop_lag_us"] if growth.latest else None)

    assert [250_000, 0] == told


async def test_a_ring_levels_off(house: SqliteHouse) -> None:
    """After a hundred days there are as many slots as the rings have, and not one byte more a day later."""
    for ring in RINGS:
        total = 100 * DAY_MS // ring.step_ms if ring is COARSE else 2 * ring.slots
        for first in range(0, total, 1_000):
            await house.store.samples.keep(slots(ring, first, min(1_000, total - first)))
    full = rows(house)
    for ring in RINGS:
        await house.store.samples.keep(slots(ring, 20_000, DAY_MS // COARSE.step_ms))

    assert [ring.slots for ring in RINGS] == [count for count, _ in full]
    assert [count for count, _ in full] == [count for count, _ in rows(house)]


async def test_the_schema_itself_refuses_more(house: SqliteHouse) -> None:
    """Not even a faulty release can write a slot outside of its ring."""
    connection = apsw.Connection(str(house.folder / NAME))
    for step_ms, slot in ((10_000, 360), (60_000, 1_440), (600_000, 12_960), (600_000, -1), (5, 0)):
        with pytest.raises(apsw.ConstraintError):
            connection.execute("INSERT INTO growth VALUES (?, ?, 0, 0, 0, x'')", (step_ms, slot))
    connection.close()


async def test_series_are_bounded(house: SqliteHouse) -> None:
    """However many names come up, 512 of them have a place, the first ones for good."""
    values = {f"s{number:04}": Range(number, number, number) for number in range(MAX_SERIES + 88)}
    slot = Slot(step_ms=FINE.step_ms, number=0, at=0, boot=1, values=values)
    await house.store.samples.keep([slot])
    await house.store.samples.keep([slot])

    assert sorted(values)[:MAX_SERIES] == sorted(await house.store.samples.names())
    (found,) = await house.store.samples.page(FINE, 0, ["s0511", "s0599"])
    assert {"s0511": Range(511, 511, 511)} == found.values


async def test_samples_survive_a_restart(house: SqliteHouse) -> None:
    """After a restart the history goes on behind what was there, and tells the lives apart; a gap stays a gap."""
    await watch(house, first := instruments(house), 30 * MINUTE_MS)
    await first.flush()
    await house.reopen()
    house.clock.advance(5 * MINUTE_MS)
    second = instruments(house, boot=2)
    await watch(house, second, 10 * MINUTE_MS)

    points = (await second.history(FINE, ["rss_bytes"], MOST))["rss_bytes"]
    assert [1] * 180 + [2] * 60 == [point.boot for point in points]
    assert 5 * MINUTE_MS + FINE.step_ms == points[180].at - points[179].at
    assert [3, 1] == [len(found) for found in await by_boot(second)]


async def by_boot(growth: Growth) -> list[list[int]]:
    """Return the instants of the coarse ring, by boot."""
    points = (await growth.history(COARSE, ["rss_bytes"], MOST))["rss_bytes"]
    return [[one.at for one in points if one.boot == boot] for boot in sorted({one.boot for one in points})]


async def test_a_crash_costs_a_minute(house: SqliteHouse) -> None:
    """What was sampled up to a minute before a crash is there after it, slots in the making included."""
    await watch(house, instruments(house), 25 * MINUTE_MS + 50_000)
    await house.crash()
    points = (await instruments(house, boot=2).history(FINE, ["rss_bytes"], MOST))["rss_bytes"]
    coarse = (await instruments(house, boot=2).history(COARSE, ["rss_bytes"], MOST))["rss_bytes"]

    assert 25 * 6 == len(points)
    assert [points[59].at, points[119].at, points[149].at] == [point.at for point in coarse]


async def test_few_points_tell_the_extremes(house: SqliteHouse) -> None:
    """A ring that has gone around is told in few points, in order, whose extremes are those of all its slots."""
    total = COARSE.slots + 3_540
    for first in range(0, total, 300):
        await house.store.samples.keep(slots(COARSE, first, 300))
    house.clock.advance(total * COARSE.step_ms)
    points = (await instruments(house).history(COARSE, ["rss_bytes"], 100))["rss_bytes"]

    ranges = [point.range for point in points if point.range is not None]
    assert 99 <= len(points) <= 102
    assert [point.at for point in points] == sorted(point.at for point in points)
    assert (3_540, total + 1, total) == (ranges[0].low, ranges[-1].high, ranges[-1].last)


async def test_a_clock_that_steps_back_overwrites_nothing(house: SqliteHouse) -> None:
    """A step of the wall clock, either way, costs no sample; instants never run backwards."""
    growth = instruments(house)
    await watch(house, growth, 10 * MINUTE_MS)
    house.clock.step(-3 * HOUR_MS)
    await watch(house, growth, 10 * MINUTE_MS)
    house.clock.step(2 * HOUR_MS)
    await watch(house, growth, 10 * MINUTE_MS)

    points = (await growth.history(MIDDLE, ["rss_bytes"], MOST))["rss_bytes"]
    instants = [point.at for point in points]
    assert 30 == len(points)
    assert instants == sorted(instants)
    assert instants[-1] <= house.clock.now()


async def test_nothing_is_kept_of_what_only_passes(house: SqliteHouse) -> None:
    """Where samples are not to be kept nothing is written, and nothing waits to be."""
    growth = instruments(house)
    growth.is_kept = False
    await watch(house, growth, 20 * MINUTE_MS)
    await growth.flush()

    assert [] == rows(house)
    assert growth.latest is not None


async def test_what_cannot_be_written_waits_within_a_bound(house: SqliteHouse) -> None:
    """On a full disk sampling goes on, the newest slots wait, and they are written when there is room again."""
    registry = Registry()
    growth = Growth(house.store, registry, house.clock, 1)
    await watch(house, growth, 2 * MINUTE_MS)
    await fill(house)
    await watch(house, growth, 3 * HOUR_MS)
    (waiting,) = [gauge for gauge in registry if gauge.name == "growth_pending"]
    assert (MAX_PENDING, MAX_PENDING) == (waiting.entries, waiting.limit)
    await fill(house, pages=1 << 20)
    await growth.flush()

    assert [0] == [gauge.entries for gauge in registry]
    assert FINE.slots == len((await growth.history(FINE, ["rss_bytes"], MOST))["rss_bytes"])


async def test_a_store_that_fails_takes_nothing_down(house: SqliteHouse) -> None:
    """When the store takes nothing any more, writing what was sampled does not fail the end of the gateway."""
    growth = instruments(house)
    await growth.tick()
    await house.store.writer.close()
    await growth.flush()

    assert growth.latest is not None
    await house.open()


async def fill(house: SqliteHouse, pages: int = 1) -> None:
    """Let the store be as large as it may be."""
    await house.store.writer.maintain(lambda connection: connection.pragma("max_page_count", pages))


async def test_the_trend_needs_six_hours_of_one_boot(house: SqliteHouse) -> None:
    """Before that it says when there will be an answer; then it says one; after a restart it begins anew."""
    growth = instruments(house)
    leak = Leak(house, growth, 3 * MB)
    await leak.watch(6 * HOUR_MS)
    assert growth.told("rss_bytes").startswith("needs 6 h, first answer ")
    await leak.watch(FINE.step_ms)
    assert (Shape.GROWING, None) == (growth.verdict("rss_bytes").shape, growth.first_answer_at)
    assert "growing 3.0 MB/h" == growth.told("rss_bytes")
    await growth.flush()
    await house.reopen()

    assert instruments(house, boot=2).told("rss_bytes").startswith("needs 6 h")


async def test_the_trend_knows_a_limit(house: SqliteHouse) -> None:
    """Where a series has a limit, what grows tells how long that takes."""
    limits = {"rss_bytes": 100 * MB + 6 * 3 * MB + 72 * 3 * MB}
    growth = Growth(house.store, Registry(), house.clock, 1, limits=limits)
    await Leak(house, growth, 3 * MB).watch(6 * HOUR_MS + FINE.step_ms)

    assert "growing 3.0 MB/h, limit in 3 d" == growth.told("rss_bytes")


class Leak:
    """A gateway that leaks so many bytes an hour."""

    def __init__(self, house: SqliteHouse, growth: Growth, an_hour: int) -> None:
        self._house = house
        self._growth = growth
        self._an_hour = an_hour
        growth.is_kept = False
        growth.sampler.read = self._read  # type: ignore[method-assign]  # six hours of real memory are no test

    async def watch(self, ms: int) -> None:
        """Let time pass."""
        await watch(self._house, self._growth, ms)

    async def _read(self) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"rss_bytes": 100 * MB + self._an_hour * self._growth.uptime_ms // HOUR_MS}
