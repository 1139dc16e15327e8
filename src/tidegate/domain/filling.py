"""How bytes on disk go on from now: what is there goes as it comes of age, what comes takes its place. Pure.

All is a sum of straight lines between the instants at which something comes of age, so that the instant at which it
passes a limit is found exactly. What is there is taken to be of every age.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

_LEAST_MS = 1.0


class Pool(NamedTuple):
    """Sessions that stay equally long: how many come in a ms, how many are there, what one of them takes."""

    label: str
    per_ms: float
    hot_ms: float
    archived_ms: float
    #: bytes of one
    hot_bytes: float
    archived_bytes: float
    #: how many are there
    hot_now: float = 0.0
    archived_now: float = 0.0

    def hot_after(self, ms: float) -> float:
        """Return how many bytes lie in rows after a while."""
        hot_ms = max(_LEAST_MS, self.hot_ms)
        count = self.per_ms * min(ms, hot_ms) + self.hot_now * (1 - _share(ms, hot_ms))
        return count * self.hot_bytes

    def archived_after(self, ms: float) -> float:
        """Return how many bytes lie in segments after a while."""
        hot_ms, archived_ms = max(_LEAST_MS, self.hot_ms), max(_LEAST_MS, self.archived_ms)
        come = self.per_ms * min(max(0.0, ms - hot_ms), archived_ms)
        turned = self.hot_now * (_share(ms, hot_ms) - _share(ms - archived_ms, hot_ms))
        count = come + turned + self.archived_now * (1 - _share(ms, archived_ms))
        return count * self.archived_bytes

    @property
    def turns(self) -> tuple[float, ...]:
        """The instants at which a line bends."""
        hot_ms, archived_ms = max(_LEAST_MS, self.hot_ms), max(_LEAST_MS, self.archived_ms)
        return hot_ms, archived_ms, hot_ms + archived_ms

    @property
    def endless_bytes(self) -> float:
        """What one of them takes for ever."""
        if self.hot_ms == math.inf:
            return self.hot_bytes
        return self.archived_bytes if self.archived_ms == math.inf else 0.0


class Passing(NamedTuple):
    """When a limit is passed, and which part is the largest then."""

    in_ms: float
    label: str
    is_archived: bool


def total(pools: Sequence[Pool], ms: float) -> float:
    """Return how many bytes there are after a while."""
    return math.fsum(pool.hot_after(ms) + pool.archived_after(ms) for pool in pools)


def slope(pools: Sequence[Pool]) -> float:
    """Return how many bytes come in a ms once everything that goes has come of age."""
    return math.fsum(pool.per_ms * pool.endless_bytes for pool in pools)


def settled(pools: Sequence[Pool]) -> float:
    """Return how many bytes there are in the end; `math.inf` if they never level off."""
    return math.inf if slope(pools) else total(pools, max(_turns(pools), default=0.0))


def passing(pools: Sequence[Pool], limit: float) -> Passing | None:
    """Return when there are more than *limit* bytes for the first time; None if never."""
    turns = [0.0, *sorted(_turns(pools))]
    points = [(at, total(pools, at)) for at in turns]
    if points[0][1] > limit:
        return _passing(pools, 0.0)
    for (early, before), (late, after) in pairwise(points):
        if after > limit:
            return _passing(pools, early + (late - early) * (limit - before) / (after - before))
    rise = slope(pools)
    last, reached = points[-1]
    if rise:
        return _passing(pools, last + (limit - reached) / rise)
    return None


def _passing(pools: Sequence[Pool], at: float) -> Passing:
    parts: dict[tuple[str, bool], float] = {}
    for pool in pools:
        for is_archived, size in ((False, pool.hot_after(at)), (True, pool.archived_after(at))):
            parts[pool.label, is_archived] = parts.get((pool.label, is_archived), 0.0) + size
    label, is_archived = max(parts, key=lambda part: parts[part], default=("", False))
    return Passing(at, label, is_archived)


def _turns(pools: Sequence[Pool]) -> set[float]:
    return {turn for pool in pools for turn in pool.turns if turn < math.inf}


def _share(ms: float, span_ms: float) -> float:
    """Return which part of a span is over."""
    return 0.0 if span_ms == math.inf else min(1.0, max(0.0, ms / span_ms))
