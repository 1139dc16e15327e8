import asyncio
import gc
from pathlib import Path

import pytest

from inside import inside
from tidegate.bounded import Registry
from tidegate.clock import ManualClock, SystemClock
from tidegate.domain.level import Level
from tidegate.domain.run import RunState
from tidegate.domain.session import PolicyName
from tidegate.errors import MemoryShort
from tidegate.ids import RunId, SessionId
from tidegate.runtime import process
from tidegate.runtime.bus import SLOW_EVENTS, Bus, Ended, Piece
from tidegate.runtime.guard import Grip, Guard, Reason
from tidegate.runtime.pressure import RELIEF_MS, Pressure, Relief, Step

LIMIT = 1_000


class Tank:
    """Memory that a test fills and empties."""

    def __init__(self) -> None:
        self.used = 0
        self.reads = 0

    def read(self) -> int:
        """Tell how much is in use."""
        self.reads += 1
        return self.used


def pressed(tank: Tank, guard: Guard, clock: ManualClock, relief: Relief | None = None) -> Pressure:
    """Return the pressure of a tank."""
    return Pressure(guard, LIMIT, relief or Relief(), clock, tank.read)


def test_each_mark_does_what_it_says() -> None:
    """Up and down again, each step holds back what it says, and each change of the level is counted once."""

    async def main() -> None:
        tank, guard = Tank(), Guard()
        pressure = pressed(tank, guard, ManualClock())
        found = []
        for used in (100, 700, 700, 800, 900, 860, 840, 740, 640):
            tank.used = used
            pressure.look()
            found.append((pressure.step, guard.level(Reason.MEMORY), guard.grip(Reason.MEMORY)))

        both = Grip.BIRTHS | Grip.BACKGROUND
        assert [
            (Step.NOTHING, Level.NORMAL, Grip.NOTHING),
            (Step.SHED, Level.TIGHT, Grip.NOTHING),
            (Step.SHED, Level.TIGHT, Grip.NOTHING),
            (Step.REFUSE, Level.TIGHT, Grip.BIRTHS),
            (Step.PARK, Level.CRITICAL, both),
            (Step.PARK, Level.CRITICAL, both),
            (Step.REFUSE, Level.TIGHT, Grip.BIRTHS),
            (Step.SHED, Level.TIGHT, Grip.NOTHING),
            (Step.NOTHING, Level.NORMAL, Grip.NOTHING),
        ] == found
        changes = {level: guard.changes[Reason.MEMORY, level] for level in Level}
        assert {Level.TIGHT: 2, Level.CRITICAL: 1, Level.NORMAL: 1} == changes

    asyncio.run(main())


def test_memory_is_read_at_the_door(tmp_path: Path) -> None:
    """What is asked for rests on what is in use now, read at most every 10 ms; chats are answered all the same."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            tank = Tank()
            pressed(tank, here.intake.guard, here.clock)
            await here.ask(PolicyName.API, "/echo hi")
            await here.ask(PolicyName.API, "/echo hi")
            tank.used = 800
            here.clock.advance(10)
            with pytest.raises(MemoryShort) as refused:
                await here.ask(PolicyName.API, "/echo hi")
            with pytest.raises(MemoryShort):
                await here.ask(PolicyName.API_NAMED, "/echo hi", key="n")
            run = await here.say("c", "/echo hi")

            assert (RunState.DONE, 2) == (run.state, tank.reads)
            assert (429, 5) == (refused.value.status, refused.value.retry_after_s)
            assert "800 B of 1000 B are in use" in refused.value.message
            assert 2 == here.intake.guard.refused["memory_short"]

    asyncio.run(main())


def test_a_known_conversation_goes_on(tmp_path: Path) -> None:
    """A named api session that is there already is answered while no new one is taken."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            tank = Tank()
            pressed(tank, here.intake.guard, here.clock)
            await here.intake.outcome(await here.ask(PolicyName.API_NAMED, "/echo hi", key="n"))
            tank.used = 950
            here.clock.advance(10)
            run = await here.intake.outcome(await here.ask(PolicyName.API_NAMED, "/echo again", key="n"))

            assert RunState.DONE is run.state

    asyncio.run(main())


def test_help_is_rare(tmp_path: Path) -> None:
    """Caches are shed as soon as a mark is passed, then not again before a while has gone; the slow are cut off."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            tank, shed, cut = Tank(), [0], [0]

            async def forget() -> None:
                shed[0] += 1

            def end() -> int:
                cut[0] += 1
                return 1

            pressure = pressed(tank, Guard(), here.clock, Relief((here.store.shed, forget), end))
            seen = []
            for used, ms in (
                (100, 0),
                (700, 0),
                (710, 0),
                (720, RELIEF_MS),
                (900, 0),
                (910, 0),
                (100, RELIEF_MS),
            ):
                tank.used = used
                here.clock.advance(ms)
                await pressure.turn()
                seen.append((shed[0], cut[0]))

            assert [(0, 0), (1, 0), (1, 0), (2, 0), (3, 1), (3, 2), (3, 2)] == seen
            assert 2 == pressure.cut

    asyncio.run(main())


def test_shedding_forgets_only_what_can_be_read_again(tmp_path: Path) -> None:
    """After the store has shed its cache every head is as it was, and the cache is empty in between."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.say("c", "/echo hi")
            before = here.head("c")
            await here.store.shed()
            after = here.head("c")

            assert before == after
            assert before is not after

    asyncio.run(main())


def test_the_slow_are_cut_off() -> None:
    """Whoever has much waiting loses it and hears that it has ended; whoever keeps up goes on."""

    async def main() -> None:
        bus = Bus(Registry())
        session = SessionId("s")
        with bus.subscribe(session) as slow, bus.subscribe(session) as quick:
            for number in range(SLOW_EVENTS):
                bus.publish(session, Piece(run=RunId("r"), text=str(number)))
                assert isinstance(await quick.get(), Piece)
            cut = [bus.cut_slow(), bus.cut_slow()]

            assert [1, 0] == cut
            assert Ended(reason="slow") == await slow.get()
            bus.publish(session, Piece(run=RunId("r"), text="on"))
            assert Piece(run=RunId("r"), text="on") == await quick.get()

    asyncio.run(main())


def test_real_memory_moves_the_level() -> None:
    """Memory that is really taken is seen within a turn, and once it is let go the level falls."""

    async def main() -> None:
        guard = Guard()
        gc.collect()  # what went later would count against what is planted
        here = process.anonymous_bytes()  # some hundred MiB, in a process that ran many tests
        planting = max(96 << 20, here)
        limit = here + planting
        pressure = Pressure(guard, limit, Relief(), SystemClock())
        await pressure.turn()
        levels = [guard.level(Reason.MEMORY)]
        planted = b"x" * planting
        await pressure.turn()
        levels.append(guard.level(Reason.MEMORY))
        del planted
        await pressure.turn()
        levels.append(guard.level(Reason.MEMORY))

        assert [Level.NORMAL, Level.CRITICAL, Level.NORMAL] == levels

    asyncio.run(main())


def test_a_reading_costs_nothing() -> None:
    """The quick reading and the whole one tell the same, up to what the system counts in advance."""
    memory = process.memory()

    assert abs(process.anonymous_bytes() - (memory.anonymous or memory.rss)) < 8 << 20
