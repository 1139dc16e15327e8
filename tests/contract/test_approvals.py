import msgspec
import pytest

from house import House
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain.approval import (
    KEEP_DECIDED_MS,
    KEEP_UNUSED_MS,
    Approval,
    ApprovalState,
    Decision,
    Question,
    Verdict,
)
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.run import Lane, RunState
from tidegate.domain.session import DueTo, Outcome, PolicyName, State
from tidegate.errors import AlreadyDecided, ApprovalNotFound, FenceLost, TooManyApprovals
from tidegate.ids import ApprovalId
from tidegate.store.admission import Claimed
from tidegate.store.approvals import MAX_ALWAYS, MAX_PENDING
from tidegate.store.port import Store
from work import archive, claim, delete, fresh, head, offer, start

pytestmark = pytest.mark.anyio


def question(call_id: str = "c1", arguments: str = '{"argv":["ls"]}', tool: str = "shell") -> Question:
    """Return a call that needs a person's word."""
    return Question(call_id=call_id, tool=tool, arguments=arguments)


async def wait(store: Store, claimed: Claimed, *questions: Question) -> list[Approval]:
    """Let a run wait for some answers, and return the questions as they are stored, oldest first."""
    await store.wait(claimed.run.lease, questions or [question()])
    return (await page(store, ApprovalState.PENDING))[::-1]


async def page(store: Store, state: ApprovalState | None = None) -> list[Approval]:
    """Return all approvals in a state."""
    return await store.approvals(state=state, session=None, before=None, limit=MAX_PENDING)


async def test_a_run_waits(house: House) -> None:
    """A run that waits has no lease, is told to listeners, holds its session's turn, and nobody else runs in it."""
    claimed = await start(house.store, offer(key="k"))
    await house.store.admit(offer(key="k", text="next"))
    (approval,) = await wait(house.store, claimed)
    run = fresh(house.store, claimed.run)
    assert run.state is RunState.WAITING
    assert house.heard[-1].waiting == [run]
    assert (approval.run, approval.agent, approval.question) == (run.id, "main", question())
    assert approval.expires_at == house.clock.now() + DEFAULTS[PolicyName.CHAT].max_wait_ms
    session = head(house.store, claimed)
    assert (session.running_at, session.waiting_at) == (None, house.clock.now())
    assert await house.store.claim(Lane.INTERACTIVE) is None
    with pytest.raises(FenceLost):
        await house.store.verdict(claimed.run.lease, question(), is_new=False)


@pytest.mark.parametrize(
    ("decision", "state", "verdict"),
    [
        (Decision.ONCE, ApprovalState.ALLOWED, Verdict.GO),
        (Decision.ALWAYS, ApprovalState.ALWAYS, Verdict.GO),
        (Decision.DENY, ApprovalState.DENIED, Verdict.DENIED),
    ],
)
async def test_a_decision_ends_the_wait(
    house: House, decision: Decision, state: ApprovalState, verdict: Verdict
) -> None:
    """The run is queued again and reads the decision, also after a crash; deciding again changes nothing."""
    claimed = await start(house.store, offer(key="k"))
    (approval,) = await wait(house.store, claimed)
    decided = await house.store.decide(approval.id, decision)
    assert (decided.state, decided.decided_at) == (state, house.clock.now())
    await house.crash()
    assert await house.store.decide(approval.id, decision) == decided
    again = await claim(house.store)
    assert again.run.id == claimed.run.id
    assert await house.store.verdict(again.run.lease, question(), is_new=False) is verdict


async def test_a_call_is_allowed_once(house: House) -> None:
    """What was begun under a decision is not begun again after a crash; a new call is asked about anew."""
    claimed = await start(house.store, offer(key="k"))
    (approval,) = await wait(house.store, claimed)
    await house.store.decide(approval.id, Decision.ONCE)
    lease = (await claim(house.store)).run.lease
    assert await house.store.verdict(lease, question(), is_new=False) is Verdict.GO
    await house.crash()
    await house.store.recover()
    lease = (await claim(house.store)).run.lease
    assert await house.store.verdict(lease, question(), is_new=False) is Verdict.UNKNOWN
    assert await house.store.verdict(lease, question(), is_new=True) is Verdict.UNDECIDED


