"""A rate as a bucket of tokens: it fills evenly, and what it holds may be taken at once.

It is two numbers whatever happens, so that a flood cannot make it grow.
"""

from tidegate.clock import MINUTE_MS


class Bucket:
    """So many a minute; full at the beginning. Instants are ms of a monotonic clock."""

    def __init__(self, per_minute: int, now: int) -> None:
        self.per_minute = per_minute
        # Counted in tokens times a minute, so that all of it is whole numbers.
        self._full = per_minute * MINUTE_MS
        self._held = self._full
        self._at = now

    def take(self, now: int) -> int:
        """Take a token and return 0; if there is none, return in how many ms there will be."""
        wait_ms = self.wait_ms(now)
        if not wait_ms:
            self._held -= MINUTE_MS
        return wait_ms

    def wait_ms(self, now: int) -> int:
        """Return in how many ms there will be a token, 0 if there is one, and take none."""
        self._fill(now)
        return max(0, -((self._held - MINUTE_MS) // self.per_minute))

    def _fill(self, now: int) -> None:
        self._held = min(self._full, self._held + max(0, now - self._at) * self.per_minute)
        self._at = max(now, self._at)
