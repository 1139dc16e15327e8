"""File descriptors: as many as the system gives, some of which connections never get.

The store, the log, models, tools and backups need theirs however many clients come.
"""

from typing import NamedTuple

RESERVED = 64
RESERVED_SHARE = 8  # and an eighth
UNLIMITED = 1 << 20  # more is not asked for: some systems set aside memory for each one


class Shares(NamedTuple):
    """How a limit is shared out."""

    connections: int
    rest: int


def shares(limit: int) -> Shares:
    """Share out a limit; half of a very small one is held back."""
    rest = min(RESERVED + limit // RESERVED_SHARE, limit // 2)
    return Shares(limit - rest, rest)


def raise_limit() -> int:
    """Raise the limit of this process as far as it may by itself, and return what it is now."""
    try:
        import resource  # noqa: PLC0415 - not everywhere
    except ImportError:
        return UNLIMITED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = UNLIMITED if hard == resource.RLIM_INFINITY else min(hard, UNLIMITED)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return UNLIMITED if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS tells a limit that it does not give
        return soft
    return wanted
