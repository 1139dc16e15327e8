"""The trend of every series of this boot: its windows of ten minutes as they close, a verdict where one is asked for.

A series costs some 400 bytes, whatever it did.
"""

import math
from array import array
from collections.abc import Mapping
from types import MappingProxyType

from tidegate.domain.sample import COARSE, Range
from tidegate.domain.trend import MB, WINDOWS, Verdict, Window, judge, until_limit

#: the least slope an hour that is worth a word, by what a series is counted in
BYTES_FLOOR = 0.9 * MB
MICROSECONDS_FLOOR = 1_000.0
COUNT_FLOOR = 1.0


class Trends:
    """What is known of the windows since the start."""

    def __init__(self, limits: Mapping[str, float] = MappingProxyType({})) -> None:
        #: what each series may reach, where somebody has set that
        self._limits = limits
        #: numbers of the windows that are held, oldest first
        self._numbers: array[int] = array("q")
        self._lows: dict[str, array[float]] = {}
        self._last: Mapping[str, Range] = {}
        self._judged: dict[str, Verdict] = {}

    def close(self, number: int, values: Mapping[str, Range]) -> None:
        """Take a window that is over; the oldest one goes."""
        self._judged.clear()
        self._last = values
        count = len(self._numbers)
        self._numbers.append(number)
        for name in values.keys() - self._lows.keys():
            self._lows[name] = array("d", [math.nan] * count)
        for name, lows in self._lows.items():
            found = values.get(name)
            lows.append(math.nan if found is None else found.low)
            del lows[:-WINDOWS]
        del self._numbers[:-WINDOWS]

    def of(self, name: str) -> Verdict:
        """Return the verdict on a series, judged at most once a window."""
        verdict = self._judged.get(name)
        if verdict is None:
            verdict = self._judged[name] = self._judge(name)
        return verdict

    def _judge(self, name: str) -> Verdict:
        lows = self._lows.get(name)
        if not lows:
            return Verdict()
        pairs = zip(self._numbers, lows, strict=True)
        points = [Window(number, low) for number, low in pairs if not math.isnan(low)]
        verdict = judge(points, floor_of(name))
        found = self._last.get(name)
        return verdict if found is None else until_limit(verdict, found.last, self._limits.get(name))


def floor_of(name: str) -> float:
    """Return the least slope of a series that is worth a word."""
    if name.endswith("_bytes"):
        return BYTES_FLOOR
    return MICROSECONDS_FLOOR if name.endswith("_us") else COUNT_FLOOR


#: a verdict waits for this long after a start
NEEDS_MS = WINDOWS * COARSE.step_ms
