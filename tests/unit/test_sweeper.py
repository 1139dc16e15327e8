import asyncio
from pathlib import Path

import msgspec
import pytest

from inside import Inside, inside
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.session import PolicyName, State
from tidegate.errors import Busy
from tidegate.faults import Area, Faults
from tidegate.runtime.sweeper import Sweeper, Swept
from tidegate.store import retention
from tidegate.store.facts import FactRules
from tidegate.store.move import Move, Settled
from tidegate.store.tx import Tx


def test_due_sessions_move_step_by_step(tmp_path: Path) -> None:
    """An api session is archived at once after its answer and deleted a day later; nothing of it stays."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.intake.outcome(await here.ask(PolicyName.API, "/big 100000"))
            first = await here.sweeper.sweep()
            here.clock.advance(DAY_MS)
            second = await here.sweeper.sweep()

            assert (Swept(archived=1), Swept(deleted=1)) == (first, second)
            tallies = here.store.tallies()
            assert (0, 0, 0) == (tallies.blobs, tallies.references, tallies.segments)
            assert 0 == sum((await here.store.orphans()).values())

    asyncio.run(main())


def test_preview_changes_nothing(tmp_path: Path) -> None:
    """A dry run counts what a sweep would move and moves nothing."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.intake.outcome(await here.ask(PolicyName.API, "/echo a"))
            seen = await here.sweeper.preview()
            done = await here.sweeper.sweep()

            assert seen == done == Swept(archived=1)

    asyncio.run(main())


def test_idle_chat_is_archived_and_carried_on(tmp_path: Path) -> None:
    """A chat idle for 30 days is archived whole; the next message brings it back under the same numbers."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.say("c", "/echo one")
            here.clock.advance(29 * DAY_MS)
            await here.say("c", "/echo two")
            here.clock.advance(29 * DAY_MS)
            assert Swept() == await here.sweeper.sweep()
            here.clock.advance(DAY_MS)
            assert Swept(archived=1) == await here.sweeper.sweep()
            archived = here.head("c")
            await here.say("c", "/echo three")

            assert (State.ARCHIVED, 0) == (archived.state, archived.hot_entries)
            expected = ["/echo one", "one", "/echo two", "two", "/echo three", "three"]
            assert expected == await here.texts("c")
            assert [1, 2, 3, 4, 5, 6] == [entry.seq for entry in await here.transcript("c")]

    asyncio.run(main())


def test_postponed_chat_is_not_archived(tmp_path: Path) -> None:
    """A date is not rewritten at each message; the sweep asks again and postpones."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.say("c", "/echo one")
            here.clock.advance(30 * DAY_MS - 1)
            run = await here.send("c", "/echo two")
            await here.intake.outcome(run)
            here.clock.advance(HOUR_MS)
            await here.sweeper.sweep()
            head = here.head("c")

            assert State.ACTIVE is head.state
            assert head.due_at == head.updated_at + 30 * DAY_MS

    asyncio.run(main())


def test_clock_step_holds_deletes(tmp_path: Path) -> None:
    """After the wall clock was moved a day nothing is deleted until an hour of agreement, or until confirmed."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            for text in ("/echo a", "/echo b"):
                await here.intake.outcome(await here.ask(PolicyName.API, text))
            await here.sweeper.sweep()
            here.clock.step(2 * DAY_MS)

            assert Swept() == await here.sweeper.sweep()
            assert 0 == await here.sweeper.overdue()
            here.clock.advance(59 * MINUTE_MS)
            assert Swept() == await here.sweeper.sweep()
            assert Swept(deleted=2) == await here.sweeper.sweep(confirm=True)

    asyncio.run(main())


def test_clock_doubt_ends_after_an_hour(tmp_path: Path) -> None:
    """When the clocks have agreed for an hour, deleting goes on by itself."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.intake.outcome(await here.ask(PolicyName.API, "/echo a"))
            await here.sweeper.sweep()
            here.clock.step(2 * DAY_MS)
            await here.sweeper.sweep()
            here.clock.advance(HOUR_MS)

            assert Swept(deleted=1) == await here.sweeper.sweep()

    asyncio.run(main())


