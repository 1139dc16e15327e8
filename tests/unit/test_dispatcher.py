import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from house import House, sqlite
from tidegate import log
from tidegate.domain.event import Audience, Event, EventName
from tidegate.domain.session import PolicyName
from tidegate.ids import RunId, SessionId
from tidegate.runtime import dispatcher as dispatcher_module
from tidegate.runtime.dispatcher import Dispatcher
from tidegate.runtime.hook_thread import CallOutcome
from tidegate.runtime.plugins import Function, Plugin
from tidegate.store.tx import Effects
from work import offer, work

pytestmark = pytest.mark.anyio

WAIT_S = 20.0
CREATED, FINISHED = EventName.SESSION_CREATED, EventName.RUN_FINISHED
BEFORE, AFTER = EventName.BEFORE_COMPACTION, EventName.AFTER_COMPACTION


@pytest.fixture
def anyio_backend() -> str:
    """Run these tests in asyncio's own loop."""
    return "asyncio"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Open a store."""
    async with sqlite(tmp_path) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _fresh_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Log as at first: a test before may have set a level, which a logger keeps once it was used."""
    before = structlog.get_config()
    structlog.reset_defaults()
    monkeypatch.setattr(dispatcher_module, "_log", log.get("hooks"))
    yield
    structlog.configure(**before)


@asynccontextmanager
async def serving(
    house: House, *functions: dict[EventName, Function], deadline_ms: int = 20_000
) -> AsyncIterator[Dispatcher]:
    """Serve plugins with these functions, told of everything that happens in the store."""
    plugins = [Plugin(name=f"p{number}", functions=given) for number, given in enumerate(functions)]
    audience = Audience(
        plugins=frozenset(name for given in functions for name in given),
        webhooks={BEFORE: ["pager"], AFTER: ["pager"]},
    )
    house.store.tell(audience)
    dispatcher = Dispatcher(house.store, plugins, audience, house.clock, deadline_ms=deadline_ms)
    house.store.listen(dispatcher.on_commit)
    async with asyncio.TaskGroup() as tasks:
        served = tasks.create_task(dispatcher.serve())
        yield dispatcher
        served.cancel()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - a thread acts
            await asyncio.sleep(0.002)


def counts(dispatcher: Dispatcher, name: EventName) -> dict[CallOutcome, int]:
    """Return what became of an event, without the zeros."""
    return {
        outcome: count for (event, outcome), count in dispatcher.counts.items() if event is name and count
    }


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever compacts tells."""

    session: SessionId
    run: RunId = RunId("r")
    reason: str = "threshold"
    first_seq: int = 1
    last_seq: int = 7
    tokens: int = 900
    summary_seq: int | None = None


async def compaction(house: House) -> Compaction:
    """Return a compaction of some session."""
    return Compaction(session=(await work(house.store, offer())).id)


async def test_functions_are_called_in_order(house: House) -> None:
    """A plain function and a coroutine hear of each session, in the order of the commits, off the loop's thread."""
    told: list[str] = []
    threads: set[int] = set()

    def created(event: Event) -> None:
        threads.add(threading.get_ident())
        told.append(f"created {event.key}")

    async def finished(event: Event) -> None:
        await asyncio.sleep(0)
        threads.add(threading.get_ident())
        told.append(f"finished {event.key}")

    async with serving(house, {CREATED: created, FINISHED: finished}) as dispatcher:
        for number in range(3):
            await work(house.store, offer(PolicyName.API, key=f"api:{number}"))
        await until(lambda: len(told) == 6)
        await until(lambda: counts(dispatcher, FINISHED) == {CallOutcome.OK: 3})
    expected = [f"{what} api:{number}" for number in range(3) for what in ("created", "finished")]
    assert expected == told
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def bad(_: Event) -> None:
    """Fail as a coroutine."""
    raise RuntimeError("async")


def exits(_: Event) -> None:
    """End the thread, or try to."""
    raise SystemExit(1)


def interrupts(_: Event) -> None:
    """Pretend that somebody pressed Ctrl-C."""
    raise KeyboardInterrupt


def raises_its_own_timeout(_: Event) -> None:
    """Fail with what a deadline fails with."""
    raise TimeoutError("its own")


def garbage(_: Event) -> object:
    """Return something huge and useless."""
    return [b"x" * (1 << 20)] * 64


