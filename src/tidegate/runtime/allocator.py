"""The system's allocator, under the interpreter's own: what it keeps unused, and how much room it reserves."""

import ctypes
import sys
import threading

_ARENA_MAX = -8  # M_ARENA_MAX of mallopt(3)
_FIELDS = [
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
]
ARENAS = 2
THREAD_BYTES = 1 << 20


class _Mallinfo(ctypes.Structure):
    """Source: https://man7.org/linux/man-pages/man3/mallinfo.3.html."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


class Allocator:
    """Glibc's; elsewhere there is nothing to ask for."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim = getattr(library, "malloc_trim", None)
        self._option = getattr(library, "mallopt", None)
        self._tell = getattr(library, "mallinfo2", None)

    def trim(self) -> None:
        """Give free pages back to the system; blocking, tens of milliseconds with much of them."""
        if self._trim is not None:
            self._trim(0)

    def free_bytes(self) -> int | None:
        """Return what it holds free, taken from the system and not passed on; None where nobody tells.

        It walks its free pieces for that, 1 ms for 50,000 of them: to be called when a person wants to know.
        """
        if self._tell is None:
            return None
        self._tell.restype = _Mallinfo
        told = self._tell()
        return int(told.fordblks) + int(told.fsmblks)

    def spare(self, address_bytes: int | None) -> None:
        """Keep native memory together; to be called before there are other threads.

        Each further arena reserves 64 MiB of address space and frees none of what others use. Where address space is
        bounded there is one alone, and threads have small stacks.
        """
        if self._option is not None:
            self._option(_ARENA_MAX, ARENAS if address_bytes is None else 1)
        if address_bytes is not None:
            threading.stack_size(THREAD_BYTES)
