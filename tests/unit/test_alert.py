from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain import alert as rules
from tidegate.domain.alert import MAX_A_DAY, MAX_OPEN, QUIET_MS, Alert, AlertEvent, Record, news
from tidegate.domain.level import Level

NOW = 1_800_000_000_000
LEVELS = {"-": None, "t": Level.TIGHT, "c": Level.CRITICAL}


def of(level: Level, event: AlertEvent = AlertEvent.DISK, subject: str = "") -> Alert:
    """Return something that is wrong."""
    return Alert(event=event, level=level, text="it is short", subject=subject)


def told(looks: str, step_ms: int = MINUTE_MS, event: AlertEvent = AlertEvent.DISK) -> str:
    """Look again and again, at a level or at nothing, and say at which looks somebody is told."""
    record, said = Record(), ""
    for turn, look in enumerate(looks):
        level = LEVELS[look]
        found = news(record, [of(level, event)] if level else [], NOW + turn * step_ms)
        record = found.after
        said += "!" if found.alerts else "."
    return said


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ("-tttt", ".!..."),
        ("tc", "!!"),
        ("tctctc", "!!...."),
        ("c-c-c-c-c-c", "!.........."),
        ("t" + "-" * 60 + "t", "!" + "." * 60 + "!"),
        ("t" + "-" * 30 + "t", "!" + "." * 30 + "."),
    ],
)
def test_once_an_episode(looks: str, said: str) -> None:
    """An episode is told once, and once more if it gets worse; what hovers, or comes back within the hour, is one."""
    assert said == told(looks)


def test_a_trend_once_a_day() -> None:
    """That memory grows is told once a day at most, however often it stops and grows again."""
    looks = ("t" + "-" * 3) * 8  # of half an hour each, in sixteen hours

    assert "!" + "." * 31 == told(looks, 30 * MINUTE_MS, AlertEvent.TREND)


def test_until_it_is_told() -> None:
    """What could not be told is told at the next look: the record before it does not know of it."""
    first = news(Record(), [of(Level.TIGHT)], NOW)
    again = news(first.before, [of(Level.TIGHT)], NOW + 1)

    assert [1, 1, 0] == [
        len(found.alerts) for found in (first, again, news(again.after, [of(Level.TIGHT)], NOW + 2))
    ]


def test_there_is_a_bound() -> None:
    """Of a thousand things no more than so many are told in a day, and no more are remembered."""
    many = [of(Level.TIGHT, AlertEvent.SPEND, f"job {number}") for number in range(1_000)]
    record, counts = Record(), []
    for turn in range(6):
        found = news(record, many, NOW + turn * DAY_MS)
        record = found.after
        counts.append((len(found.alerts), len(record.open)))

    assert [(MAX_A_DAY, MAX_A_DAY * (turn + 1)) for turn in range(4)] + [(0, MAX_OPEN)] * 2 == counts
    assert found.dropped == len(many) - MAX_OPEN


@given(st.lists(st.tuples(st.integers(0, 3 * HOUR_MS), st.sampled_from("-tc")), max_size=60))
def test_whatever_comes(looks: Sequence[tuple[int, str]]) -> None:
    """Between two that are told, either it has got worse, or it was well for long enough and an hour has passed."""
    record, now, last, well_since = Record(), NOW, None, None
    for wait_ms, look in looks:
        now += wait_ms
        level = LEVELS[look]
        found = news(record, [of(level)] if level else [], now)
        if found.alerts:
            assert level is not None
            if last is not None and level.rank <= last[1].rank:
                assert well_since is not None
                assert now - well_since >= QUIET_MS
                assert now - last[0] >= HOUR_MS
            last = now, level
        well_since = None if level else (now if well_since is None else well_since)
        record = found.after
    assert len(record.open) <= 1


def test_a_clock_that_steps_back() -> None:
    """A clock that is set back holds an episode open no longer than it does from there on."""
    record = news(Record(), [of(Level.TIGHT)], NOW + DAY_MS).after
    for turn in range(2 * 60):
        record = news(record, [], NOW + turn * MINUTE_MS).after

    assert not record.open
    assert rules.MAX_A_DAY == MAX_A_DAY