async def test_a_denial_stays(house: House) -> None:
    """A denied call is denied however often its run is taken up again."""
    claimed = await start(house.store, offer(key="k"))
    (approval,) = await wait(house.store, claimed)
    await house.store.decide(approval.id, Decision.DENY)
    lease = (await claim(house.store)).run.lease
    for _ in range(2):
        assert await house.store.verdict(lease, question(), is_new=False) is Verdict.DENIED


async def test_a_call_id_that_is_used_again(house: House) -> None:
    """Two calls of one id are two questions, each acted upon once."""
    claimed = await start(house.store, offer(key="k"))
    (first,) = await wait(house.store, claimed)
    await house.store.decide(first.id, Decision.DENY)
    again = await claim(house.store)
    await house.store.verdict(again.run.lease, question(), is_new=False)
    (second,) = await wait(house.store, again)
    assert second.id != first.id
    await house.store.decide(second.id, Decision.ONCE)
    lease = (await claim(house.store)).run.lease
    assert await house.store.verdict(lease, question(), is_new=False) is Verdict.GO


@pytest.mark.parametrize(
    ("other", "agent_is_same", "verdict"),
    [
        (question("c9", '{"argv":["ls"]}'), True, Verdict.GO),
        (question("c9", '{ "argv": ["ls"] }'), True, Verdict.GO),
        (question("c9", '{"argv":["ls","-l"]}'), True, Verdict.UNDECIDED),
        (question("c9", '{"argv":["ls"]}', "shell2"), True, Verdict.UNDECIDED),
        (question("c9", '{"argv":["ls"]}'), False, Verdict.UNDECIDED),
        (question("c9", "no JSON"), True, Verdict.UNDECIDED),
    ],
)
async def test_always_is_for_exactly_this_call(
    house: House,
    other: Question,
    agent_is_same: bool,  # noqa: FBT001 - a case
    verdict: Verdict,
) -> None:
    """An always holds for the same agent, tool and arguments in any session, and for nothing else."""
    claimed = await start(house.store, offer(PolicyName.API))
    (approval,) = await wait(house.store, claimed)
    decided = await house.store.decide(approval.id, Decision.ALWAYS)
    assert decided.session is None
    admission = offer(key="another")
    if not agent_is_same:
        admission = msgspec.structs.replace(
            admission, birth=msgspec.structs.replace(admission.birth, agent="other")
        )
    await house.store.cancel_run(claimed.run.id)
    await delete(house.store, claimed.session)
    lease = (await start(house.store, admission)).run.lease
    assert await house.store.verdict(lease, other, is_new=True) is verdict


async def test_an_interrupted_call_that_is_always_allowed(house: House) -> None:
    """After a crash such a call may have begun, so it does not go again by itself."""
    first = await start(house.store, offer(key="k"))
    (approval,) = await wait(house.store, first)
    await house.store.decide(approval.id, Decision.ALWAYS)
    second = await start(house.store, offer(key="other"))
    other = second if second.session.key == "other" else await claim(house.store)
    assert await house.store.verdict(other.run.lease, question("c2"), is_new=True) is Verdict.GO
    assert await house.store.verdict(other.run.lease, question("c2"), is_new=False) is Verdict.UNKNOWN


async def test_always_is_taken_back(house: House) -> None:
    """Denying what was always allowed asks about the next such call again, and wakes no run."""
    claimed = await start(house.store, offer(key="k"))
    (approval,) = await wait(house.store, claimed)
    await house.store.decide(approval.id, Decision.ALWAYS)
    lease = (await claim(house.store)).run.lease
    assert (await house.store.decide(approval.id, Decision.DENY)).state is ApprovalState.DENIED
    assert await house.store.verdict(lease, question("c2"), is_new=True) is Verdict.UNDECIDED


