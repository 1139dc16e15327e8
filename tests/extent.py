"""How much of the longest tests is carried out: a half, or the whole with ``make long``."""

import os

#: of the whole; more than 1 looks for longer than usual
EXTENT = float(os.environ.get("TIDEGATE_EXTENT", "0.5"))


def share(whole: int) -> int:
    """Return how many of a *whole* are tried."""
    return max(1, int(whole * EXTENT))
