"""Whether a quantity grows: a robust line through the floors of ten-minute windows, six hours of them, of one boot.

What is judged is the *envelope*, the least value of the hour around each window: it sees neither spikes nor the teeth
of a collector. The start only warms up. The largest jumps are taken out, because a library that is loaded once is no
leak; what is left has a slope (Theil and Sen: the median of the slopes between all pairs) with an interval of 99 %,
widened by how much each window resembles the one before. It is *growing* only if the whole interval is above zero, the
slope is worth a word, and the end grows by itself: a warm-up flattens, a leak does not.

How often that is wrong: ``bench/trend.py`` and ``docs/growth.md``.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import msgspec

from tidegate.clock import HOUR_MS, MINUTE_MS
from tidegate.domain.slope import Z_99, Slope, median, slope, slopes
from tidegate.units import print_size, print_span

WINDOW_MS = 10 * MINUTE_MS
WINDOWS = 36
ENOUGH = 30  # of them: a machine that slept may have left some out
ENVELOPE = 6  # windows: the hour around
WARM = 15  # windows that only warm up
LATE = 12  # windows at the end that have to grow by themselves
JUMP_HOURS = 6.0  # of the least slope worth a word make the least jump
JUMPS = 3
OUTLIER = 6.0  # times the usual difference of neighbours
STILL = 0.4  # of the slope, at the end
STICKIEST = 0.5  # the envelope makes neighbours alike by itself
LONGEST_MS = 3_650 * 24 * HOUR_MS  # further away is no date

MB = 1 << 20


class Shape(StrEnum):
    """What a quantity does."""

    UNKNOWN = "unknown"
    FLAT = "flat"
    GROWING = "growing"
    SHRINKING = "shrinking"


class Window(NamedTuple):
    """The least value of one window, by the number of that window since the start."""

    number: int
    low: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one quantity; slopes are an hour."""

    shape: Shape = Shape.UNKNOWN
    slope: float | None = None
    low: float | None = None
    high: float | None = None
    #: how long until a limit is met, if it goes on like this and there is one
    limit_in_ms: int | None = None


def judge(windows: Sequence[Window], floor: float) -> Verdict:
    """Judge the windows of one boot, oldest first; a slope below *floor* an hour is not worth a word."""
    points = [window for window in windows if window.number > windows[-1].number - WINDOWS]
    if not points or points[-1].number < WINDOWS - 1 or len(points) < ENOUGH:
        return Verdict()
    lows = [point.low for point in points]
    if min(lows) == max(lows):
        return Verdict(shape=Shape.FLAT, slope=0.0, low=0.0, high=0.0)
    hours = [point.number * WINDOW_MS / HOUR_MS for point in points][WARM:]
    level = _envelope(lows)[WARM:]
    plain = _slope(hours, level)
    rising = _slope(hours, _without_jumps(level, floor))
    if plain.value > 0 and _is_growing(hours, _without_jumps(level, floor), rising, floor):
        return _verdict(Shape.GROWING, rising)
    mirrored = _without_jumps([-value for value in level], floor)
    falling = _slope(hours, mirrored)
    turned = Slope(-falling.value, -falling.high, -falling.low)
    if plain.value < 0 and _is_growing(hours, mirrored, falling, floor):
        return _verdict(Shape.SHRINKING, turned)
    return _verdict(Shape.FLAT, min(plain, rising, turned, key=lambda slope: abs(slope.value)))


def until_limit(verdict: Verdict, value: float, limit: float | None) -> Verdict:
    """Return a verdict that knows how long it takes from *value* to *limit*."""
    if verdict.shape is not Shape.GROWING or limit is None or not math.isfinite(limit) or not verdict.slope:
        return verdict
    left_ms = max(0.0, (limit - value) / verdict.slope * HOUR_MS)
    return msgspec.structs.replace(verdict, limit_in_ms=int(min(left_ms, LONGEST_MS)))


def told(verdict: Verdict, *, is_bytes: bool = True, first: str = "") -> str:
    """Say a verdict in a few words; *first* is the time of the first answer, as the clock on the wall will show it."""
    if verdict.shape is Shape.UNKNOWN or verdict.slope is None:
        return f"needs 6 h, first answer {first}" if first else "needs 6 h"
    if verdict.shape is Shape.FLAT:
        return "flat"
    amount = abs(verdict.slope)
    rate = f"{amount / MB:.1f} MB/h" if is_bytes and amount >= MB / 10 else _rate(amount, is_bytes=is_bytes)
    limit = "" if verdict.limit_in_ms is None else f", limit in {print_span(verdict.limit_in_ms)}"
    return f"{verdict.shape} {rate}{limit}"


def _rate(amount: float, *, is_bytes: bool) -> str:
    return f"{print_size(amount)}/h" if is_bytes else f"{amount:.3g}/h"


def _verdict(shape: Shape, slope: Slope) -> Verdict:
    return Verdict(shape=shape, slope=slope.value, low=slope.low, high=slope.high)


def _is_growing(hours: Sequence[float], level: Sequence[float], slope: Slope, floor: float) -> bool:
    if slope.low <= 0 or slope.value < floor:
        return False
    late = median(slopes(list(zip(hours[-LATE:], level[-LATE:], strict=True))))
    return late >= max(floor / 2, STILL * slope.value)


def _envelope(lows: Sequence[float]) -> list[float]:
    """Return the least value of the hour around each window."""
    half = ENVELOPE // 2
    return [min(lows[max(0, at - half) : at + half]) for at in range(len(lows))]


def _without_jumps(level: Sequence[float], floor: float) -> list[float]:
    """Take out the largest upward jumps, where they are unlike the other differences of neighbours."""
    steps = [after - before for before, after in pairwise(level)]
    usual = median(steps)
    spread = median(abs(step - usual) for step in steps)
    least = usual + max(OUTLIER * spread, JUMP_HOURS * floor)
    largest = sorted((step for step in steps if step > least), reverse=True)[:JUMPS]
    kept, taken = [level[0]], list(largest)
    for step in steps:
        is_jump = step in taken
        if is_jump:
            taken.remove(step)
        kept.append(kept[-1] + (usual if is_jump else step))
    return kept


def _slope(hours: Sequence[float], level: Sequence[float]) -> Slope:
    """Return the slope with its interval, as wide as alike neighbours make it."""
    points = list(zip(hours, level, strict=True))
    inflation = _inflation(hours, level, median(slopes(points)))
    return slope(points, Z_99, inflation)


def _inflation(hours: Sequence[float], level: Sequence[float], slope: float) -> float:
    """Return how many windows say as much as one would if neighbours were strangers."""
    rest = [value - slope * hour for hour, value in zip(hours, level, strict=True)]
    middle = sum(rest) / len(rest)
    centred = [value - middle for value in rest]
    power = math.fsum(value * value for value in centred)
    sticky = math.fsum(a * b for a, b in pairwise(centred)) / power if power else 0.0
    sticky = min(max(sticky, 0.0), STICKIEST)
    return (1 + sticky) / (1 - sticky)