async def test_several_questions(house: House) -> None:
    """A run goes on when the last of its questions is decided."""
    claimed = await start(house.store, offer(key="k"))
    first, second = await wait(house.store, claimed, question("c1"), question("c2", '{"argv":["id"]}'))
    await house.store.decide(second.id, Decision.DENY)
    assert fresh(house.store, claimed.run).state is RunState.WAITING
    await house.store.decide(first.id, Decision.ONCE)
    assert fresh(house.store, claimed.run).state is RunState.QUEUED
    assert Lane.INTERACTIVE in house.heard[-1].queued


async def test_nobody_decides(house: House) -> None:
    """After its time a question expires: the run goes on, and the decision comes too late."""
    claimed = await start(house.store, offer(key="k"))
    (approval,) = await wait(house.store, claimed)
    house.clock.advance(DAY_MS - 1)
    await house.store.tidy()
    assert fresh(house.store, claimed.run).state is RunState.WAITING
    house.clock.advance(1)
    await house.store.tidy()
    assert fresh(house.store, claimed.run).state is RunState.QUEUED
    with pytest.raises(AlreadyDecided):
        await house.store.decide(approval.id, Decision.ONCE)
    lease = (await claim(house.store)).run.lease
    assert await house.store.verdict(lease, question(), is_new=False) is Verdict.EXPIRED


@pytest.mark.parametrize(
    "policy", [PolicyName.API, PolicyName.API_NAMED, PolicyName.CRON, PolicyName.SUBAGENT]
)
async def test_the_clock_stands(house: House, policy: PolicyName) -> None:
    """Time spent waiting counts against no deadline, and a waiting session still has a date."""
    key = "k" if policy is PolicyName.API_NAMED else None
    claimed = await start(house.store, offer(policy, key=key))
    limit = DEFAULTS[policy].max_runtime_ms or 0
    house.clock.advance(MINUTE_MS)
    (approval,) = await wait(house.store, claimed)
    asked = head(house.store, claimed)
    assert (asked.due_at, asked.due_to) == (claimed.run.created_at + limit + DAY_MS, DueTo.COMPLETED)
    house.clock.advance(20 * HOUR_MS)
    await house.store.decide(approval.id, Decision.ONCE)
    resumed = head(house.store, claimed)
    assert (resumed.due_at, resumed.waited_ms) == (
        claimed.run.created_at + limit + 20 * HOUR_MS,
        20 * HOUR_MS,
    )
    assert fresh(house.store, claimed.run).waited_ms == 20 * HOUR_MS


async def test_each_turn_has_a_clock_of_its_own(house: House) -> None:
    """What one turn of a conversation has waited is no respite for the next."""
    claimed = await start(house.store, offer(PolicyName.API_NAMED, key="k"))
    (approval,) = await wait(house.store, claimed)
    house.clock.advance(HOUR_MS)
    await house.store.decide(approval.id, Decision.DENY)
    await house.store.finish((await claim(house.store)).run.lease, Outcome.OK)
    later = await start(house.store, offer(PolicyName.API_NAMED, key="k"))
    assert later.session.due_at == house.clock.now() + (DEFAULTS[PolicyName.API_NAMED].max_runtime_ms or 0)


async def test_a_cancelled_run_takes_its_questions_back(house: House) -> None:
    """Nobody can allow a call of a run that is closed; its session rests and is dated as usual."""
    claimed = await start(house.store, offer(key="k"))
    (approval,) = await wait(house.store, claimed)
    await house.store.cancel_run(claimed.run.id)
    assert [one.state for one in await page(house.store)] == [ApprovalState.EXPIRED]
    with pytest.raises(AlreadyDecided):
        await house.store.decide(approval.id, Decision.ONCE)
    session = head(house.store, claimed)
    assert (session.state, session.turn_at, session.waiting_at) == (State.ACTIVE, None, None)
    await archive(house.store, session)


