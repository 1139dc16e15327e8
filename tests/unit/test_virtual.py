import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path

import anyio
import pytest

from tidegate.clock import DAY_MS, SECOND_MS
from tidegate.config import Config
from tidegate.domain.entry import User
from tidegate.domain.run import Lane, Origin
from tidegate.domain.session import PolicyName
from tidegate.engine import Engine, engine
from tidegate.errors import Broken
from tidegate.soak import virtual
from tidegate.soak.virtual import EPOCH, VirtualClock, VirtualLoop
from tidegate.store.admission import Admission, Birth
from tidegate.store.tx import Effects

DAY_S = 86_400.0
TURNS = 20

Main = Callable[[VirtualLoop], Coroutine[object, object, None]]


def turns(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop take some turns and look for something to do after each, from a thread that is at work."""
    for _ in range(TURNS):
        taken = threading.Event()
        loop.call_soon_threadsafe(taken.set)
        assert taken.wait(10)


def inside(folder: Path, main: Callable[[VirtualLoop, Engine], Coroutine[object, object, None]]) -> None:
    """Run something in an engine on virtual time."""

    async def opened(loop: VirtualLoop) -> None:
        async with engine(Config(), folder, VirtualClock(loop)) as parts:
            loop.works.append(lambda: parts.store.writer.untold)
            await main(loop, parts)

    virtual.run(opened)


def test_a_month_passes_at_once() -> None:
    """Time jumps to the next timer, and is then exactly what the timer was set to."""

    async def main(loop: VirtualLoop) -> None:
        await asyncio.sleep(30 * DAY_S)
        assert 30 * DAY_S == loop.time()
        assert EPOCH + 30 * DAY_MS == VirtualClock(loop).now()
        assert 30 * DAY_MS == VirtualClock(loop).monotonic()

    virtual.run(main)


@pytest.mark.parametrize("bits", [24, 25, 28, 32])
def test_time_goes_on_after_half_a_year(bits: int) -> None:
    """Where a float no longer holds a nanosecond a timer still runs: above 2^24 s, 194 days, time once stood still."""

    async def main(loop: VirtualLoop) -> None:
        await asyncio.sleep(2.0**bits)
        for _ in range(20):
            before = loop.time()
            await asyncio.sleep(0.1)
            assert before + 0.1 == pytest.approx(loop.time(), abs=1e-5)

    def stuck(number: int, _: object) -> None:
        raise TimeoutError(f"signal {number}: time stood still")

    before = signal.signal(signal.SIGALRM, stuck)
    signal.alarm(10)
    try:
        virtual.run(main)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_timers_fire_in_order_at_their_moments() -> None:
    """Sleeps, timeouts and calls share one time, and none is early or late."""
    fired: list[tuple[str, float]] = []

    async def sleeper(loop: VirtualLoop) -> None:
        await asyncio.sleep(2 * DAY_S)
        fired.append(("sleep", loop.time()))

    async def main(loop: VirtualLoop) -> None:
        loop.call_later(0.001, lambda: fired.append(("call", loop.time())))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sleeper(loop))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(DAY_S):
                    await asyncio.Event().wait()
            fired.append(("timeout", loop.time()))

    virtual.run(main)

    assert fired == [("call", 0.001), ("timeout", DAY_S), ("sleep", 2 * DAY_S)]


def test_no_timer_fires_while_a_thread_works() -> None:
    """However often the loop finds nothing to do meanwhile, time stands still until the thread has ended."""

    async def main(loop: VirtualLoop) -> None:
        fired: list[float] = []
        loop.call_later(0.001, lambda: fired.append(loop.time()))
        await anyio.to_thread.run_sync(turns, loop)
        assert (0.0, []) == (loop.time(), fired)
        await asyncio.sleep(1)
        assert [0.001] == fired

    virtual.run(main)


def test_no_timer_fires_while_the_writer_works(tmp_path: Path) -> None:
    """A write takes no virtual time, whatever it takes in real time."""

    async def main(loop: VirtualLoop, parts: Engine) -> None:
        before = loop.time()
        fired: list[float] = []
        loop.call_later(0.001, lambda: fired.append(loop.time()))
        await parts.store.writer.write(lambda _: turns(loop))
        assert (before, []) == (loop.time(), fired)

    inside(tmp_path, main)


def test_a_sweep_keeps_its_date(tmp_path: Path) -> None:
    """What is to be deleted in 24 hours is deleted at that very millisecond, and the writer has the same time."""
    gone_at: list[int] = []

    async def main(_: VirtualLoop, parts: Engine) -> None:
        def on_commit(effects: Effects) -> None:
            gone_at.extend(parts.clock.now() for _ in effects.gone)

        parts.store.listen(on_commit)
        async with asyncio.TaskGroup() as tasks:
            services = [tasks.create_task(parts.sweeper.serve()), tasks.create_task(parts.runner.serve())]
            admitted = await parts.intake.submit(
                Admission(
                    key=None,
                    birth=Birth(policy=PolicyName.API, agent="main"),
                    lane=Lane.INTERACTIVE,
                    origin=Origin.MESSAGE,
                    bodies=[User(text="/sleep 7.5")],
                )
            )
            run = await parts.intake.outcome(admitted.run)
            assert EPOCH + 7_500 == run.finished_at
            await asyncio.sleep(10)
            archived = parts.store.session(admitted.session.key)
            assert archived is not None
            assert archived.due_at is not None
            assert archived.due_at - DAY_MS - run.finished_at <= SECOND_MS
            await asyncio.sleep(2 * DAY_S)
            assert [archived.due_at] == gone_at
            for service in services:
                service.cancel()

    inside(tmp_path, main)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_and_lets_it_clean_up(number: signal.Signals) -> None:
    """Who is stopped gets to the end of its `finally`, and the caller hears of an interrupt."""
    cleaned: list[float] = []

    async def main(loop: VirtualLoop) -> None:
        loop.call_later(DAY_S, signal.raise_signal, number)
        try:
            await asyncio.Event().wait()
        finally:
            await anyio.to_thread.run_sync(turns, loop)
            cleaned.append(loop.time())

    with pytest.raises(KeyboardInterrupt):
        virtual.run(main)

    assert [DAY_S] == cleaned


def test_a_thread_that_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of waiting for ever, the loop says why virtual time cannot pass."""
    monkeypatch.setattr(virtual, "STUCK_S", 0.0)
    selector = virtual.VirtualSelector(lambda: True, lambda _: None)

    with pytest.raises(Broken, match="virtual time cannot pass"):
        selector.select(1.0)

    selector.close()
