import pytest

from house import House
from tidegate.domain.entry import Assistant, Call, Notice, Result
from tidegate.domain.run import Lease, Step, Usage
from tidegate.domain.session import Outcome
from tidegate.errors import FenceLost
from tidegate.ids import RunId
from work import archive, bodies, fresh, head, offer, say, start, texts

pytestmark = pytest.mark.anyio


async def test_the_bodies_of_a_step_in_order(house: House) -> None:
    """A step's bodies follow each other under one numbering, stamped, and come back as they were kept."""
    claimed = await start(house.store, offer())
    house.clock.advance(500)
    step = Step(
        bodies=[
            Assistant(text="let me see"),
            Call(tool="list", call_id="1", text="{}"),
            Result(tool="list", call_id="1", text="nothing", is_error=True),
        ]
    )
    entries = await house.store.append(claimed.run.lease, step)
    assert [entry.seq for entry in entries] == [2, 3, 4]
    assert {(entry.body.at, entry.body.run) for entry in entries} == {(house.clock.now(), claimed.run.id)}
    assert [entry.body for entry in entries] == (await bodies(house.store, claimed))[1:]
    assert head(house.store, claimed).entries == 4


async def test_an_answer_is_counted(house: House) -> None:
    """Each model answer adds to the run's steps and tokens; a step without one does not."""
    claimed = await start(house.store, offer())
    usage = Usage(input_tokens=10, output_tokens=3)
    await house.store.append(claimed.run.lease, Step(bodies=[Notice(text="x")], usage=usage, model="m"))
    await house.store.append(claimed.run.lease, Step(bodies=[Notice(text="y")], usage=usage, model="m"))
    await house.store.append(claimed.run.lease, Step(bodies=[Notice(text="z")]))
    run = fresh(house.store, claimed.run)
    assert (run.steps, run.usage) == (2, Usage(input_tokens=20, output_tokens=6))


async def test_an_empty_step(house: House) -> None:
    """A step that says nothing is kept for its usage alone."""
    claimed = await start(house.store, offer())
    step = Step(bodies=[], usage=Usage(input_tokens=1), model="m")
    assert await house.store.append(claimed.run.lease, step) == []
    assert head(house.store, claimed).entries == 1
    assert fresh(house.store, claimed.run).usage.total == 1


async def test_the_reply_is_the_latest_answer_without_a_call(house: House) -> None:
    """`reply_seq` names the latest assistant text that came without a call; other steps leave it."""
    claimed = await start(house.store, offer())
    call = Call(tool="t", call_id="1", text="{}")
    await house.store.append(claimed.run.lease, Step(bodies=[Assistant(text="I look"), call]))
    assert fresh(house.store, claimed.run).reply_seq is None
    await say(house.store, claimed.run.lease, "here it is")
    assert fresh(house.store, claimed.run).reply_seq == 4
    await house.store.append(claimed.run.lease, Step(bodies=[Notice(text="by the way")]))
    assert fresh(house.store, claimed.run).reply_seq == 4


async def test_a_lost_fence_writes_nothing(house: House) -> None:
    """A run that was closed, taken over or never was refuses every step, and nothing of it stays."""
    claimed = await start(house.store, offer(text="q"))
    lease = claimed.run.lease
    raised = Lease(run=lease.run, session=lease.session, fence=lease.fence + 1)
    unknown = Lease(run=RunId("nobody"), session=lease.session, fence=0)
    for wrong in (raised, unknown):
        with pytest.raises(FenceLost):
            await say(house.store, wrong, "x")
    await house.store.finish(lease, Outcome.OK)
    with pytest.raises(FenceLost):
        await say(house.store, lease, "x")
    assert await texts(house.store, claimed) == ["q"]


async def test_an_append_is_activity(house: House) -> None:
    """An entry moves the session's `updated_at`; its date is left for the sweep to ask again."""
    claimed = await start(house.store, offer(key="k"))
    house.clock.advance(1_000)
    await say(house.store, claimed.run.lease, "x")
    session = head(house.store, claimed)
    assert session.updated_at == house.clock.now()
    assert session.due_at == claimed.session.due_at


async def test_bytes_are_those_of_the_bodies(house: House) -> None:
    """A session's bytes grow by what its entries take, and shrink when they are compressed."""
    claimed = await start(house.store, offer(key="k"))
    before = head(house.store, claimed).bytes
    await say(house.store, claimed.run.lease, "x" * 50_000)
    hot = head(house.store, claimed).bytes
    assert 50_000 < hot - before < 50_200
    await house.store.finish(claimed.run.lease, Outcome.OK)
    cold = (await archive(house.store, claimed.session)).bytes
    assert 0 < cold < 1_000
    assert cold == house.store.tallies().segment_bytes


async def test_an_append_is_durable(house: House) -> None:
    """What an append returned is there after a crash."""
    claimed = await start(house.store, offer(text="q"))
    await say(house.store, claimed.run.lease, "a", "b")
    await house.crash()
    assert await texts(house.store, claimed) == ["q", "a", "b"]


async def test_a_partial_answer_is_no_reply(house: House) -> None:
    """What a model broke off is kept and marked, and `reply_seq` stays where it was."""
    claimed = await start(house.store, offer())
    half = Assistant(text="half", is_partial=True)
    (entry,) = await house.store.append(claimed.run.lease, Step(bodies=[half]))
    assert isinstance(entry.body, Assistant)
    assert (entry.body.text, entry.body.is_partial) == ("half", True)
    assert fresh(house.store, claimed.run).reply_seq is None
