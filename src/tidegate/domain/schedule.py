"""When something is to happen: once, at even distances, or by a cron expression. Pure; instants are ms since the epoch.

However long nobody has looked, an answer takes a handful of steps: instants are jumped to, never walked through, and
what was missed is counted up to `MAX_COUNTED`.
"""

from itertools import islice, takewhile
from typing import assert_never

import msgspec

from tidegate import cron
from tidegate.clock import MINUTE_MS

MIN_EVERY_MS = MINUTE_MS
MAX_COUNTED = 100  # "100" in a count of missed instants stands for a hundred or more


class At(msgspec.Struct, frozen=True, kw_only=True):
    """Once."""

    at: int


class Every(msgspec.Struct, frozen=True, kw_only=True):
    """At even distances from an anchor, the first time one distance after it."""

    every_ms: int
    anchor: int


class Cron(msgspec.Struct, frozen=True, kw_only=True):
    """By a cron expression in a time zone."""

    expression: str
    timezone: str


Schedule = At | Every | Cron


def next_after(schedule: Schedule, after: int) -> int | None:
    """Return the first instant after another one; None if there is none."""
    match schedule:
        case At(at=at):
            return at if at > after else None
        case Every(every_ms=every_ms, anchor=anchor):
            return anchor + every_ms * (max(0, (after - anchor) // every_ms) + 1)
        case Cron(expression=expression, timezone=timezone):
            return next(cron.instants(expression, timezone, after), None)
        case _:
            assert_never(schedule)


def last_through(schedule: Schedule, after: int, through: int) -> int | None:
    """Return the last instant that is later than *after* and not later than *through*; None if there is none."""
    first = next_after(schedule, after)
    if first is None or first > through:
        return None
    match schedule:
        case At():
            return first
        case Every(every_ms=every_ms):
            return first + every_ms * ((through - first) // every_ms)
        case Cron():
            return _last(schedule, first, through)
        case _:
            assert_never(schedule)


def count_between(schedule: Schedule, after: int, before: int) -> int:
    """Count the instants between two others, without these, up to `MAX_COUNTED`."""
    match schedule:
        case At(at=at):
            return int(after < at < before)
        case Every(every_ms=every_ms):
            first = next_after(schedule, after)
            count = 0 if first is None or first >= before else (before - 1 - first) // every_ms + 1
            return min(count, MAX_COUNTED)
        case Cron(expression=expression, timezone=timezone):
            found = cron.instants(expression, timezone, after)
            return sum(1 for _ in takewhile(lambda at: at < before, islice(found, MAX_COUNTED)))
        case _:
            assert_never(schedule)


def _last(schedule: Cron, first: int, through: int) -> int:
    """Halve the time between an instant and the end until no other instant fits in between.

    Iterating backwards is not the inverse of iterating forwards where clocks are put forward or back; this is.
    """
    early, late = first, through
    while late - early >= MINUTE_MS:  # no two instants are closer
        middle = (early + late) // 2
        found = next_after(schedule, middle)
        if found is not None and found <= through:
            early = found
        else:
            late = middle
    return early
