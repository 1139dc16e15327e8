"""Containers that cannot grow past their bound, and the list of them that gauges read.

Whatever lives as long as the process and holds more than a fixed set of things is one of these: it has a name, a limit
and an entry in the `Registry`, so that ``/metrics`` shows how full it is (invariant I8).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K")
V = TypeVar("V")


#: what happens when an `LruCache` is full
OLDEST_GOES = "what was used longest ago goes"


class Gauge(NamedTuple):
    """How full one container is, in its own unit (entries or bytes)."""

    name: str
    entries: int
    limit: int
    is_bytes: bool = False
    #: what happens when it is full, in a few words
    when_full: str = ""


class Registry:
    """The bounded containers of one gateway; it is itself bounded by the code that builds them."""

    def __init__(self) -> None:
        self._gauges: dict[str, tuple[Callable[[], int], Gauge]] = {}

    def add(
        self, name: str, read: Callable[[], int], limit: int, *, when_full: str = "", is_bytes: bool = False
    ) -> None:
        """Watch a container: *read* answers how full it is, *when_full* says what happens then."""
        self._gauges[name] = read, Gauge(name, 0, limit, is_bytes, when_full)

    def __iter__(self) -> Iterator[Gauge]:
        """Read every gauge once."""
        return (gauge._replace(entries=read()) for read, gauge in self._gauges.values())


class LruCache(Generic[K, V]):
    """A cache bounded in bytes; what was used longest ago leaves first.

    A hit returns the same object that was put in, never a copy (invariant I7).
    """

    def __init__(self, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._size_of = size_of
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return what *key* holds, as the very object."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Hold *value*, in the place of an older one, and drop the oldest ones above the bound."""
        self.drop(key)
        self._entries[key] = value
        self.bytes += self._size_of(value)
        while self.bytes > self.max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.bytes -= self._size_of(oldest)

    def drop(self, key: K) -> None:
        """Forget *key*."""
        value = self._entries.pop(key, None)
        if value is not None:
            self.bytes -= self._size_of(value)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.bytes = 0
