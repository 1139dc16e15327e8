import pytest

from house import House
from tidegate.domain.entry import Assistant, Notice
from tidegate.domain.run import RunState, Step, Usage
from tidegate.domain.session import Outcome, PolicyName, State
from tidegate.errors import FenceLost
from work import bodies, claim, fresh, head, offer, start, work

pytestmark = pytest.mark.anyio

EPHEMERAL = [PolicyName.SUBAGENT, PolicyName.CRON, PolicyName.HOOK, PolicyName.API]


@pytest.mark.parametrize("outcome", Outcome)
async def test_a_run_ends(house: House, outcome: Outcome) -> None:
    """A finished run is done with its outcome, its error and its end, and returned as it then is."""
    claimed = await start(house.store, offer())
    house.clock.advance(1_000)
    run = await house.store.finish(claimed.run.lease, outcome, error="why")
    assert run == fresh(house.store, run)
    assert (run.state, run.outcome, run.error) == (RunState.DONE, outcome, "why")
    assert run.finished_at == house.clock.now()
    assert house.store.open_runs(claimed.session.id) == []


@pytest.mark.parametrize("policy", EPHEMERAL)
@pytest.mark.parametrize("outcome", Outcome)
async def test_an_ephemeral_session_completes_with_its_last_run(
    house: House, policy: PolicyName, outcome: Outcome
) -> None:
    """With nothing open left, an ephemeral session completes with the run's outcome and gets its next date."""
    session = await work(house.store, offer(policy), outcome)
    assert (session.state, session.outcome) == (State.COMPLETED, outcome)
    assert (session.turn_at, session.running_at) == (None, None)
    assert session.due_at is not None
    assert session.since_at == house.clock.now()


@pytest.mark.parametrize("policy", [PolicyName.CHAT, PolicyName.API_NAMED])
async def test_a_conversation_goes_on(house: House, policy: PolicyName) -> None:
    """A conversation stays active after its turn, with no outcome of its own."""
    session = await work(house.store, offer(policy, key="k"), Outcome.FAILED)
    assert (session.state, session.outcome, session.turn_at) == (State.ACTIVE, None, None)


async def test_a_queued_run_holds_its_session_open(house: House) -> None:
    """An ephemeral session with another run queued does not complete; its next turn starts now."""
    claimed = await start(house.store, offer(PolicyName.HOOK, key="k"))
    await house.store.admit(offer(PolicyName.HOOK, key="k"))
    house.clock.advance(1_000)
    await house.store.finish(claimed.run.lease, Outcome.OK)
    session = head(house.store, claimed)
    assert (session.state, session.turn_at) == (State.ACTIVE, house.clock.now())
    assert session.running_at is None
    second = await claim(house.store, claimed.run.lane)
    await house.store.finish(second.run.lease, Outcome.FAILED)
    assert head(house.store, claimed).outcome is Outcome.FAILED


async def test_a_live_child_holds_its_parent_open(house: House) -> None:
    """A parent whose work is done completes when its last child does, with the outcome of its own last run."""
    parent = await start(house.store, offer(PolicyName.CRON, key="parent"))
    child = await start(house.store, offer(PolicyName.SUBAGENT, key="child", parent=parent.session.id))
    grandchild = await start(house.store, offer(PolicyName.SUBAGENT, parent=child.session.id))
    await house.store.finish(child.run.lease, Outcome.OK)
    await house.store.finish(parent.run.lease, Outcome.OK)
    assert [head(house.store, one).state for one in (parent, child)] == [State.ACTIVE, State.ACTIVE]
    await house.store.finish(grandchild.run.lease, Outcome.FAILED)
    assert [head(house.store, one).state for one in (parent, child)] == [State.COMPLETED, State.COMPLETED]
    assert [head(house.store, one).outcome for one in (parent, child)] == [Outcome.OK, Outcome.OK]


async def test_a_chat_does_not_end_with_its_children(house: House) -> None:
    """A conversation that spawned work goes on when that is done."""
    chat = await work(house.store, offer(key="chat"))
    child = await work(house.store, offer(PolicyName.SUBAGENT, parent=chat.id))
    assert child.state is State.COMPLETED
    assert head(house.store, chat).state is State.ACTIVE


async def test_a_notice_for_the_reader(house: House) -> None:
    """What went wrong is told at the end of the transcript, where no model reads it."""
    claimed = await start(house.store, offer())
    await house.store.finish(claimed.run.lease, Outcome.FAILED, error="e", notice="failed: e")
    last = (await bodies(house.store, claimed))[-1]
    assert isinstance(last, Notice)
    assert (last.text, last.run) == ("failed: e", claimed.run.id)


async def test_the_last_step_is_kept_with_the_end(house: House) -> None:
    """A last step is appended, counted and told of in the same commit as the end of its run."""
    claimed = await start(house.store, offer(text="q"))
    house.heard.clear()
    step = Step(bodies=[Assistant(text="a")], usage=Usage(output_tokens=2), model="m")
    run = await house.store.finish(claimed.run.lease, Outcome.OK, step=step, notice="n")
    assert [body.text for body in await bodies(house.store, claimed)] == ["q", "a", "n"]
    assert (run.reply_seq, run.steps, run.usage) == (2, 1, Usage(output_tokens=2))
    (effects,) = house.heard
    assert ([entry.seq for entry in effects.entries], effects.closed) == ([2, 3], [run])


async def test_a_last_step_under_a_lost_fence(house: House) -> None:
    """Where the fence is lost nothing of the last step is written."""
    claimed = await start(house.store, offer(text="q"))
    await house.store.cancel_run(claimed.run.id)
    with pytest.raises(FenceLost):
        await house.store.finish(claimed.run.lease, Outcome.OK, step=Step(bodies=[Assistant(text="a")]))
    assert len(await bodies(house.store, claimed)) == 1


async def test_finishing_twice(house: House) -> None:
    """A run is finished once: the second time its fence is lost, and nothing changes."""
    claimed = await start(house.store, offer())
    run = await house.store.finish(claimed.run.lease, Outcome.OK)
    with pytest.raises(FenceLost):
        await house.store.finish(claimed.run.lease, Outcome.FAILED, notice="twice")
    assert fresh(house.store, run) == run
    assert len(await bodies(house.store, claimed)) == 1


async def test_old_runs_of_a_long_chat_are_forgotten(house: House) -> None:
    """Of a chat's done runs the last hundred are kept, and all those of the last day; the transcript is whole."""
    for _ in range(110):
        await work(house.store, offer(key="k"))
    assert sum(house.store.tallies().runs.values()) == 110
    house.clock.advance(25 * 3_600_000)
    session = await work(house.store, offer(key="k"))
    assert sum(house.store.tallies().runs.values()) == 101
    assert len(await bodies(house.store, session)) == 222
