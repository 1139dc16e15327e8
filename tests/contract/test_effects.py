import anyio
import pytest

from house import House
from tidegate.domain.run import Lane
from tidegate.domain.session import DueTo, Outcome, PolicyName
from tidegate.errors import FenceLost
from tidegate.store.tx import Effects, Transition
from work import archive, claim, delete, head, move, offer, say, start, texts, work

pytestmark = pytest.mark.anyio


async def test_new_work_is_announced(house: House) -> None:
    """An admission tells its lane and the new head of its session."""
    admitted = await house.store.admit(offer(PolicyName.CRON, key="k"))
    (effects,) = house.heard
    assert effects.queued == {Lane.CRON}
    assert effects.heads == {"k": admitted.session}
    assert effects.transitions == {Transition("none", "created", "created"): 1}


async def test_told_before_the_caller(house: House) -> None:
    """A write has been told to every listener when it returns."""
    for count in range(1, 4):
        await house.store.admit(offer())
        assert len(house.heard) == count


async def test_told_after_the_commit(house: House) -> None:
    """A listener that reads sees what it is told of."""
    seen: list[tuple[int, int]] = []

    def look(effects: Effects) -> None:
        for session in effects.heads.values():
            assert session is not None
            seen.append((session.entries, head(house.store, session).entries))

    house.store.listen(look)
    claimed = await start(house.store, offer())
    await say(house.store, claimed.run.lease, "a", "b")
    assert seen == [(0, 0), (1, 1), (3, 3)]


async def test_in_the_order_of_the_commits(house: House) -> None:
    """Writers at the same time are told of in the order in which they were committed."""
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(house.store.admit, offer(key="k"))
    told = [session.version for effects in house.heard for session in effects.heads.values() if session]
    assert len(told) == 50
    assert told == sorted(told)


async def test_only_what_was_committed(house: House) -> None:
    """A write that is refused tells nothing."""
    claimed = await start(house.store, offer())
    await house.store.cancel_run(claimed.run.id)
    told = len(house.heard)
    with pytest.raises(FenceLost):
        await say(house.store, claimed.run.lease, "x")
    with pytest.raises(FenceLost):
        await house.store.finish(claimed.run.lease, Outcome.OK)
    assert len(house.heard) == told


async def test_entries_and_ends(house: House) -> None:
    """Entries are told as they were kept and in order, an end with its run, both with the last head."""
    claimed = await start(house.store, offer(PolicyName.API, key="k"))
    house.heard.clear()
    await say(house.store, claimed.run.lease, "a", "b")
    run = await house.store.finish(claimed.run.lease, Outcome.OK, notice="n")
    appended, finished = house.heard
    told = [*appended.entries, *finished.entries]
    assert told == await house.store.entries(claimed.session.id, 1, 9)
    assert finished.closed == [run]
    assert finished.heads == {"k": head(house.store, claimed)}
    assert finished.transitions == {Transition("active", "completed", "finished"): 1}


async def test_the_end_of_a_session(house: House) -> None:
    """A deletion tells the key that is free and the session that is gone; a later read finds neither."""
    session = await work(house.store, offer(PolicyName.CRON, key="k"))
    assert house.store.session("k") is not None
    house.heard.clear()
    await delete(house.store, session)
    (effects,) = house.heard
    assert (effects.heads, effects.gone) == ({"k": None}, [session.id])
    assert effects.transitions == {Transition("completed", "deleted", "asked"): 1}
    assert house.store.session("k") is None


async def test_every_closed_run_of_a_tree(house: House) -> None:
    """A deadline tells of every run that it closed, below its session too."""
    top = await start(house.store, offer(PolicyName.HOOK))
    child = await start(house.store, offer(PolicyName.SUBAGENT, parent=top.session.id))
    house.clock.advance(30 * 60_000)
    house.heard.clear()
    await move(house.store, head(house.store, top), DueTo.COMPLETED)
    closed = [run.id for effects in house.heard for run in effects.closed]
    assert sorted(closed) == sorted([top.run.id, child.run.id])


async def test_recovery_is_announced(house: House) -> None:
    """After a recovery every lane may have work, and each head is new."""
    claimed = await start(house.store, offer(key="k"))
    house.heard.clear()
    await house.store.recover()
    (effects,) = house.heard
    assert effects.queued == set(Lane)
    assert effects.heads == {"k": head(house.store, claimed)}


async def test_transitions_are_counted(house: House) -> None:
    """Each move of a session is counted with its reason, since the start."""
    for key in "ab":
        await work(house.store, offer(PolicyName.API_NAMED, key=key))
    session = await archive(house.store, await work(house.store, offer(PolicyName.API_NAMED, key="a")))
    await house.store.restore(session.id)
    house.clock.advance(1)
    await archive(house.store, head(house.store, session))
    await house.store.admit(offer(PolicyName.API_NAMED, key="a"))
    assert dict(house.store.transitions) == {
        Transition("none", "created", "created"): 2,
        Transition("created", "active", "claimed"): 2,
        Transition("active", "archived", "asked"): 2,
        Transition("archived", "active", "restored"): 1,
        Transition("archived", "active", "continued"): 1,
    }


async def test_a_cancelled_caller_does_not_undo(house: House) -> None:
    """A write whose caller has gone happens all the same, and is told to the listeners."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await house.store.admit(offer(key="gone", text="kept"))
    assert scope.cancelled_caught
    await house.store.remember("a later write", "is told later")
    assert [key for effects in house.heard for key in effects.heads] == ["gone"]
    assert await texts(house.store, await claim(house.store)) == ["kept"]
