"""How many orphans there are, counted not more often than that is worth."""

import time
from collections.abc import Callable, Mapping

from tidegate.store.port import Store

EVERY_S = 30.0  # counted at most this often,
SHARE = 100  # and for at most a hundredth of the time


class Orphans:
    """The last count of orphans of a store."""

    def __init__(self, store: Store, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic_s = monotonic_s
        self._found: Mapping[str, int] = {}
        self._next_s = float("-inf")

    async def count(self) -> Mapping[str, int]:
        """Return how many there are, by what they are."""
        started_s = self._monotonic_s()
        if started_s >= self._next_s:
            self._next_s = started_s + EVERY_S  # nobody else counts meanwhile
            try:
                self._found = await self._store.orphans()
            finally:
                ended_s = self._monotonic_s()
                self._next_s = ended_s + max(EVERY_S, SHARE * (ended_s - started_s))
        return self._found
