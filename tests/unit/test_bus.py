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


def test_who_waits_for_an_answer_is_woken_first() -> None:
    """However many look on at a conversation, and have done so for longer."""

    async def main() -> None:
        bus = Bus(Registry())
        woken: list[str] = []

        async def hear(name: str, subscription: Subscription) -> None:
            await subscription.get()
            woken.append(name)

        with ExitStack() as held:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(100):
                    tasks.create_task(hear("looks on", held.enter_context(bus.subscribe(SESSION))))
                tasks.create_task(hear("waits", held.enter_context(bus.subscribe(SESSION, is_first=True))))
                await asyncio.sleep(0)
                bus.publish(SESSION, piece("a"))

        assert "waits" == woken[0]

    asyncio.run(main())


def test_a_crowd_hears_together_what_comes_in_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not been woken yet hears two events at once: a crowd is not gone through for each of them."""
    monkeypatch.setattr(bus_module, "REST_S", 0.05)

    async def main() -> None:
        bus, count = Bus(Registry()), 4 * bus_module.WAKES
        heard: list[int] = []

        async def hear(subscription: Subscription) -> None:
            left = 2
            while left:
                await subscription.get()
                left -= 1
                heard.append(1)
                while not subscription.is_empty:
                    await subscription.get()
                    left -= 1
                    heard[-1] += 1

        with ExitStack() as held:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(count):
                    tasks.create_task(hear(held.enter_context(bus.subscribe(SESSION))))
                await asyncio.sleep(0)
                bus.publish(SESSION, piece("a"))
                for _ in range(8):
                    await asyncio.sleep(0)
                bus.publish(SESSION, piece("b"))

        assert 2 * count == sum(heard)
        assert len(heard) < 2 * count - bus_module.WAKES

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