@pytest.mark.parametrize(
    ("function", "outcome"),
    [
        (bad, CallOutcome.FAILED),
        (exits, CallOutcome.FAILED),
        (interrupts, CallOutcome.FAILED),
        (raises_its_own_timeout, CallOutcome.FAILED),
        (garbage, CallOutcome.OK),
    ],
)
async def test_a_plugin_that_fails(house: House, function: Function, outcome: CallOutcome) -> None:
    """It is counted and told once; sessions, its next call and other plugins go on."""
    well: list[str] = []

    def other(event: Event) -> None:
        well.append(event.key)

    with capture_logs() as logged:
        async with serving(house, {CREATED: function}, {CREATED: other}) as dispatcher:
            for _ in range(5):
                await work(house.store, offer(PolicyName.API))
            await until(lambda: len(well) == 5 and sum(dispatcher.counts.values()) == 10)
            expected = {outcome: 5, CallOutcome.OK: 5} if outcome is CallOutcome.FAILED else {outcome: 10}
            assert expected == counts(dispatcher, CREATED)
    assert len([line for line in logged if line["event"] == "hook_failed"]) == (outcome is CallOutcome.FAILED)


class Heavy(Exception):
    """An error that somebody may hold on to."""


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_error_is_let_go_of(house: House, *, is_async: bool) -> None:
    """What a plugin raises is gone with the call, without waiting for the collector of cycles."""
    raised: list[weakref.ref[Heavy]] = []

    def fail(_: Event) -> None:
        error = Heavy("x" * 1_000_000)
        raised.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    async def fail_as_a_coroutine(event: Event) -> None:
        fail(event)

    gc.disable()
    try:
        async with serving(house, {CREATED: fail_as_a_coroutine if is_async else fail}) as dispatcher:
            for _ in range(3):
                await work(house.store, offer(PolicyName.API))
            await until(lambda: counts(dispatcher, CREATED) == {CallOutcome.FAILED: 3})
        assert [one() for one in raised] == [None] * 3
    finally:
        gc.enable()


async def test_it_is_told_when_it_is_well_again(house: House) -> None:
    """One line when it begins to fail, one when it does not any more."""
    failing = [True, True, False, False, True]

    def moody(_: Event) -> None:
        if failing.pop(0):
            raise ValueError("bad day")

    with capture_logs() as logged:
        async with serving(house, {CREATED: moody}) as dispatcher:
            for _ in range(5):
                await work(house.store, offer(PolicyName.API))
            await until(lambda: sum(dispatcher.counts.values()) == 5)
    lines = [line["event"] for line in logged if line["event"].startswith("hook_")]
    assert lines == ["hook_failed", "hook_well", "hook_failed"]


