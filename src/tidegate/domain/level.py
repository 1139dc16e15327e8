"""How short something is, as one word; and the steps at which something is done about it. Pure.

Steps are taken upwards at once and left downwards late, so that what hovers around a mark does not flap.
"""

from collections.abc import Sequence
from enum import StrEnum


class Level(StrEnum):
    """How short something is."""

    NORMAL = "normal"
    TIGHT = "tight"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0, 1 or 2: a number for graphs."""
        return tuple(Level).index(self)


def step(before: int, share: float, marks: Sequence[float], slack: float) -> int:
    """Return how many of the rising *marks* a share has passed, given how many it had.

    A mark is passed when the share reaches it, and left when the share has fallen below it by *slack*.
    """
    reached = sum(share >= mark for mark in marks)
    held = sum(share >= mark - slack for mark in marks)
    return max(reached, min(before, held))
