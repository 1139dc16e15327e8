import asyncio

import pytest

from tidegate.bounded import Registry
from tidegate.errors import LimitReached
from tidegate.ids import RunId, SessionId
from tidegate.runtime import bus as bus_module
from tidegate.runtime.bus import Bus, Ended, Lagged, Piece

SESSION = SessionId("s")


def piece(text: str) -> Piece:
    """Return an event."""
    return Piece(run=RunId("r"), text=text)


def test_events_come_in_order() -> None:
    """A subscriber gets the events of its session alone, in order."""

    async def main() -> None:
        bus = Bus(Registry())
        with bus.subscribe(SESSION) as subscription:
            bus.publish(SESSION, piece("a"))
            bus.publish(SessionId("other"), piece("x"))
            bus.publish(SESSION, piece("b"))

            assert [piece("a"), piece("b")] == [await subscription.get(), await subscription.get()]

    asyncio.run(main())


def test_slow_subscriber_is_told() -> None:
    """Above the bound everything waiting becomes one `Lagged`; memory does not follow the speaker."""

    async def main() -> None:
        bus = Bus(Registry())
        with bus.subscribe(SESSION) as subscription:
            for number in range(bus_module.MAX_EVENTS + 5):
                bus.publish(SESSION, piece(str(number)))

            assert Lagged() == await subscription.get()
            assert piece(str(bus_module.MAX_EVENTS)) == await subscription.get()

    asyncio.run(main())


def test_nothing_stays_of_a_subscriber() -> None:
    """When the last subscriber of a session has gone, the bus has forgotten the session."""
    registry = Registry()
    bus = Bus(registry)
    for number in range(1_000):
        with bus.subscribe(SessionId(str(number))):
            assert 1 == next(iter(registry)).entries

    assert 0 == next(iter(registry)).entries
    assert {} == bus._subscribers  # noqa: SLF001 - what must not grow is private


def test_subscribers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One subscriber above the bound is refused."""
    monkeypatch.setattr(bus_module, "MAX_SUBSCRIBERS", 1)
    bus = Bus(Registry())
    with bus.subscribe(SESSION), pytest.raises(LimitReached), bus.subscribe(SESSION):
        pass


def test_closing_tells_everyone() -> None:
    """When the gateway stops, every subscriber hears it."""

    async def main() -> None:
        bus = Bus(Registry())
        with bus.subscribe(SESSION) as one, bus.subscribe(SessionId("other")) as other:
            bus.close()

            assert [Ended(reason="stopping")] * 2 == [await one.get(), await other.get()]

    asyncio.run(main())