async def test_a_slow_coroutine_is_cancelled(house: House) -> None:
    """At the deadline it ends, and so does what it has left in its loop; the next call comes."""
    ended: list[str] = []

    async def stray() -> None:
        try:
            await asyncio.sleep(WAIT_S)
        finally:
            ended.append("stray")

    async def slow(event: Event) -> None:
        left = asyncio.ensure_future(stray())  # noqa: TID251 - what somebody's code may do
        try:
            await asyncio.sleep(WAIT_S if event.key == "api:0" else 0)
        finally:
            ended.append(event.key)
            del left

    async with serving(house, {CREATED: slow}, deadline_ms=50) as dispatcher:
        await work(house.store, offer(PolicyName.API, key="api:0"))
        await until(lambda: counts(dispatcher, CREATED) == {CallOutcome.TIMED_OUT: 1})
        await work(house.store, offer(PolicyName.API, key="api:1"))
        await until(lambda: counts(dispatcher, CREATED) == {CallOutcome.TIMED_OUT: 1, CallOutcome.OK: 1})
    assert ended == ["api:0", "stray", "api:1", "stray"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_plugin_that_blocks(house: House, monkeypatch: pytest.MonkeyPatch, *, is_async: bool) -> None:
    """It has one thread and one line, full at its bound; the loop turns, the store takes 10,000 sessions.

    Once it lets go it hears of what was waiting, and of what comes.
    """
    monkeypatch.setattr(dispatcher_module, "MAX_WAITING", 50)
    go = threading.Event()
    called: list[str] = []

    def block(event: Event) -> None:
        called.append(event.key)
        go.wait(WAIT_S)

    async def block_a_loop(event: Event) -> None:
        block(event)

    before = threading.active_count()
    count = 10_000 if not is_async else 200
    with capture_logs() as logged:
        async with serving(
            house, {CREATED: block_a_loop if is_async else block}, deadline_ms=500
        ) as dispatcher:
            await work(house.store, offer(PolicyName.API))
            await until(lambda: counts(dispatcher, CREATED) == {CallOutcome.TIMED_OUT: 1})
            event = next(event for effects in house.heard for event in effects.events)
            effects = Effects()
            effects.events.append(event)
            for _ in range(count):
                dispatcher.on_commit(effects)
            assert threading.active_count() == before + 1
            assert counts(dispatcher, CREATED) == {CallOutcome.TIMED_OUT: 1, CallOutcome.DROPPED: count - 50}
            go.set()
            await until(lambda: counts(dispatcher, CREATED).get(CallOutcome.OK) == 50)
        assert len(called) == 51
    assert [line["event"] for line in logged].count("hook_behind") == 1
    await until(lambda: threading.active_count() == before)


async def test_a_hanging_plugin_does_not_keep_the_gateway(house: House) -> None:
    """Leaving does not wait for a call that hangs; what it then answers goes nowhere."""
    go, over = threading.Event(), threading.Event()

    def hang(_: Event) -> None:
        go.wait(WAIT_S)
        over.set()

    started = time.monotonic()
    async with serving(house, {CREATED: hang}, deadline_ms=10) as dispatcher:
        await work(house.store, offer(PolicyName.API))
        await until(lambda: counts(dispatcher, CREATED) == {CallOutcome.TIMED_OUT: 1})
    assert time.monotonic() - started < WAIT_S / 2
    go.set()
    assert over.wait(WAIT_S)


async def test_the_gauge_shows_what_waits(house: House) -> None:
    """What waits in the lines can be told, and how much may."""
    plugin = Plugin(name="p", functions={CREATED: exits})
    dispatcher = Dispatcher(house.store, [plugin], Audience(), house.clock, deadline_ms=1)
    house.store.tell(Audience(plugins=frozenset({CREATED})))
    house.store.listen(dispatcher.on_commit)
    await work(house.store, offer(PolicyName.API))
    assert (dispatcher.waiting, dispatcher.limit) == (1, 1_000)


async def test_a_compaction_waits_for_those_who_asked(house: House) -> None:
    """It goes on once each plugin has returned; webhooks are told before and after."""
    told: list[EventName] = []

    def note(event: Event) -> None:
        told.append(event.event)
        assert (event.first_seq, event.last_seq, event.tokens, event.reason) == (1, 7, 900, "threshold")

    async with serving(house, {BEFORE: note}, {BEFORE: note, AFTER: note}) as dispatcher:
        await dispatcher.before_compaction(Compaction(session=SessionId("gone")))
        await dispatcher.before_compaction(await compaction(house))
        assert told == [BEFORE, BEFORE]
        await dispatcher.after_compaction(await compaction(house))
        await until(lambda: told[2:] == [AFTER])
    kinds = [delivery.kind for _, delivery in await house.store.outbox.page(state=None, before=99, limit=9)]
    assert kinds == [AFTER, BEFORE]


async def test_a_compaction_does_not_wait_for_ever(house: House) -> None:
    """After one deadline it goes on, be it that a plugin hangs, or that its earlier call does; both are counted.

    What has waited in vain is not called any more.
    """
    go = threading.Event()
    called: list[str] = []

    def hang(event: Event) -> None:
        called.append(event.session)
        go.wait(WAIT_S)

    async with serving(house, {BEFORE: hang}, {BEFORE: hang}, deadline_ms=50) as dispatcher:
        what = await compaction(house)
        for expected in (2, 4, 6):
            await dispatcher.before_compaction(what)
            await until(lambda: counts(dispatcher, BEFORE) == {CallOutcome.TIMED_OUT: expected})  # noqa: B023 - awaited
        go.set()
        last = await compaction(house)
        await dispatcher.before_compaction(last)
        await until(lambda: len(called) == 4)
    assert called == [what.session] * 2 + [last.session] * 2


async def test_a_compaction_is_cancelled_by_others_too(house: House) -> None:
    """Cancelling whoever compacts is no business of plugins: it goes through, and nothing is left waiting."""
    go = threading.Event()

    def hang(_: Event) -> None:
        go.wait(WAIT_S)

    async with serving(house, {BEFORE: hang}) as dispatcher:
        what = await compaction(house)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await dispatcher.before_compaction(what)
        go.set()
        await until(lambda: counts(dispatcher, BEFORE) == {CallOutcome.OK: 1})
