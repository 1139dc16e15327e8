"""How much memory the process cannot do without: floors, in constant memory.

What is resident at one moment holds garbage and free pages of the allocator. A reading therefore comes after a
collection and after free pages have gone back to the system, and of the readings of a block only the least counts.
The beginning is left out, by default the first quarter: caches fill in it. The rest is ten blocks.
"""

import gc
from functools import cache

import psutil

from tidegate.runtime.allocator import Allocator

BLOCKS = 10
WARM_UP = 0.25


def resident_bytes() -> int:
    """Return what is resident now, after a collection and a trim where the allocator has one."""
    gc.collect()
    _allocator().trim()
    return psutil.Process().memory_info().rss


class Floors:
    """The least resident memory of each block of sessions."""

    def __init__(self, warm_up: float = WARM_UP) -> None:
        #: which share of the whole is left out
        self.warm_up = warm_up
        self._blocks: dict[int, tuple[int, int]] = {}  # by number: done, bytes

    def add(self, done: int, rss_bytes: int, share: float) -> None:
        """Take in a reading; *done* sessions have come, which is this share of the whole."""
        if share < self.warm_up:
            return
        block = min(BLOCKS - 1, int((share - self.warm_up) / (1 - self.warm_up) * BLOCKS))
        if block not in self._blocks or rss_bytes < self._blocks[block][1]:
            self._blocks[block] = (done, rss_bytes)

    @property
    def points(self) -> list[tuple[int, int]]:
        """Each floor: after how many sessions, and how many bytes."""
        return list(self._blocks.values())

    @property
    def growth_bytes(self) -> int:
        """How much higher the last floor is than the first one."""
        points = self.points
        return points[-1][1] - points[0][1] if points else 0


@cache
def _allocator() -> Allocator:
    return Allocator()
