"""The connections of a gateway, bounded together, so that strangers do not take them all.

Until the token has come over it a connection is a guest's. Guests have a part of all connections, and each address,
this machine's and that of a trusted proxy left out, a part of that. Where a new one finds no room the guest that came
first goes, once it has had time to say something; then whoever is between two requests for the longest time. Where
nobody can go the next one has to wait in the system's queue.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

from tidegate.bounded import Registry

MOST = 24_000  # of which 20,000 may be streams of events
MOST_GUESTS = 1_024
GUEST_SHARE = 4  # a quarter of all connections
MOST_OF_A_PEER = 128
CROWD = 256
GRACE_S = 1.0  # in which the head of a request arrives that was sent at once


class Peer(NamedTuple):
    """Who is at the other end."""

    name: str
    #: on this machine, or a proxy that stands for many
    is_near: bool


class Connection(Protocol):
    """What is counted."""

    peer: Peer
    #: by the clock of the loop
    since: float

    def drop(self) -> None:
        """Close it now, whatever is on its way."""


class Room(NamedTuple):
    """How many there may be."""

    all: int
    guests: int
    of_a_peer: int

    @classmethod
    def of(cls, connections: int) -> "Room":
        """Share out what the system allows."""
        most = min(MOST, connections)
        guests = min(MOST_GUESTS, max(1, most // GUEST_SHARE))
        return cls(most, guests, min(MOST_OF_A_PEER, guests))


class Connections:
    """All connections that are open."""

    def __init__(
        self,
        room: Room,
        registry: Registry,
        count_refusal: Callable[[str], None],
        on_crowd_gone: Callable[[], None] = lambda: None,
    ) -> None:
        #: called when there may be room again
        self.on_room: Callable[[], None] = lambda: None
        #: called when many have gone: what they held can go back to the system
        self._on_crowd_gone = on_crowd_gone
        self.count_refusal = count_refusal
        self._peak = 0
        self._room = room
        self._open: set[Connection] = set()
        self._guests: dict[Connection, None] = {}
        self._resting: dict[Connection, None] = {}
        self._peers: Counter[str] = Counter()
        registry.add(
            "connections",
            lambda: len(self._open),
            room.all,
            when_full="the oldest that is idle is closed, or the next waits",
        )
        registry.add(
            "guest_connections",
            lambda: len(self._guests),
            room.guests,
            when_full="the oldest without a token is closed",
        )

    def make_room(self) -> bool:
        """Close one where no other finds room; return whether one does now."""
        now = asyncio.get_running_loop().time()
        if len(self._guests) >= self._room.guests or len(self._open) >= self._room.all:
            self._drop_guest(now)
        if len(self._open) >= self._room.all and self._resting:
            self._drop(next(iter(self._resting)))
        return len(self._open) < self._room.all and len(self._guests) < self._room.guests

    def enter(self, connection: Connection) -> None:
        """Take one in, as a guest's."""
        self._open.add(connection)
        self._peak = max(self._peak, len(self._open))
        self._guests[connection] = None
        self._peers[connection.peer.name] += 1
        if self._peers[connection.peer.name] > self._room.of_a_peer and not connection.peer.is_near:
            self._drop(next(one for one in self._guests if one.peer == connection.peer))

    def prove(self, connection: Connection) -> None:
        """Say that the token has come; it is no guest's any more."""
        if connection in self._guests:
            del self._guests[connection]
            self._peers[connection.peer.name] -= 1
            if not self._peers[connection.peer.name]:
                del self._peers[connection.peer.name]

    def rest(self, connection: Connection) -> None:
        """Say that it waits for the next request."""
        if connection in self._open:
            self._resting[connection] = None

    def wake(self, connection: Connection) -> None:
        """Say that a request comes."""
        self._resting.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """Forget one that is closed, or will be at once."""
        if connection in self._open:
            self._open.remove(connection)
            self.wake(connection)
            self.prove(connection)
            if len(self._open) <= self._peak - CROWD:
                self._peak = len(self._open)
                self._on_crowd_gone()
            self.on_room()

    def _drop_guest(self, now: float) -> None:
        oldest = next(iter(self._guests), None)
        if oldest is not None and now - oldest.since >= GRACE_S:
            self._drop(oldest)

    def _drop(self, connection: Connection) -> None:
        self.count_refusal("connection_limit")
        self.leave(connection)
        connection.drop()
