"""How steep a line through points is, so that a few wild ones do not turn it.

Source: P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, 1968.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

Z_95 = 1.96  # of the normal distribution, both sides
Z_99 = 2.576

Point = tuple[float, float]


class Slope(NamedTuple):
    """The median of the slopes between all pairs, and the interval that holds the true one."""

    value: float
    low: float
    high: float


def slope(points: Sequence[Point], z: float, inflation: float = 1.0) -> Slope:
    """Return the slope of two points or more, with an interval as sure as *z* says.

    *inflation* is how many points say as much as one would if neighbours were strangers.
    """
    found = sorted(slopes(points))
    count = len(points)
    reach = z * math.sqrt(count * (count - 1) * (2 * count + 5) / 18 * inflation)
    first = max(0, math.floor((len(found) - reach) / 2) - 1)  # the next one outwards
    return Slope(median(found), found[first], found[len(found) - 1 - first])


def slopes(points: Sequence[Point]) -> list[float]:
    """Return the slopes between all pairs of points that are not above one another."""
    pairs = combinations(points, 2)
    return [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x1 != x2]


def median(values: Iterable[float]) -> float:
    """Return the median; the standard library's brings fractions and decimals along, half a megabyte."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
