import asyncio
from contextlib import ExitStack

import pytest

from tidegate.bounded import Registry
from tidegate.errors import LimitReached
from tidegate.ids import RunId, SessionId
from tidegate.runtime import bus as bus_module
from tidegate.runtime.bus import Bus, Ended, Lagged, Piece, Subscription

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


def test_slow_subscribers_are_bounded_in_bytes() -> None:
    """Each has so many bytes and all have so many; for whom most waits is told that it lagged, who reads is not."""

    async def main() -> None:
        registry = Registry()
        bus = Bus(registry)
        gauge = next(gauge for gauge in registry if gauge.name == "subscriber_bytes")
        with ExitStack() as held:
            slow = [held.enter_context(bus.subscribe(SESSION)) for _ in range(500)]
            reading = held.enter_context(bus.subscribe(SESSION))
            large = piece("x" * 60_000)
            for _ in range(50):
                bus.publish(SESSION, large)

                assert large == await reading.get()
                assert max(one.bytes for one in slow) <= bus_module.MAX_EVENT_BYTES
                assert sum(one.bytes for one in slow) <= gauge.limit
            assert Lagged() in [await slow[0].get(), await slow[1].get()]

    asyncio.run(main())


def test_a_crowd_is_woken_a_few_at_a_time() -> None:
    """What else the loop has to do comes between those who hear an event."""

    async def main() -> None:
        bus = Bus(Registry())
        woken: list[int] = []

        async def hear(number: int, subscription: Subscription) -> None:
            await subscription.get()
            woken.append(number)

        with ExitStack() as held:
            async with asyncio.TaskGroup() as tasks:
                for number in range(200):
                    tasks.create_task(hear(number, held.enter_context(bus.subscribe(SESSION))))
                await asyncio.sleep(0)
                bus.publish(SESSION, piece("a"))
                turns = []
                while len(woken) < 200:
                    before = len(woken)
                    await asyncio.sleep(0)
                    turns.append(len(woken) - before)

        assert max(turns) <= bus_module.WAKES
        assert woken == list(range(200))

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
