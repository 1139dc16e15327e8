import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curve import CASES, curve, windows
from tidegate.clock import HOUR_MS
from tidegate.domain.sample import Range
from tidegate.domain.trend import MB, WINDOWS, Shape, Verdict, Window, judge, told, until_limit
from tidegate.runtime.trends import BYTES_FLOOR, Trends

SEEDS = range(25)


def line(slope_mb_h: float, count: int = WINDOWS, first: int = 0) -> list[Window]:
    """Return windows on a line that begins at 100 MB."""
    return [Window(number, (100 + slope_mb_h * number / 6) * MB) for number in range(first, first + count)]


def shapes(case: str, leak_mb_h: float) -> list[Shape]:
    """Return what is said about some curves of a case."""
    return [judge(windows(curve(case, seed, leak_mb_h)), BYTES_FLOOR).shape for seed in SEEDS]


@pytest.mark.parametrize("case", CASES)
def test_no_alarm_without_a_leak(case: str) -> None:
    """Whatever memory does that is no leak, it is called flat; one of 25 may be wrong (in `bench/trend.py` of 100)."""
    found = shapes(case, 0.0)
    assert found.count(Shape.FLAT) >= len(SEEDS) - 1, found


@pytest.mark.parametrize("leak_mb_h", [2.0, 5.0])
@pytest.mark.parametrize("case", CASES)
def test_a_leak_is_found(case: str, leak_mb_h: float) -> None:
    """A leak of 2 MB/h or more is found in six hours, whatever else memory does."""
    found = shapes(case, leak_mb_h)
    assert found.count(Shape.GROWING) >= len(SEEDS) - 1, found


def test_a_slow_warm_up_flattens() -> None:
    """Caches that fill for hours still rise at the first answer, but mostly not as before."""
    assert shapes("slow", 0.0).count(Shape.GROWING) < len(SEEDS) * 2 / 3


def test_the_slope_is_about_right() -> None:
    """What is told of a leak is what leaks, within a tenth."""
    slopes = [judge(windows(curve("usual", seed, 3.0)), BYTES_FLOOR).slope or 0.0 for seed in SEEDS]
    assert 2.7 < statistics.median(slopes) / MB < 3.3


def test_the_interval_holds_the_slope() -> None:
    """The interval goes around the slope, and around the truth nearly always."""
    verdicts = [judge(windows(curve("noise", seed, 3.0)), BYTES_FLOOR) for seed in SEEDS]
    held = [(one.low or 0) <= 3.0 * MB <= (one.high or 0) for one in verdicts]
    assert all((one.low or 0) <= (one.slope or 0) <= (one.high or 0) for one in verdicts)
    assert held.count(True) >= len(SEEDS) - 2


def test_shrinking() -> None:
    """What goes down steadily is told, and so is how fast."""
    verdict = judge(line(-3.0), BYTES_FLOOR)
    assert (Shape.SHRINKING, "shrinking 3.0 MB/h") == (verdict.shape, told(verdict))


def test_a_slope_below_the_floor_is_flat() -> None:
    """A slope may be certain and still not be worth a word; it is told in figures."""
    verdict = judge(line(0.1), BYTES_FLOOR)
    assert (Shape.FLAT, "flat") == (verdict.shape, told(verdict))
    assert 0.1 * MB == pytest.approx(verdict.slope)


def test_six_hours_are_needed() -> None:
    """With a window less there is no verdict; holes, of a machine that slept, are borne up to an hour."""
    assert Shape.UNKNOWN is judge(line(5.0, WINDOWS - 1), BYTES_FLOOR).shape
    assert Shape.GROWING is judge(line(5.0), BYTES_FLOOR).shape
    whole = line(5.0, 2 * WINDOWS)
    assert Shape.GROWING is judge(whole[:40] + whole[46:], BYTES_FLOOR).shape
    assert Shape.UNKNOWN is judge(whole[:40] + whole[47:], BYTES_FLOOR).shape
    assert Shape.UNKNOWN is judge([], BYTES_FLOOR).shape


def test_what_has_stopped_is_forgotten() -> None:
    """Only the last six hours count."""
    level = [Window(number, 200.0 * MB) for number in range(60, 60 + WINDOWS)]
    assert Shape.FLAT is judge(line(5.0, 60) + level, BYTES_FLOOR).shape


@given(st.lists(st.floats(-1e15, 1e15), min_size=WINDOWS, max_size=WINDOWS), st.floats(1.0, 1e9))
def test_every_curve_has_a_verdict(values: Sequence[float], floor: float) -> None:
    """Whatever the numbers, there is a verdict, and growing and shrinking mirror each other's conditions."""
    verdict = judge([Window(number, value) for number, value in enumerate(values)], floor)
    assert verdict.shape is not Shape.UNKNOWN
    assert verdict.slope is not None
    if verdict.shape is Shape.GROWING:
        assert verdict.slope >= floor
    if verdict.shape is Shape.SHRINKING:
        assert verdict.slope <= -floor


def test_words() -> None:
    """A verdict is a few words, with the time to a limit if there is one."""
    growing = Verdict(shape=Shape.GROWING, slope=3.1 * MB)
    limited = until_limit(growing, 100 * MB, 100 * MB + 3.1 * MB * 96)

    assert "needs 6 h, first answer 20:40" == told(Verdict(), first="20:40")
    assert "growing 3.1 MB/h" == told(growing)
    assert "growing 3.1 MB/h, limit in 4 d" == told(limited)
    assert "growing 3.1 MB/h, limit in 0 s" == told(until_limit(growing, 2 * MB, MB))
    assert "growing 12/h" == told(Verdict(shape=Shape.GROWING, slope=12.0), is_bytes=False)
    assert 4 * 24 * HOUR_MS == pytest.approx(limited.limit_in_ms, abs=2)
    assert growing == until_limit(growing, 100 * MB, float("inf"))
    assert until_limit(Verdict(shape=Shape.FLAT, slope=1.0), 0, 1).limit_in_ms is None


def test_what_is_held_is_bounded() -> None:
    """However long a life lasts, 36 windows of each series are held; a series that comes late has to wait."""
    trends = Trends()
    for window in line(5.0, 500):
        low = int(window.low)
        names = ["rss_bytes", "late_bytes"] if window.number > 470 else ["rss_bytes"]
        trends.close(window.number, dict.fromkeys(names, Range(low, low, low)))

    assert Shape.GROWING is trends.of("rss_bytes").shape
    assert Shape.UNKNOWN is trends.of("late_bytes").shape
    assert Shape.UNKNOWN is trends.of("none").shape
    assert {WINDOWS} == {len(lows) for lows in trends._lows.values()}  # noqa: SLF001 - the bound is the promise
