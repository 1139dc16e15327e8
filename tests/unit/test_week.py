import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inside import inside
from tidegate.bounded import Registry
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain.sample import COARSE, Range, Slot
from tidegate.domain.week import LOOKS_BACK_MS, Week, passed
from tidegate.runtime.growth import Growth
from tidegate.runtime.week import Weeks

STEP = COARSE.step_ms
WEEK = Week(
    uptime_ms=31 * DAY_MS,
    span_ms=LOOKS_BACK_MS,
    came=4_112,
    went=4_112,
    memory_bytes=92 << 20,
    trend="flat",
    micros=6_400_000,
    unpriced=0,
)


def slot(number: int, boot: int, *counts: int) -> Slot:
    """Return a stretch in which a series was counted so."""
    values = {"came": Range(min(counts), max(counts), counts[-1])} if counts else {}
    return Slot(step_ms=STEP, number=number, at=number * STEP, boot=boot, values=values)


def test_the_line() -> None:
    """The line tells how long it is up, what came and went, memory, trend and money."""
    expected = "31 days up, 4,112 sessions came and went in 7 days, 92.0 MB, flat, 6.40 dollars"
    assert expected == WEEK.line
    other = msgspec.structs.replace(WEEK, uptime_ms=HOUR_MS, span_ms=2 * MINUTE_MS, went=1, unpriced=3)
    expected = (
        "1 hour up, 4,112 sessions came and 1 went in 2 minutes, 92.0 MB, flat, "
        "6.40 dollars and 3 answers without a price"
    )
    assert expected == other.line


@pytest.mark.parametrize(
    ("slots", "since", "count"),
    [
        ([], 0, 0),
        ([slot(1, 1, 0, 5)], 0, 5),
        ([slot(1, 1, 0, 5), slot(2, 1, 6, 9)], 0, 9),
        ([slot(1, 1, 0, 5), slot(2, 2, 1, 4)], 0, 9),
        ([slot(5, 1, 100, 103), slot(6, 1, 104, 110)], 4 * STEP + 1, 10),
        ([slot(5, 1, 100, 103), slot(6, 2, 2, 3)], 4 * STEP + 1, 6),
        ([slot(1, 1, 0, 5), slot(2, 1), slot(3, 1, 8)], 0, 8),
    ],
)
def test_what_has_passed(slots: list[Slot], since: int, count: int) -> None:
    """Each life counts from nothing; of the one that had begun before, what it had counted then is left out."""
    assert count == passed(slots, "came", since)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), max_size=9))
def test_nothing_is_counted_twice(lives: list[list[int]]) -> None:
    """Whatever came in each slot of each life adds up, since a life begins at nothing."""
    slots, number = [], 0
    for boot, life in enumerate(lives):
        count = 0
        for came in life:
            number += 1
            slots.append(slot(number, boot, count, count + came))
            count += came

    assert sum(map(sum, lives)) == passed(slots, "came", 0)


def test_lives_of_a_gateway(tmp_path: Path) -> None:
    """What came in an earlier life is counted with what came in this one, up to this moment."""

    async def main() -> None:
        counts = []
        for boot in (1, 2):
            async with inside(tmp_path) as here:
                here.clock.advance(boot * HOUR_MS)
                growth = Growth(here.store, Registry(), here.clock, boot)
                await growth.tick()
                for number in range(3):
                    await here.say(f"c{boot}{number}", "hi")
                here.clock.advance(MINUTE_MS)
                await growth.tick()
                await growth.flush()
                await here.say(f"late{boot}", "hi")
                counts.append((await Weeks(growth, here.store, here.clock).read()).came)
        assert [4, 7] == counts  # one came between the last look and the end

    asyncio.run(main())
