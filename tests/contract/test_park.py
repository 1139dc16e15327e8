import pytest

from house import House
from tidegate.clock import HOUR_MS, MINUTE_MS
from tidegate.domain.run import Lane, RunState
from tidegate.domain.session import DueTo, Outcome, PolicyName, State
from tidegate.errors import FenceLost
from work import claim, fresh, head, move, offer, say, start, texts

pytestmark = pytest.mark.anyio


async def test_a_parked_run_waits(house: House) -> None:
    """Nobody may write to a parked run, and nobody claims it; let go it goes on with its transcript and its number."""
    claimed = await start(house.store, offer(PolicyName.CRON, text="job"))
    await say(house.store, claimed.run.lease, "half")
    parked = await house.store.park(claimed.run.lease)
    assert (parked.state, parked.parked_at) == (RunState.WAITING, house.clock.now())
    with pytest.raises(FenceLost):
        await say(house.store, claimed.run.lease, "late")
    with pytest.raises(FenceLost):
        await house.store.park(claimed.run.lease)
    assert await house.store.claim(Lane.CRON) is None
    assert sum((await house.store.orphans()).values()) == 0
    house.clock.advance(MINUTE_MS)
    assert [await house.store.unpark(), await house.store.unpark()] == [1, 0]
    again = await claim(house.store, Lane.CRON)
    assert (again.run.id, again.run.parked_at) == (claimed.run.id, None)
    assert await texts(house.store, again) == ["job", "half"]


async def test_parked_time_is_not_the_runs_own(house: House) -> None:
    """How long a run was parked is taken out of its time; the session's deadline stays where it was."""
    claimed = await start(house.store, offer(PolicyName.CRON))
    due_at = head(house.store, claimed).due_at
    await house.store.park(claimed.run.lease)
    house.clock.advance(HOUR_MS)
    await house.store.unpark()
    assert fresh(house.store, claimed.run).waited_ms == HOUR_MS
    assert head(house.store, claimed).due_at == due_at


async def test_a_deadline_ends_what_is_parked(house: House) -> None:
    """The session's deadline completes it while its run is parked; there is nothing to let go then."""
    claimed = await start(house.store, offer(PolicyName.CRON))
    await house.store.park(claimed.run.lease)
    house.clock.advance(2 * HOUR_MS)
    await move(house.store, head(house.store, claimed), DueTo.COMPLETED)
    session, run = head(house.store, claimed), fresh(house.store, claimed.run)
    assert (session.state, session.outcome) == (State.COMPLETED, Outcome.TIMED_OUT)
    assert (run.state, run.parked_at) == (RunState.DONE, None)
    assert await house.store.unpark() == 0


async def test_a_restart_frees_what_is_parked(house: House) -> None:
    """After a crash a parked run is queued again as a running one is."""
    claimed = await start(house.store, offer(PolicyName.CRON))
    await house.store.park(claimed.run.lease)
    await house.crash()
    assert [await house.store.recover(), await house.store.recover()] == [1, 0]
    assert fresh(house.store, claimed.run).state is RunState.QUEUED


async def test_a_parked_run_can_be_cancelled(house: House) -> None:
    """Cancelling takes a parked run away for good."""
    claimed = await start(house.store, offer(PolicyName.SUBAGENT))
    await house.store.park(claimed.run.lease)
    run = await house.store.cancel_run(claimed.run.id)
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.CANCELLED)
    assert await house.store.unpark() == 0


async def test_letting_go_tells_the_lanes(house: House) -> None:
    """Whoever carries out runs hears that there is work again; where there is none, nothing is told."""
    claimed = await start(house.store, offer(PolicyName.CRON))
    await house.store.park(claimed.run.lease)
    house.heard.clear()
    await house.store.unpark()
    await house.store.unpark()
    assert [Lane.CRON in effects.queued for effects in house.heard] == [True, False]
