import pytest

from house import House
from tidegate.domain.entry import Assistant
from tidegate.domain.run import Lane, RunState, Step
from tidegate.domain.session import Outcome, PolicyName, State
from tidegate.errors import FenceLost, RunNotFound, SessionNotFound
from tidegate.ids import RunId, SessionId
from work import claim, delete, fresh, head, offer, order, receipt, say, start, texts, work

pytestmark = pytest.mark.anyio


async def test_a_queued_run_is_cancelled(house: House) -> None:
    """A message that was not claimed yet still enters the transcript, and nobody claims it any more."""
    admitted = await house.store.admit(offer(key="k", text="never mind"))
    run = await house.store.cancel_run(admitted.run.id)
    assert run == fresh(house.store, run)
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.CANCELLED)
    assert await texts(house.store, admitted) == ["never mind"]
    assert await house.store.claim(run.lane) is None


@pytest.mark.parametrize("policy", [PolicyName.CHAT, PolicyName.API_NAMED])
async def test_a_conversation_rests_after_a_cancelled_first_message(house: House, policy: PolicyName) -> None:
    """A conversation whose only run was cancelled before a claim is active and idle, as after any turn."""
    admitted = await house.store.admit(offer(policy, key="k"))
    await house.store.cancel_run(admitted.run.id)
    session = head(house.store, admitted)
    assert (session.state, session.turn_at) == (State.ACTIVE, None)
    idle = await house.store.idle_longest()
    assert (idle == session) == (policy is PolicyName.API_NAMED)


async def test_a_running_run_is_cancelled(house: House) -> None:
    """Cancelling a running run raises its fence; what it had said stays."""
    claimed = await start(house.store, offer(key="k", text="q"))
    await say(house.store, claimed.run.lease, "half an ans")
    run = await house.store.cancel_run(claimed.run.id)
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.CANCELLED)
    with pytest.raises(FenceLost):
        await say(house.store, claimed.run.lease, "wer")
    assert await texts(house.store, claimed) == ["q", "half an ans"]
    assert head(house.store, claimed).turn_at is None


async def test_cancelling_is_idempotent(house: House) -> None:
    """A run that is done comes back as it is, and nothing is written."""
    claimed = await start(house.store, offer())
    done = await house.store.finish(claimed.run.lease, Outcome.OK)
    before = head(house.store, claimed)
    assert await house.store.cancel_run(done.id) == done
    assert head(house.store, claimed) is before


async def test_the_next_run_goes_on(house: House) -> None:
    """Cancelling the running run leaves the queued ones; cancelling a queued one leaves the running one."""
    first = await start(house.store, offer(key="k", text="one"))
    second = await house.store.admit(offer(key="k", text="two"))
    third = await house.store.admit(offer(key="k", text="three"))
    await house.store.cancel_run(second.run.id)
    await say(house.store, first.run.lease, "still here")
    await house.store.cancel_run(first.run.id)
    assert (await claim(house.store)).run.id == third.run.id
    assert await texts(house.store, first) == ["one", "two", "still here", "three"]


@pytest.mark.parametrize("policy", [PolicyName.SUBAGENT, PolicyName.CRON, PolicyName.HOOK, PolicyName.API])
async def test_cancelling_the_last_run_completes(house: House, policy: PolicyName) -> None:
    """An ephemeral session whose last open run is cancelled completes as cancelled, claimed or not."""
    unclaimed = await house.store.admit(offer(policy, key="unclaimed"))
    await house.store.cancel_run(unclaimed.run.id)
    claimed = await start(house.store, offer(policy, key="claimed"))
    await house.store.cancel_run(claimed.run.id)
    for session in (head(house.store, unclaimed), head(house.store, claimed)):
        assert (session.state, session.outcome) == (State.COMPLETED, Outcome.CANCELLED)


async def test_no_such_run(house: House) -> None:
    """Cancelling what is not there is told."""
    with pytest.raises(RunNotFound):
        await house.store.cancel_run(RunId("nobody"))


async def test_a_conversation_is_cancelled(house: House) -> None:
    """Cancelling a chat closes all its open runs, keeps their messages, and leaves the chat active."""
    claimed = await start(house.store, offer(key="k", text="one"))
    queued = await house.store.admit(offer(key="k", text="two"))
    session = await house.store.cancel_session(claimed.session.id)
    assert session == head(house.store, claimed)
    assert (session.state, session.turn_at, session.outcome) == (State.ACTIVE, None, None)
    assert [fresh(house.store, found.run).outcome for found in (claimed, queued)] == [Outcome.CANCELLED] * 2
    assert await texts(house.store, session) == ["one", "two"]


