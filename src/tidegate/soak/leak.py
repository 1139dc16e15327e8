"""A leak that is planted on purpose, to see it noticed: 1 KiB of each session stays in the process for good."""

from tidegate.soak.census import newborn
from tidegate.store.tx import Effects

LEAK_BYTES = 1_024


class Leak:
    """Grows without a bound; only a soak that is asked to plant it has one."""

    def __init__(self) -> None:
        self._planted: list[bytearray] = []

    @property
    def kept_bytes(self) -> int:
        """How much it has grown by."""
        return LEAK_BYTES * len(self._planted)

    def on_commit(self, effects: Effects) -> None:
        """Keep a piece for each session that a transaction has created."""
        self._planted += [bytearray(LEAK_BYTES) for _ in newborn(effects)]
