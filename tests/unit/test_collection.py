"""What the collector looks at: what comes and goes, and not what is there from the start to the end.

Source: a full collection of all that a gateway and its library load took 300 ms beside a chat.
"""

import asyncio
import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from starlette.types import Message, Receive

from asking import ask
from tidegate.bounded import Registry
from tidegate.clock import ManualClock
from tidegate.edge.bodies import LONG_BYTES, Bodies
from tidegate.edge.connections import CROWD, Connections, Peer, Room
from tidegate.errors import ModelFailed
from tidegate.runtime.allocator import Allocator
from tidegate.runtime.guard import Guard
from tidegate.runtime.pressure import SETTLE_MS, Pressure, Relief

SHARE = 10  # of all objects, the part that may be looked at
SERVE = """
import asyncio, gc, os, signal, sys
from pathlib import Path
import msgspec
from tidegate import app, config
settings = config.override(config.read(None), port=0)
def tell(_):
    print(gc.get_freeze_count(), len(gc.get_objects()))
    os.kill(os.getpid(), signal.SIGTERM)
asyncio.run(app.serve(settings, Path(sys.argv[1]), None, tell))
"""


class Round:
    """Something that leads back to itself."""

    def __init__(self) -> None:
        self.own = self


class Guest:
    """A connection that does nothing."""

    peer = Peer("127.0.0.1", is_near=True)
    since = 0.0

    def drop(self) -> None:
        """Close it."""


def test_a_gateway_that_is_up_is_not_looked_at(tmp_path: Path) -> None:
    """Once it is up, nearly all objects are out of the collector's sight."""
    command = [sys.executable, "-c", SERVE, str(tmp_path / "state")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()

    assert int(told[1]) < int(told[0]) // SHARE


def test_the_library_is_not_looked_at() -> None:
    """Once it is loaded it is out of the collector's sight, even where nobody answers."""
    gc.unfreeze()
    try:
        with pytest.raises(ModelFailed):
            ask("http://127.0.0.1:1/v1")

        assert len(gc.get_objects()) < gc.get_freeze_count() // SHARE
    finally:
        gc.unfreeze()


def test_what_a_crowd_leaves_is_collected_once_it_has_ended() -> None:
    """The collector comes a while after the last of a crowd: what serves it takes its turns to end."""

    async def main() -> None:
        clock, room = ManualClock(), Room(2 * CROWD, 2 * CROWD, 2 * CROWD)
        pressure = Pressure(Guard(), 1 << 40, Relief(), clock)
        connections = Connections(room, Registry(), lambda _: None, pressure.crowd_gone)
        crowd = [Guest() for _ in range(CROWD)]
        for guest in crowd:
            connections.enter(guest)
        for guest in crowd:
            connections.leave(guest)
        await pressure.turn()
        left = weakref.ref(Round())
        clock.advance(SETTLE_MS - 1)
        await pressure.turn()
        was_there = left() is not None
        clock.advance(1)
        await pressure.turn()

        assert (True, None) == (was_there, left())

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def test_what_long_bodies_leave_goes_back_once_no_more_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free pages go back to the system a while after the last long body, once, and for short ones never."""
    trims: list[int] = []
    monkeypatch.setattr(Allocator, "trim", lambda _: trims.append(1))

    async def main() -> None:
        clock, guard = ManualClock(), Guard()
        pressure = Pressure(guard, 1 << 40, Relief(), clock)
        bodies = Bodies(0, guard, Registry(), pressure.long_gone)
        seen = []
        for size, ms in ((LONG_BYTES - 1, SETTLE_MS), (LONG_BYTES, SETTLE_MS - 1), (0, 1), (0, SETTLE_MS)):
            with bodies.counted(bringing(size)) as receive:
                await receive()
            clock.advance(ms)
            await pressure.turn()
            seen.append(len(trims))

        assert [0, 0, 1, 1] == seen

    asyncio.run(main())


def bringing(size: int) -> Receive:
    """Return a request with a body of so many bytes."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * size, "more_body": False}

    return receive