async def test_questions_go_with_their_session(house: House) -> None:
    """A deleted session leaves no question behind; what is always allowed stays, with the agent."""
    claimed = await start(house.store, offer(PolicyName.API))
    first, _ = await wait(house.store, claimed, question("c1"), question("c2", '{"argv":["id"]}'))
    await house.store.decide(first.id, Decision.ALWAYS)
    await house.store.cancel_run(claimed.run.id)
    await delete(house.store, claimed.session)
    assert [one.id for one in await page(house.store)] == [first.id]
    assert set((await house.store.orphans()).values()) == {0}


async def test_decisions_are_forgotten(house: House) -> None:
    """What is decided goes after 30 days, what is always allowed 90 days after its last use; counts follow."""
    claimed = await start(house.store, offer(key="k"))
    first, second = await wait(house.store, claimed, question("c1"), question("c2", '{"argv":["id"]}'))
    await house.store.decide(first.id, Decision.ALWAYS)
    await house.store.decide(second.id, Decision.ONCE)
    lease = (await claim(house.store)).run.lease
    house.clock.advance(KEEP_DECIDED_MS)
    assert await house.store.verdict(lease, question("c3"), is_new=True) is Verdict.GO
    await house.store.tidy()
    assert [one.id for one in await page(house.store)] == [first.id]
    house.clock.advance(KEEP_UNUSED_MS)
    await house.store.tidy()
    assert await page(house.store) == []
    assert set(house.store.tallies().approvals.values()) == {0}


async def test_questions_are_bounded(house: House) -> None:
    """At 1,000 open questions a run may not ask another one; nothing is written."""
    for number in range(MAX_PENDING // 100):
        claimed = await start(house.store, offer(key=f"k{number}"))
        await wait(house.store, claimed, *(question(f"c{at}", f"[{at}]") for at in range(100)))
    claimed = await start(house.store, offer(key="one more"))
    with pytest.raises(TooManyApprovals):
        await house.store.wait(claimed.run.lease, [question()])
    assert house.store.tallies().approvals[ApprovalState.PENDING] == MAX_PENDING
    assert fresh(house.store, claimed.run).state is RunState.RUNNING


async def test_always_is_bounded(house: House) -> None:
    """At 1,000 calls that are always allowed, a further one can be allowed once."""
    for number in range(MAX_ALWAYS // 100):
        claimed = await start(house.store, offer(key=f"k{number}"))
        for approval in await wait(
            house.store, claimed, *(question(f"c{at}", f"[{number},{at}]") for at in range(100))
        ):
            await house.store.decide(approval.id, Decision.ALWAYS)
        await house.store.finish((await claim(house.store)).run.lease, Outcome.OK)
    (approval,) = await wait(house.store, await start(house.store, offer(key="one more")))
    with pytest.raises(TooManyApprovals):
        await house.store.decide(approval.id, Decision.ALWAYS)
    assert (await house.store.decide(approval.id, Decision.ONCE)).state is ApprovalState.ALLOWED


async def test_pages(house: House) -> None:
    """Approvals come newest first, by state or by session, below a cursor."""
    claimed = await start(house.store, offer(key="k"))
    first, second = await wait(house.store, claimed, question("c1"), question("c2", "[]"))
    await house.store.decide(first.id, Decision.DENY)
    listed = house.store.approvals
    session = claimed.session.id
    assert [one.id for one in await listed(state=None, session=None, before=None, limit=1)] == [second.id]
    assert [one.id for one in await listed(state=None, session=session, before=second.id, limit=9)] == [
        first.id
    ]
    denied = await listed(state=ApprovalState.DENIED, session=session, before=None, limit=9)
    assert [one.id for one in denied] == [first.id]


async def test_there_is_no_such_approval(house: House) -> None:
    """Deciding on nothing is an error that says so."""
    with pytest.raises(ApprovalNotFound):
        await house.store.decide(ApprovalId("nothing"), Decision.ONCE)
