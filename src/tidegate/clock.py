"""Time, as the whole house counts it.

An *instant* is an ``int``: milliseconds since the Unix epoch, UTC (names end in ``_at``, or are ``now``). A *duration*
is an ``int`` of milliseconds (names end in ``_ms``) or a ``float`` of seconds (names end in ``_s``). Expiry is decided
by the wall clock, durations are measured with the monotonic one; a clock hands out both, so that a test can move
either by hand.
"""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> int:
        """Return the wall time in ms since the epoch."""

    def monotonic(self) -> int:
        """Return ms since some fixed point; it never steps back."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> int:
        """Return the wall time in ms since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> int:
        """Return the monotonic time in ms."""
        return time.monotonic_ns() // 1_000_000


class ManualClock:
    """A clock that moves only when told to, for tests."""

    def __init__(self, now: int = 1_800_000_000_000) -> None:
        self._now = now
        self._monotonic = 0

    def now(self) -> int:
        """Return the wall time in ms since the epoch."""
        return self._now

    def monotonic(self) -> int:
        """Return the monotonic time in ms."""
        return self._monotonic

    def advance(self, ms: int) -> None:
        """Let *ms* pass on both clocks."""
        self._now += ms
        self._monotonic += ms

    def step(self, ms: int) -> None:
        """Move the wall clock alone, as NTP or a person would."""
        self._now += ms


def iso(at: int) -> str:
    """Print an instant as RFC 3339 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(at / 1_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at % 1_000:03d}Z"


def day(at: int) -> str:
    """Print the day of an instant, in UTC, as ``2026-11-21``."""
    return _day(at // DAY_MS)


@lru_cache(maxsize=4)
def _day(number: int) -> str:
    return iso(number * DAY_MS)[:10]
