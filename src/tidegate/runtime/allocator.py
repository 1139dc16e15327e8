"""What the system's allocator holds free: taken from the system, given back by the program, and not passed on.

The GNU library tells it. It walks its free pieces for that, 1 ms for 50,000 of them, so that it is asked for where a
person wants to know, never in a sample. Elsewhere nothing is known, and that is said.
"""

import ctypes

_FIELDS = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)


class _Mallinfo(ctypes.Structure):
    """Source: https://man7.org/linux/man-pages/man3/mallinfo.3.html."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def free_bytes() -> int | None:
    """Return how many bytes are free in all of its arenas; None where nobody tells."""
    try:
        tell = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    tell.restype = _Mallinfo
    told = tell()
    return int(told.fordblks) + int(told.fsmblks)
