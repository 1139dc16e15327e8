"""Answers that lie here because their clients do not read them: bounded together, and not for ever.

Where there is no room for more, whoever has not read for the longest time is cut off; an event stream can be resumed.
"""

from collections.abc import Callable

from tidegate.bounded import Registry
from tidegate.edge.bodies import LEAST_BYTES, MOST_BYTES, SHARE
from tidegate.edge.connections import Connection


class Answers:
    """The bytes of all of them."""

    def __init__(self, memory_bytes: int, registry: Registry, count_refusal: Callable[[str], None]) -> None:
        self.bytes = 0
        self.max_bytes = min(MOST_BYTES // 2, max(LEAST_BYTES, memory_bytes // SHARE))
        self._count_refusal = count_refusal
        self._held: dict[Connection, int] = {}
        registry.add(
            "unread_bytes",
            lambda: self.bytes,
            self.max_bytes,
            when_full="who has not read for the longest time is cut off",
            is_bytes=True,
        )

    def hold(self, connection: Connection, count: int) -> None:
        """Count what waits for a client; others that have waited longer make room for it."""
        self.release(connection)
        self._held[connection] = count
        self.bytes += count
        while self.bytes > self.max_bytes and len(self._held) > 1:
            self.cut(next(iter(self._held)))

    def release(self, connection: Connection) -> None:
        """Say that nothing waits for a client any more."""
        self.bytes -= self._held.pop(connection, 0)

    def cut(self, connection: Connection) -> None:
        """Cut off a client that does not read."""
        self._count_refusal("unread")
        self.release(connection)
        connection.drop()
