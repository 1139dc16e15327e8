"""The system's allocator, under the interpreter's own: what it keeps unused, and how much room it reserves."""

import ctypes
import sys
import threading

_ARENA_MAX = -8  # M_ARENA_MAX of mallopt(3)
ARENAS = 2
THREAD_BYTES = 1 << 20


class Arena:
    """Glibc's; elsewhere there is nothing to ask for."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim = getattr(library, "malloc_trim", None)
        self._option = getattr(library, "mallopt", None)

    def trim(self) -> None:
        """Give free pages back to the system; blocking, tens of milliseconds with much of them."""
        if self._trim is not None:
            self._trim(0)

    def spare(self, address_bytes: int | None) -> None:
        """Keep native memory together; to be called before there are other threads.

        Each further arena reserves 64 MiB of address space and frees none of what others use. Where address space is
        bounded there is one alone, and threads have small stacks.
        """
        if self._option is not None:
            self._option(_ARENA_MAX, ARENAS if address_bytes is None else 1)
        if address_bytes is not None:
            threading.stack_size(THREAD_BYTES)
