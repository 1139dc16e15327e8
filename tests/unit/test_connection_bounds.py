import asyncio

import pytest

from tidegate.bounded import Registry
from tidegate.edge import connections as connections_module
from tidegate.edge.answers import Answers
from tidegate.edge.connections import Connections, Peer, Room
from tidegate.runtime.descriptors import shares

HERE = Peer("127.0.0.1", is_near=True)
FAR = Peer("203.0.113.7", is_near=False)
ROOM = Room(all=4, guests=2, of_a_peer=1)


class Line:
    """A connection that remembers that it was dropped."""

    def __init__(self, peer: Peer = HERE, since: float = 0.0) -> None:
        self.peer = peer
        self.since = since
        self.is_dropped = False

    def drop(self) -> None:
        """Be dropped."""
        self.is_dropped = True


def opened(refused: list[str], room: Room = ROOM) -> Connections:
    """Return connections that note what they refuse."""
    return Connections(room, Registry(), refused.append)


def test_the_oldest_guest_makes_room() -> None:
    """A guest that had its time goes for the next one; before that the next one waits."""

    async def main() -> None:
        refused: list[str] = []
        connections = opened(refused)
        now = asyncio.get_running_loop().time()
        old, young = Line(since=now - connections_module.GRACE_S), Line(since=now)
        for line in (old, young):
            assert connections.make_room()
            connections.enter(line)
        assert connections.make_room()
        connections.enter(Line(since=now))
        assert (old.is_dropped, young.is_dropped, refused) == (True, False, ["connection_limit"])
        assert not connections.make_room()

    asyncio.run(main())


def test_who_has_the_token_is_no_guest() -> None:
    """Those that have brought it do not count as guests, go only between two requests, and only where all is full."""

    async def main() -> None:
        connections = opened([])
        known = [Line() for _ in range(4)]
        for line in known:
            assert connections.make_room()
            connections.enter(line)
            connections.prove(line)
        assert not connections.make_room()
        connections.rest(known[2])
        assert connections.make_room()
        assert [line.is_dropped for line in known] == [False, False, True, False]

    asyncio.run(main())


@pytest.mark.parametrize(("peer", "dropped"), [(HERE, [False, False]), (FAR, [True, False])])
def test_an_address_has_its_part(peer: Peer, dropped: list[bool]) -> None:
    """An address far away has so many guests, the oldest goes; this machine stands for many."""
    connections = opened([])
    lines = [Line(peer), Line(peer)]
    for line in lines:
        connections.enter(line)
    assert [line.is_dropped for line in lines] == dropped


def test_nothing_stays_of_a_connection() -> None:
    """Who has gone has left nothing, and room is told of."""
    registry = Registry()
    told: list[str] = []
    connections = Connections(ROOM, registry, told.append)
    connections.on_room = lambda: told.append("room")
    for number in range(50):
        line = Line(Peer(f"203.0.113.{number}", is_near=False))
        connections.enter(line)
        connections.rest(line)
        connections.leave(line)
        connections.leave(line)
    assert told == ["room"] * 50
    assert [gauge.entries for gauge in registry] == [0, 0]
    assert not connections._peers  # noqa: SLF001 - what must not grow is private


def test_who_does_not_read_makes_room() -> None:
    """Above the bound who has not read for the longest time is cut off; one alone is left its time."""
    refused: list[str] = []
    answers = Answers(0, Registry(), refused.append)
    alone, other = Line(), Line()
    answers.hold(alone, answers.max_bytes + 1)
    assert not alone.is_dropped
    answers.hold(other, 1)
    assert (alone.is_dropped, other.is_dropped, refused) == (True, False, ["unread"])
    answers.release(other)
    assert answers.bytes == 0


@pytest.mark.parametrize(
    ("limit", "connections", "guests"), [(20, 10, 2), (1_024, 832, 208), (1 << 20, 24_000, 1_024)]
)
def test_how_descriptors_are_shared_out(limit: int, connections: int, guests: int) -> None:
    """The store and the log keep theirs, whatever the limit is."""
    room = Room.of(shares(limit).connections)
    assert (room.all, room.guests) == (connections, guests)
