import asyncio
from pathlib import Path

import pytest

from inside import Inside, inside
from tidegate.clock import MINUTE_MS
from tidegate.domain.entry import Assistant
from tidegate.domain.run import Lane, Run, Step
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session, State
from tidegate.errors import SessionPinned, SessionRunning
from tidegate.runtime import mover
from tidegate.store import segments
from tidegate.store.move import Move, Settled


async def grown(here: Inside, key: str, entries: int, *, size: int = 20) -> Session:
    """Make a chat with many entries, straight in the store."""
    here.runner.stop()
    await here.send(key, "start")
    claimed = await here.store.claim(Lane.INTERACTIVE)
    assert claimed is not None
    run: Run = claimed.run
    for first in range(0, entries, 250):
        bodies = [
            Assistant(text=f"{number} " + "x" * size) for number in range(first, min(first + 250, entries))
        ]
        await here.store.append(run.lease, Step(bodies=bodies))
    await here.store.finish(run.lease, Outcome.OK)
    return here.head(key)


def test_large_transcript_is_archived_in_parts(tmp_path: Path) -> None:
    """A transcript of several segments is archived whole; its rows go, and every entry reads as before."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            head = await grown(here, "c", 1_300, size=3_000)
            before = await here.texts("c")
            archived = await mover.archive(here.store, head)
            await mover.trim_all(here.store)

            assert (State.ARCHIVED, 0, 1_301) == (archived.state, archived.hot_entries, archived.entries)
            assert before == (await here.texts("c"))[: len(before)]
            assert here.store.tallies().segments >= 1_300 * 3_000 // segments.RAW_BYTES
            tail = (await here.store.context(head.id, 100_000)).entries
            assert 1_301 == tail[-1].seq
            assert [entry.seq for entry in tail] == list(range(tail[0].seq, 1_302))

    asyncio.run(main())


def test_large_session_is_emptied_before_it_is_deleted(tmp_path: Path) -> None:
    """A session with many rows is deleted whole, and nothing of it stays."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            head = await grown(here, "c", 1_200)
            await mover.delete(here.store, head)

            assert here.store.session("c") is None
            assert 0 == sum((await here.store.orphans()).values())

    asyncio.run(main())


def test_asked_move_says_why_not(tmp_path: Path) -> None:
    """What is running or pinned is neither archived nor deleted, and the caller hears which it is."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            here.runner.stop()
            await here.send("c", "start")
            head = here.head("c")
            for move in (mover.archive, mover.delete):
                with pytest.raises(SessionRunning):
                    await move(here.store, head)
            await here.store.cancel_session(head.id)
            head = await here.store.pin(head.id, pinned=True)
            for move in (mover.archive, mover.delete):
                with pytest.raises(SessionPinned):
                    await move(here.store, head)

    asyncio.run(main())


def test_damaged_session_does_not_stop_the_sweep(tmp_path: Path) -> None:
    """A session that cannot be read is postponed and named; the others move."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            for number in range(3):
                await here.intake.outcome(await here.ask(PolicyName.API, f"/echo {number}"))
            damage = "UPDATE entries SET checksum = checksum + 1 WHERE id = 3"
            await here.store.writer.maintain(lambda connection: connection.execute(damage).fetchall())
            swept = await here.sweeper.sweep()

            assert (2, 1) == (swept.archived, swept.left)

    asyncio.run(main())


def test_sweep_survives_a_delete_meanwhile(tmp_path: Path) -> None:
    """A session that is deleted while the sweep prepares its page is passed over."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.intake.outcome(await here.ask(PolicyName.API, "/echo a"))
            (due,) = await here.store.due(here.clock.now(), 10, with_deletes=True)
            await mover.delete(here.store, due)
            (carried,) = await mover.carry_out(here.store, [Move(session=due, to=DueTo.ARCHIVED)])

            assert carried == (Settled.LOST, 0)

    asyncio.run(main())


def test_damaged_large_session_can_be_deleted(tmp_path: Path) -> None:
    """What cannot be read any more can still be deleted, however large it is."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            head = await grown(here, "c", 700)
            damage = "UPDATE entries SET checksum = checksum + 1 WHERE seq = 600"
            await here.store.writer.maintain(lambda connection: connection.execute(damage).fetchall())
            await mover.delete(here.store, head)

            assert here.store.session("c") is None

    asyncio.run(main())


def test_deadline_of_a_turn_leaves_the_next_one(tmp_path: Path) -> None:
    """The deadline of a named api session ends the run that has the turn; the message behind it gets its own."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            here.runner.stop()
            first = await here.ask(PolicyName.API_NAMED, "one", key="n")
            second = await here.ask(PolicyName.API_NAMED, "two", key="n")
            here.clock.advance(10 * MINUTE_MS)
            await here.sweeper.sweep()
            head = here.head("n")

            assert here.store.run(first.id).outcome is Outcome.TIMED_OUT  # type: ignore[union-attr]  # it is there
            assert here.store.run(second.id).outcome is None  # type: ignore[union-attr]  # it is there
            assert (head.state, head.due_at) == (State.CREATED, here.clock.now() + 10 * MINUTE_MS)

    asyncio.run(main())
