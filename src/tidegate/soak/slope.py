"""How steep a line through a few points is, so that one wild point does not turn it.

Source: Sen, P. K. (1968), Estimates of the regression coefficient based on Kendall's tau.
"""

import math
import statistics
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

Z_95 = 1.96  # of the normal distribution, both sides


class Slope(NamedTuple):
    """The median of the slopes of all pairs, and the interval that holds the true one 19 times out of 20."""

    median: float
    low: float
    high: float


def slope(points: Sequence[tuple[float, float]]) -> Slope | None:
    """Return the slope of points; None if there are fewer than four, of which no interval can be told."""
    count = len(points)
    if count < 4:
        return None
    slopes = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2) if x1 != x2)
    spread = Z_95 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, math.floor((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return Slope(statistics.median(slopes), slopes[low], slopes[high])