async def test_an_idle_or_finished_session_is_left_alone(house: House) -> None:
    """Cancelling a session with nothing open changes nothing."""
    chat = await work(house.store, offer(key="k"))
    job = await work(house.store, offer(PolicyName.CRON))
    assert await house.store.cancel_session(chat.id) == chat
    assert await house.store.cancel_session(job.id) == job


async def test_a_tree_is_cancelled(house: House) -> None:
    """Everything open below an ephemeral session completes as cancelled with it; what is done stays as it is."""
    top = await start(house.store, offer(PolicyName.CRON))
    done = await work(house.store, offer(PolicyName.SUBAGENT, parent=top.session.id))
    child = await start(house.store, offer(PolicyName.SUBAGENT, parent=top.session.id))
    below = await house.store.admit(offer(PolicyName.SUBAGENT, parent=child.session.id, text="sub"))
    await house.store.cancel_session(top.session.id)
    for found in (top, child, below):
        session = head(house.store, found)
        assert (session.state, session.outcome) == (State.COMPLETED, Outcome.CANCELLED)
        assert house.store.open_runs(session.id) == []
    assert await texts(house.store, below) == ["sub"]
    assert head(house.store, done) == done


async def test_a_cancelled_child_lets_its_parent_complete(house: House) -> None:
    """A parent that only waited for a child completes when that is cancelled."""
    parent = await start(house.store, offer(PolicyName.CRON))
    child = await house.store.admit(offer(PolicyName.SUBAGENT, parent=parent.session.id))
    await house.store.finish(parent.run.lease, Outcome.OK)
    await house.store.cancel_session(child.session.id)
    session = head(house.store, parent)
    assert (session.state, session.outcome) == (State.COMPLETED, Outcome.OK)


async def test_no_such_session(house: House) -> None:
    """Cancelling, pinning or restoring a session that is gone is told."""
    session = await work(house.store, offer(key="k"))
    await delete(house.store, session)
    with pytest.raises(SessionNotFound):
        await house.store.cancel_session(session.id)
    with pytest.raises(SessionNotFound):
        await house.store.pin(session.id, pinned=True)
    with pytest.raises(SessionNotFound):
        await house.store.restore(SessionId("nobody"))


async def test_nobody_comes_back(house: House) -> None:
    """After a crash an unnamed request has no client, unless it has a receipt; it ends with all below it."""
    alone = await start(house.store, offer(PolicyName.API))
    child = await house.store.admit(order(alone.run.lease, "c"))
    promised = await start(house.store, offer(PolicyName.API, receipt=receipt("k")))
    named = await start(house.store, offer(PolicyName.API_NAMED, key="app"))
    queued = await house.store.admit(offer(PolicyName.API))
    firing = await start(house.store, offer(PolicyName.CRON))
    await house.crash()
    await house.store.recover()
    assert await house.store.cancel_unattended() == 2
    assert [fresh(house.store, one.run).outcome for one in (alone, child, queued)] == [Outcome.CANCELLED] * 3
    assert head(house.store, child).state is State.COMPLETED
    assert [fresh(house.store, one.run).state for one in (promised, named, firing)] == [RunState.QUEUED] * 3
    assert await house.store.cancel_unattended() == 0


async def test_what_is_cancelled_with_a_run(house: House) -> None:
    """With a run those children are closed that it waits for, with a session all below it; both with all below."""
    parent = await start(house.store, offer(key="k"))
    for name in ("waits", "free"):
        await house.store.admit(order(parent.run.lease, name, waits=name == "waits"))
    waits, free = [await claim(house.store, Lane.SUBAGENT) for _ in range(2)]
    below = await start(house.store, order(waits.run.lease, "below"))
    other = await start(house.store, offer(key="other"))
    awaited = {one.run.id for one in (parent, waits, below)}
    assert set(house.store.running_below(run=parent.run.id)) == awaited
    assert set(house.store.running_below(session=parent.session.id)) == awaited | {free.run.id}
    assert house.store.running_below(session=other.session.id) == [other.run.id]


async def test_what_was_said_last_is_kept(house: House) -> None:
    """It is kept with the cancellation, of a run and of those below it; of a run that somebody closed it is not."""
    parent = await start(house.store, offer(key="k"))
    child = await start(house.store, order(parent.run.lease, "c"))
    gone = await start(house.store, order(parent.run.lease, "gone"))
    await house.store.finish(gone.run.lease, Outcome.OK)
    said = [(one.run.lease, Step(bodies=[Assistant(text="half")])) for one in (parent, child, gone)]
    await house.store.cancel_session(parent.session.id, said)
    assert await texts(house.store, child) == ["task c", "half"]
    assert await texts(house.store, gone) == ["task gone"]
    assert "half" in await texts(house.store, parent)
    again = await start(house.store, offer(key="k"))
    await house.store.cancel_run(again.run.id, [(again.run.lease, said[0][1])])
    assert (await texts(house.store, again))[-1] == "half"