def test_changed_policy_changes_dates(tmp_path: Path) -> None:
    """With another policy at the next start, sessions that exist get the dates of the new one."""
    shorter = msgspec.structs.replace(DEFAULTS[PolicyName.API], delete_after_ms=HOUR_MS)

    async def before() -> None:
        async with inside(tmp_path) as here:
            await here.intake.outcome(await here.ask(PolicyName.API, "/echo a"))
            await here.sweeper.redate()
            await here.sweeper.sweep()

    async def after() -> Swept:
        async with inside(tmp_path, policies={**DEFAULTS, PolicyName.API: shorter}) as here:
            await here.sweeper.redate()
            here.clock.advance(HOUR_MS)
            return await here.sweeper.sweep()

    asyncio.run(before())
    assert Swept(deleted=1) == asyncio.run(after())


def test_sweeps_wait_for_each_other(tmp_path: Path) -> None:
    """Sweeps asked for at once are carried out one after the other, and move each session once."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            for number in range(20):
                await here.intake.outcome(await here.ask(PolicyName.API, f"/echo {number}"))
            async with asyncio.TaskGroup() as tasks:
                sweeps = [tasks.create_task(here.sweeper.sweep()) for _ in range(3)]

            assert 20 == sum(task.result().archived for task in sweeps)

    asyncio.run(main())


def test_serving_sweep_wakes_for_an_earlier_date(tmp_path: Path) -> None:
    """A session that falls due at once is moved without waiting for the interval."""

    async def main() -> None:
        async with inside(tmp_path) as here, asyncio.TaskGroup() as tasks:
            archived = asyncio.Event()
            here.store.listen(lambda _: archived.set() if _archived(here) else None)
            serving = tasks.create_task(here.sweeper.serve())
            await here.intake.outcome(await here.ask(PolicyName.API, "/echo a"))
            async with asyncio.timeout(10):
                await archived.wait()
            serving.cancel()

    def _archived(here: Inside) -> bool:
        return here.store.tallies().sessions[PolicyName.API, State.ARCHIVED][0] == 1

    asyncio.run(main())


def test_a_session_that_cannot_be_moved_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is put aside with its attempts, longer each time; those behind it are moved."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            for number in range(3):
                await here.intake.outcome(await here.ask(PolicyName.API, f"/echo {number}"))
            (poisoned, *others) = await here.store.due(here.clock.now(), 10, with_deletes=True)
            settle = retention.settle

            def failing(tx: Tx, move: Move, rules: FactRules) -> Settled:
                if move.session.id == poisoned.id:
                    raise RecursionError
                return settle(tx, move, rules)

            monkeypatch.setattr(retention, "settle", failing)
            assert 1 == (await here.sweeper.sweep()).left
            assert {State.ARCHIVED} == {here.head(one.key).state for one in others}
            waits = []
            for _ in range(3):
                due_at = here.head(poisoned.key).due_at
                assert due_at is not None
                waits.append(due_at - here.clock.now())
                here.clock.advance(waits[-1])
                assert Swept(left=1) == await here.sweeper.sweep()
            assert waits == [1_000, 2_000, 4_000]
            assert here.store.aside(Area.SWEEP) == {poisoned.id: "RecursionError"}

    asyncio.run(main())


def test_redating_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy store, or any other failure, ends no sweep: dates are counted again at the next turn, before any sweep."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            errors: list[Exception] = [Busy(), OSError(24, "Too many open files")]
            faults, redate = Faults(here.clock), here.sweeper.redate
            faults.first_rest_ms = 0
            swept = asyncio.Event()
            sweeper = Sweeper(here.store, here.clock, DEFAULTS, 60_000, faults, lambda _: swept.set())

            async def failing() -> None:
                if errors:
                    raise errors.pop(0)
                await redate()

            monkeypatch.setattr(sweeper, "redate", failing)
            async with asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(sweeper.serve())
                await swept.wait()
                serving.cancel()
            assert errors == []
            assert faults.counts[Area.SWEEP] == 2

    asyncio.run(main())
