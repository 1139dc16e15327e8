import msgspec
import pytest

from house import House
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain.approval import Decision, Question
from tidegate.domain.entry import Assistant, Result, User
from tidegate.domain.run import Lane, Origin, Run, RunState, Step, Usage
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session, State
from tidegate.domain.spawn import SpawnLimits
from tidegate.errors import FenceLost, SpawnRefused
from tidegate.store.admission import Admission, Admitted, Claimed, Order
from tidegate.store.port import Store
from work import archive, bodies, claim, delete, fresh, head, move, offer, start, texts

pytestmark = pytest.mark.anyio

LIMITS = SpawnLimits()


def child(  # noqa: PLR0913 - each is optional, and tests read like sentences
    parent: Claimed,
    call_id: str = "c1",
    *,
    waits: bool = True,
    limits: SpawnLimits = LIMITS,
    max_tokens: int = 600_000,
    max_runtime_ms: int | None = None,
) -> Admission:
    """Return the piece of work that a call of a running run asks a child for."""
    admission = offer(PolicyName.SUBAGENT, parent=parent.session.id, text="task")
    birth = msgspec.structs.replace(admission.birth, max_runtime_ms=max_runtime_ms)
    order = Order(
        lease=parent.run.lease,
        call_id=call_id,
        tool="spawn_agent",
        label=call_id,
        waits=waits,
        limits=limits,
        max_tokens=max_tokens,
        child_max_tokens=max_tokens,
    )
    return msgspec.structs.replace(admission, birth=birth, order=order)


async def answer(store: Store, claimed: Claimed, text: str = "result", usage: Usage | None = None) -> Run:
    """Let a run end with an answer."""
    step = Step(bodies=[Assistant(text=text)], usage=usage or Usage(), model="m")
    return await store.finish(claimed.run.lease, Outcome.OK, step=step)


async def results(store: Store, session: Session | Claimed | Admitted) -> list[tuple[str, str, bool]]:
    """Return the results in a transcript."""
    found = [body for body in await bodies(store, session) if isinstance(body, Result)]
    return [(body.call_id, body.text, body.is_error) for body in found]


async def test_a_result_ends_the_wait(house: House) -> None:
    """A child's answer is the result of the call that waits for it, and its parent goes on."""
    parent = await start(house.store, offer(key="k"))
    born = await house.store.admit(child(parent))
    await house.store.wait(parent.run.lease, [])
    assert fresh(house.store, parent.run).state is RunState.WAITING
    assert not house.heard[-1].waiting
    await answer(house.store, await claim(house.store, Lane.SUBAGENT))
    assert await results(house.store, parent) == [("c1", "result", False)]
    assert head(house.store, born).state is State.COMPLETED
    assert (await claim(house.store)).run.id == parent.run.id
    assert set((await house.store.orphans()).values()) == {0}


async def test_a_result_may_come_before_the_wait(house: House) -> None:
    """A child that is faster than its parent has delivered; the parent then does not wait at all."""
    parent = await start(house.store, offer(key="k"))
    await house.store.admit(child(parent))
    await answer(house.store, await claim(house.store, Lane.SUBAGENT))
    assert await results(house.store, parent) == [("c1", "result", False)]
    await house.store.wait(parent.run.lease, [])
    assert fresh(house.store, parent.run).state is RunState.QUEUED


async def test_all_results_are_waited_for(house: House) -> None:
    """A parent goes on with the last of several results."""
    parent = await start(house.store, offer(key="k"))
    for call_id in ("c1", "c2", "c3"):
        await house.store.admit(child(parent, call_id))
    await house.store.wait(parent.run.lease, [])
    for number in range(3):
        assert fresh(house.store, parent.run).state is RunState.WAITING
        await answer(house.store, await claim(house.store, Lane.SUBAGENT), f"{number}")
    assert fresh(house.store, parent.run).state is RunState.QUEUED
    assert [text for _, text, _ in await results(house.store, parent)] == ["0", "1", "2"]


@pytest.mark.parametrize("is_decided_first", [True, False])
async def test_a_person_and_a_child(house: House, is_decided_first: bool) -> None:  # noqa: FBT001 - a case
    """A run that waits for both goes on with the later one; the clock stands for the person alone."""
    parent = await start(house.store, offer(PolicyName.API, key="k"))
    await house.store.admit(child(parent))
    await house.store.wait(parent.run.lease, [Question(call_id="c2", tool="shell", arguments="{}")])
    (approval,) = await house.store.approvals(state=None, session=None, before=None, limit=9)
    working = await claim(house.store, Lane.SUBAGENT)
    house.clock.advance(MINUTE_MS)
    if is_decided_first:
        await house.store.decide(approval.id, Decision.ONCE)
        house.clock.advance(MINUTE_MS)
        assert fresh(house.store, parent.run).state is RunState.WAITING
        await answer(house.store, working)
    else:
        await answer(house.store, working)
        assert fresh(house.store, parent.run).state is RunState.WAITING
        await house.store.decide(approval.id, Decision.ONCE)
    assert fresh(house.store, parent.run).state is RunState.QUEUED
    assert head(house.store, parent).waited_ms == MINUTE_MS


