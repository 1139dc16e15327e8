"""Heads and bodies of requests that are under way: bounded together, from their first byte until their answer is out.

Large ones may have half of the room, so that a person's message always finds some.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive

from tidegate.bounded import Registry
from tidegate.errors import MemoryShort
from tidegate.runtime.guard import Guard
from tidegate.units import print_size

SMALL_BYTES = 64 << 10
LONG_BYTES = 256 << 10
LEAST_BYTES = 16 << 20
MOST_BYTES = 64 << 20
SHARE = 8  # of the memory


class Bodies:
    """The bytes of all of them."""

    def __init__(
        self,
        memory_bytes: int,
        guard: Guard,
        registry: Registry,
        on_long_gone: Callable[[], None] = lambda: None,
    ) -> None:
        #: called when a long one has gone: what was made of it can go back to the system
        self._on_long_gone = on_long_gone
        self.bytes = 0
        self.max_bytes = min(MOST_BYTES, max(LEAST_BYTES, memory_bytes // SHARE))
        self._guard = guard
        registry.add(
            "request_bytes",
            lambda: self.bytes,
            self.max_bytes,
            when_full="the request is refused",
            is_bytes=True,
        )

    @contextmanager
    def counted(self, receive: Receive) -> Iterator[Receive]:
        """Count what one request brings, for as long as it lasts.

        Whoever receives it meets `MemoryShort` where there is no room for more.
        """
        own = 0

        async def count() -> Message:
            nonlocal own
            message = await receive()
            more = len(message.get("body", b""))
            self.take(more, own)
            own += more
            return message

        try:
            yield count
        finally:
            self.give(own)
            if own >= LONG_BYTES:
                self._on_long_gone()

    def take(self, more: int, own: int = 0) -> None:
        """Count bytes of a request that has *own* already, until they are given back.

        Raises:
            MemoryShort: There is no room for them; none is counted.
        """
        self._check(own + more, self.bytes + more)
        self.bytes += more

    def give(self, count: int) -> None:
        """Give back what was taken."""
        self.bytes -= count

    def _check(self, own: int, total: int) -> None:
        room = self.max_bytes if own <= SMALL_BYTES else self.max_bytes // 2
        if total > room:
            refusal = MemoryShort(
                f"requests of {print_size(self.bytes)} are under way",
                hint="repeat it later, or send less at once",
            )
            self._guard.count(refusal)
            raise refusal