async def test_a_call_has_one_child(house: House) -> None:
    """The same call after a crash finds its child, running or not, and makes no second one."""
    parent = await start(house.store, offer(key="k"))
    born = await house.store.admit(child(parent))
    await house.crash()
    await house.store.recover()
    again = await claim(house.store)
    found = await house.store.admit(child(again))
    assert (found.session.id, found.run.id, found.is_repeat) == (born.session.id, born.run.id, True)


async def test_a_result_that_nobody_waits_for(house: House) -> None:
    """It comes as a queued run of the parent, also of one that has been archived meanwhile, exactly once."""
    parent = await start(house.store, offer(key="k"))
    born = await house.store.admit(child(parent, waits=False))
    await answer(house.store, parent, "started")
    await archive(house.store, parent.session)
    await answer(house.store, await claim(house.store, Lane.SUBAGENT))
    told = await claim(house.store, Lane.SUBAGENT)
    assert (told.session.id, told.run.origin) == (parent.session.id, Origin.RESULT)
    last = (await bodies(house.store, parent))[-1]
    assert isinstance(last, User)
    assert last.text == f"[result of the sub-agent 'c1', session {born.session.key}]\nresult"
    assert await house.store.claim(Lane.SUBAGENT) is None


async def test_an_ephemeral_parent_stays_for_a_result(house: House) -> None:
    """It completes only when its last child has delivered and the run that this makes is done."""
    parent = await start(house.store, offer(PolicyName.API, key="k"))
    await house.store.admit(child(parent, waits=False))
    await answer(house.store, parent, "started")
    assert head(house.store, parent).state is State.ACTIVE
    await answer(house.store, await claim(house.store, Lane.SUBAGENT))
    assert head(house.store, parent).state is State.ACTIVE
    await answer(house.store, await claim(house.store, Lane.SUBAGENT), "all done")
    assert (head(house.store, parent).state, head(house.store, parent).outcome) == (
        State.COMPLETED,
        Outcome.OK,
    )


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome.FAILED, "failed: why"),
        (Outcome.TIMED_OUT, "timed out: why"),
        (Outcome.OK, "it ended without an answer"),
    ],
)
async def test_a_child_without_an_answer(house: House, outcome: Outcome, text: str) -> None:
    """The parent reads what went wrong."""
    parent = await start(house.store, offer(key="k"))
    await house.store.admit(child(parent))
    working = await claim(house.store, Lane.SUBAGENT)
    await house.store.finish(working.run.lease, outcome, error="" if outcome is Outcome.OK else "why")
    assert await results(house.store, parent) == [("c1", text, True)]


async def test_a_long_result_is_stored_once(house: House) -> None:
    """A result above 64 KiB is the child's own blob, to which the parent refers too."""
    parent = await start(house.store, offer(key="k"))
    born = await house.store.admit(child(parent))
    await answer(house.store, await claim(house.store, Lane.SUBAGENT), "x" * 100_000)
    tallies = house.store.tallies()
    assert (tallies.blobs, tallies.references) == (1, 2)
    await delete(house.store, born.session)
    (result,) = [body for body in await bodies(house.store, parent) if isinstance(body, Result)]
    assert result.blob is not None
    assert await house.store.blob(result.blob.hash) == b"x" * 100_000


async def test_a_deadline_of_its_own(house: House) -> None:
    """A child that takes longer than it was given times out, and its parent reads that."""
    parent = await start(house.store, offer(key="k"))
    born = await house.store.admit(child(parent, max_runtime_ms=MINUTE_MS))
    await house.store.wait(parent.run.lease, [])
    assert head(house.store, born).due_at == house.clock.now() + MINUTE_MS
    house.clock.advance(MINUTE_MS)
    await move(house.store, head(house.store, born), DueTo.COMPLETED)
    assert await results(house.store, parent) == [("c1", "timed out: it ended without an answer", True)]
    assert fresh(house.store, parent.run).state is RunState.QUEUED


@pytest.mark.parametrize("how", ["run", "session", "deadline"])
async def test_a_parent_takes_its_tree_along(house: House, how: str) -> None:
    """Cancelling a parent, or its deadline, ends everything below it, with results in every transcript."""
    parent = await start(house.store, offer(PolicyName.API, key="k"))
    await house.store.admit(child(parent))
    middle = await claim(house.store, Lane.SUBAGENT)
    await house.store.admit(child(middle))
    await house.store.wait(middle.run.lease, [])
    leaf = await claim(house.store, Lane.SUBAGENT)
    await house.store.wait(parent.run.lease, [])
    match how:
        case "run":
            assert (await house.store.cancel_run(parent.run.id)).id == parent.run.id
        case "session":
            await house.store.cancel_session(parent.session.id)
        case _:
            house.clock.advance(HOUR_MS)
            await move(house.store, head(house.store, parent), DueTo.COMPLETED)
    for claimed in (parent, middle, leaf):
        assert head(house.store, claimed).state is State.COMPLETED
        assert fresh(house.store, claimed.run).state is RunState.DONE
    cancelled = [("c1", "cancelled: it ended without an answer", True)]
    assert await results(house.store, parent) == cancelled
    assert await results(house.store, middle) == cancelled
    assert await house.store.claim(Lane.SUBAGENT) is None
    assert set((await house.store.orphans()).values()) == {0}


async def test_a_cancelled_chat_tells_what_it_had_started(house: House) -> None:
    """Cancelling a chat's run leaves the children that it does not wait for; cancelling the chat ends them."""
    parent = await start(house.store, offer(key="k"))
    awaited = await house.store.admit(child(parent, "c1"))
    free = await house.store.admit(child(parent, "c2", waits=False))
    await house.store.wait(parent.run.lease, [])
    await house.store.cancel_run(parent.run.id)
    assert head(house.store, awaited).outcome is Outcome.CANCELLED
    assert head(house.store, free).is_live
    session = await house.store.cancel_session(parent.session.id)
    assert (session.turn_at, head(house.store, free).outcome) == (None, Outcome.CANCELLED)
    assert (await texts(house.store, parent))[-1].startswith("[result of the sub-agent 'c2'")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (SpawnLimits(depth=0), "nested 0 deep"),
        (SpawnLimits(children=2), "2 sub-agents are at work already"),
        (SpawnLimits(descendants=2), "2 sub-agents are at work in this tree"),
    ],
)
async def test_a_tree_is_bounded(house: House, limits: SpawnLimits, reason: str) -> None:
    """Above a limit a child is refused, with a reason, and nothing is written; finished ones make room."""
    parent = await start(house.store, offer(key="k"))
    for number in range(2 if limits.depth else 0):
        await house.store.admit(child(parent, f"c{number}"))
    with pytest.raises(SpawnRefused, match=reason):
        await house.store.admit(child(parent, "one more", limits=limits))
    if limits.depth:
        await answer(house.store, await claim(house.store, Lane.SUBAGENT))
        await house.store.admit(child(parent, "one more", limits=limits))


async def test_depth_and_descendants(house: House) -> None:
    """Depth counts from the top of the tree, and descendants at every depth."""
    parent = await start(house.store, offer(key="k"))
    await house.store.admit(child(parent))
    middle = await claim(house.store, Lane.SUBAGENT)
    await house.store.admit(child(middle))
    leaf = await claim(house.store, Lane.SUBAGENT)
    assert (leaf.session.depth, leaf.session.root) == (2, parent.session.id)
    with pytest.raises(SpawnRefused, match="nested 2 deep"):
        await house.store.admit(child(leaf))
    with pytest.raises(SpawnRefused, match="in this tree"):
        await house.store.admit(child(middle, "c2", limits=SpawnLimits(descendants=2)))


async def test_budgets_come_from_the_parent(house: House) -> None:
    """Whatever a tree does, it never gets more tokens than its top has."""
    parent = await start(house.store, offer(key="k"))
    given: list[int] = []
    for number in range(5):
        born = await house.store.admit(child(parent, f"c{number}"))
        given.append(fresh(house.store, born.run).max_tokens or 0)
    assert given == [100_000] * 5
    working = await claim(house.store, Lane.SUBAGENT)
    await answer(house.store, working, usage=Usage(input_tokens=30_000, output_tokens=1_000))
    assert fresh(house.store, parent.run).spent.total == 31_000
    again = await house.store.admit(child(parent, "c5"))
    assert fresh(house.store, again.run).max_tokens == (600_000 - 400_000 - 31_000) // 2


async def test_nothing_is_left_to_spend(house: House) -> None:
    """A child with too few tokens to answer is not born."""
    parent = await start(house.store, offer(key="k"))
    with pytest.raises(SpawnRefused, match="budget of tokens"):
        await house.store.admit(child(parent, max_tokens=5_000))


async def test_who_may_not_write_may_not_spawn(house: House) -> None:
    """A run that was closed or waits gets no child."""
    parent = await start(house.store, offer(key="k"))
    await house.store.cancel_run(parent.run.id)
    with pytest.raises(FenceLost):
        await house.store.admit(child(parent))


async def test_children_go_first(house: House) -> None:
    """A parent is deleted after its children; nothing of them is left."""
    parent = await start(house.store, offer(PolicyName.API, key="k"))
    await house.store.admit(child(parent))
    await answer(house.store, await claim(house.store, Lane.SUBAGENT))
    await answer(house.store, parent)
    house.clock.advance(2 * DAY_MS)
    await archive(house.store, parent.session)
    await delete(house.store, parent.session)
    assert sum(count for count, _ in house.store.tallies().sessions.values()) == 0
    assert set((await house.store.orphans()).values()) == {0}
