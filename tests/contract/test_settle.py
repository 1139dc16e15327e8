import msgspec
import pytest

from house import House
from tidegate.clock import DAY_MS, MINUTE_MS
from tidegate.domain.entry import Assistant
from tidegate.domain.policy import DEFAULTS, REFUSED_AGAIN_MS
from tidegate.domain.run import Step
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session, State
from tidegate.errors import FenceLost, SessionNotFound, SessionPinned, SessionRunning
from tidegate.ids import SessionId
from tidegate.store.move import Move, Settled
from work import EVERYTHING, archive, claim, fresh, head, move, offer, say, start, texts, work

pytestmark = pytest.mark.anyio

FIRST = SessionId("")


def deadline(session: Session) -> int:
    """Return how far a session's date lies from its birth."""
    assert session.due_at is not None
    return session.due_at - session.created_at


@pytest.mark.parametrize("policy", [PolicyName.SUBAGENT, PolicyName.CRON, PolicyName.HOOK, PolicyName.API])
async def test_a_deadline_completes(house: House, policy: PolicyName) -> None:
    """At its deadline a session completes as timed out: its run is closed, its fence raised, its message kept."""
    claimed = await start(house.store, offer(policy, text="q"))
    house.clock.advance(deadline(claimed.session))
    session = head(house.store, claimed)
    assert await move(house.store, session, DueTo.COMPLETED) is Settled.DONE
    session = head(house.store, claimed)
    assert (session.state, session.outcome) == (State.COMPLETED, Outcome.TIMED_OUT)
    assert fresh(house.store, claimed.run).outcome is Outcome.TIMED_OUT
    with pytest.raises(FenceLost):
        await say(house.store, claimed.run.lease, "late")
    assert await texts(house.store, claimed) == ["q"]


async def test_what_nobody_claims_completes(house: House) -> None:
    """A session whose run is never claimed has a deadline from birth, and keeps its message."""
    admitted = await house.store.admit(offer(PolicyName.SUBAGENT, text="task"))
    assert admitted.session.due_to is DueTo.COMPLETED
    house.clock.advance(deadline(admitted.session))
    assert await move(house.store, admitted.session, DueTo.COMPLETED) is Settled.DONE
    assert head(house.store, admitted).state is State.COMPLETED
    assert await texts(house.store, admitted) == ["task"]


async def test_a_deadline_takes_the_tree(house: House) -> None:
    """What is open below a session that timed out is cancelled with it."""
    top = await start(house.store, offer(PolicyName.API))
    child = await start(house.store, offer(PolicyName.SUBAGENT, parent=top.session.id))
    house.clock.advance(deadline(top.session))
    await move(house.store, head(house.store, top), DueTo.COMPLETED)
    assert head(house.store, child).outcome is Outcome.CANCELLED
    assert fresh(house.store, child.run).outcome is Outcome.CANCELLED


async def test_a_turn_times_out_and_its_conversation_stays(house: House) -> None:
    """The deadline of a named api session ends the run that has the turn; with the last one the session is idle."""
    claimed = await start(house.store, offer(PolicyName.API_NAMED, key="k", text="one"))
    await house.store.admit(offer(PolicyName.API_NAMED, key="k", text="two"))
    for _ in range(2):
        house.clock.advance(DEFAULTS[PolicyName.API_NAMED].max_runtime_ms or 0)
        assert await move(house.store, head(house.store, claimed), DueTo.COMPLETED) is Settled.DONE
    session = head(house.store, claimed)
    assert (session.state, session.turn_at, session.due_to) == (State.ACTIVE, None, DueTo.ARCHIVED)
    assert await texts(house.store, claimed) == ["one", "two"]


async def test_too_early(house: House) -> None:
    """By date, a live session's date is asked again: activity since has postponed it."""
    claimed = await start(house.store, offer(PolicyName.SUBAGENT))
    stall = DEFAULTS[PolicyName.SUBAGENT].stall_after_ms or 0
    house.clock.advance(stall - 1)
    await say(house.store, claimed.run.lease, "progress")
    house.clock.advance(1)
    assert await move(house.store, head(house.store, claimed), DueTo.COMPLETED) is Settled.POSTPONED
    session = head(house.store, claimed)
    assert session.due_at == session.updated_at + stall
    house.clock.advance(stall - 1)
    assert await move(house.store, session, DueTo.COMPLETED) is Settled.DONE


async def test_a_finished_session_before_its_date(house: House) -> None:
    """A move that its session's date does not want yet is postponed, and nothing is touched."""
    session = await work(house.store, offer(PolicyName.HOOK))
    assert await move(house.store, session, DueTo.ARCHIVED) is Settled.POSTPONED
    assert head(house.store, session) == session


async def test_archived_by_date(house: House) -> None:
    """A finished session is archived when its date comes, and then has the date of its deletion."""
    session = await work(house.store, offer(PolicyName.HOOK, text="q"))
    house.clock.advance(DEFAULTS[PolicyName.HOOK].archive_after_ms or 0)
    assert await move(house.store, session, DueTo.ARCHIVED) is Settled.DONE
    session = head(house.store, session)
    assert (session.state, session.cold_through) == (State.ARCHIVED, 2)
    assert (session.due_at, session.due_to) == (house.clock.now() + 14 * DAY_MS, DueTo.DELETED)
    assert await texts(house.store, session) == ["q", "done"]


async def test_archiving_needs_every_segment(house: House) -> None:
    """Without the segments of all hot entries nothing is archived."""
    claimed = await start(house.store, offer(key="k"))
    await house.store.append(claimed.run.lease, Step(bodies=[Assistant(text="x" * 60_000)] * 20))
    await house.store.finish(claimed.run.lease, Outcome.OK)
    session = head(house.store, claimed)
    part = await house.store.pack(session.id, 100_000)
    for segments in ((), part):
        asked = Move(session=session, to=DueTo.ARCHIVED, is_asked=True, segments=segments)
        assert await house.store.settle([asked]) == [Settled.LOST]
    assert head(house.store, session) == session


async def test_a_lost_race_touches_nothing(house: House) -> None:
    """A session that has changed since it was read, or is gone, is left as it is."""
    session = await work(house.store, offer(key="k"))
    await house.store.pin(session.id, pinned=True)
    changed = head(house.store, session)
    for to in DueTo:
        assert await move(house.store, session, to, is_asked=True) is Settled.LOST
    assert head(house.store, session) == changed
    await house.store.pin(session.id, pinned=False)
    old = head(house.store, session)
    assert await move(house.store, old, DueTo.DELETED, is_asked=True) is Settled.DONE
    assert await move(house.store, old, DueTo.DELETED, is_asked=True) is Settled.LOST


async def test_moves_do_not_hold_each_other(house: House) -> None:
    """Each move is carried out for itself; what became of them comes back in their order."""
    one = await work(house.store, offer(PolicyName.API, key="one"))
    two = await work(house.store, offer(PolicyName.API, key="two"))
    await house.store.pin(one.id, pinned=True)
    moves = [
        Move(session=session, to=DueTo.ARCHIVED, segments=await house.store.pack(session.id, EVERYTHING))
        for session in (one, two)
    ]
    assert await house.store.settle(moves) == [Settled.LOST, Settled.DONE]
    assert await house.store.settle([]) == []


async def test_what_runs_is_not_archived_or_deleted(house: House) -> None:
    """Asked for a running session, archiving and deleting are refused with the reason."""
    for policy in (PolicyName.CHAT, PolicyName.CRON):
        claimed = await start(house.store, offer(policy, key=policy))
        for to in (DueTo.ARCHIVED, DueTo.DELETED):
            with pytest.raises(SessionRunning):
                await move(house.store, head(house.store, claimed), to, is_asked=True)
        assert head(house.store, claimed) == claimed.session


async def test_what_is_pinned_is_not_archived_or_deleted(house: House) -> None:
    """Asked for a pinned session, archiving and deleting are refused with the reason."""
    session = await work(house.store, offer(PolicyName.CRON))
    session = await house.store.pin(session.id, pinned=True)
    for to in (DueTo.ARCHIVED, DueTo.DELETED):
        with pytest.raises(SessionPinned):
            await move(house.store, session, to, is_asked=True)
    assert head(house.store, session) == session


@pytest.mark.parametrize("is_pinned", [True, False], ids=["pinned", "running"])
async def test_a_child_holds_its_ancestors(house: House, is_pinned: bool) -> None:  # noqa: FBT001
    """A due parent with a pinned or running child comes back in 30 s; asked for, it is refused with the reason."""
    top = await work(house.store, offer(PolicyName.HOOK))
    child = await start(house.store, offer(PolicyName.SUBAGENT, parent=top.id))
    if is_pinned:
        await house.store.finish(child.run.lease, Outcome.OK)
        await house.store.pin(child.session.id, pinned=True)
    top = await archive(house.store, top)
    with pytest.raises(SessionPinned if is_pinned else SessionRunning):
        await move(house.store, top, DueTo.DELETED, is_asked=True)
    house.clock.advance(14 * DAY_MS)
    assert await move(house.store, top, DueTo.DELETED) is Settled.REFUSED
    held = head(house.store, top)
    assert (held.due_at, held.due_to) == (house.clock.now() + REFUSED_AGAIN_MS, DueTo.DELETED)


async def test_the_lowest_goes_first(house: House) -> None:
    """A tree is deleted leaf by leaf, one session a step, its top last."""
    top = await work(house.store, offer(key="top"))
    child = await work(house.store, offer(PolicyName.SUBAGENT, key="child", parent=top.id))
    await work(house.store, offer(PolicyName.SUBAGENT, key="leaf", parent=child.id))
    steps: list[tuple[Settled, list[str]]] = []
    while not steps or steps[-1][0] is Settled.PROGRESS:
        settled = await move(house.store, top, DueTo.DELETED, is_asked=True)
        steps.append((settled, [key for key in ("top", "child", "leaf") if house.store.session(key)]))
    assert steps == [
        (Settled.PROGRESS, ["top", "child"]),
        (Settled.PROGRESS, ["top"]),
        (Settled.DONE, []),
    ]
    assert set((await house.store.orphans()).values()) == {0}


async def test_postpone(house: House) -> None:
    """A move that failed comes back in 30 s; what has no date gets none; what is gone is told."""
    session = await work(house.store, offer(PolicyName.API))
    await house.store.postpone(session.id)
    assert head(house.store, session).due_at == house.clock.now() + REFUSED_AGAIN_MS
    await house.store.pin(session.id, pinned=True)
    pinned = head(house.store, session)
    await house.store.postpone(session.id)
    assert head(house.store, session) == pinned
    await house.store.pin(session.id, pinned=False)
    await move(house.store, head(house.store, session), DueTo.DELETED, is_asked=True)
    with pytest.raises(SessionNotFound):
        await house.store.postpone(session.id)


async def test_freezing_keeps_a_date(house: House) -> None:
    """Entries go into segments while a session lives on; a cap's date on it is not lost by that."""
    policy = msgspec.structs.replace(DEFAULTS[PolicyName.CRON], keep=0)
    await house.reopen({**DEFAULTS, PolicyName.CRON: policy})
    session = await work(house.store, offer(PolicyName.CRON, group="job:x", text="q"))
    assert (session.due_at, session.due_to) == (house.clock.now(), DueTo.DELETED)
    assert await house.store.freeze(session.id, await house.store.pack(session.id, 1)) is Settled.DONE
    frozen = head(house.store, session)
    assert (frozen.due_at, frozen.due_to, frozen.cold_through) == (session.due_at, DueTo.DELETED, 1)
    assert await house.store.freeze(session.id, await house.store.pack(session.id, 1)) is Settled.DONE
    assert await house.store.freeze(session.id, await house.store.pack(session.id, 1)) is Settled.LOST
    assert await texts(house.store, session) == ["q", "done"]


async def test_a_running_session_may_be_frozen(house: House) -> None:
    """A session goes on writing behind what was frozen, under one numbering."""
    claimed = await start(house.store, offer(text="q"))
    segments = await house.store.pack(claimed.session.id, EVERYTHING)
    await house.store.freeze(claimed.session.id, segments)
    assert await house.store.freeze(claimed.session.id, segments) is Settled.LOST
    await say(house.store, claimed.run.lease, "a")
    assert not await house.store.trim(claimed.session.id)
    assert await texts(house.store, claimed) == ["q", "a"]
    assert head(house.store, claimed).hot_entries == 1


async def test_trim_removes_in_slices(house: House) -> None:
    """Hot rows that segments hold go 500 at a time; the session is named until they are gone."""
    claimed = await start(house.store, offer(key="k"))
    for _ in range(6):
        await say(house.store, claimed.run.lease, *"x" * 100)
    session = claimed.session
    await house.store.freeze(session.id, await house.store.pack(session.id, EVERYTHING))
    assert await house.store.trims(FIRST, 10) == [session.id]
    assert [await house.store.trim(session.id), await house.store.trim(session.id)] == [True, False]
    assert await house.store.trims(FIRST, 10) == []
    assert len(await texts(house.store, claimed)) == 601


async def test_nothing_to_trim(house: House) -> None:
    """A session without frozen rows has nothing to trim, and says so."""
    session = await work(house.store, offer(key="k"))
    assert not await house.store.trim(session.id)
    assert head(house.store, session) == session


async def test_after_a_crash_rows_are_trimmed(house: House) -> None:
    """What a crash left between archiving and trimming is found again, and reads right meanwhile."""
    session = await work(house.store, offer(key="k", text="q"))
    await move(house.store, session, DueTo.ARCHIVED, is_asked=True)
    await house.crash()
    assert await texts(house.store, session) == ["q", "done"]
    assert await house.store.trims(FIRST, 10) == [session.id]
    claimed = await start(house.store, offer(key="k", text="more"))
    assert not await house.store.trim(session.id)
    assert await texts(house.store, claimed) == ["q", "done", "more"]


async def test_an_idle_chat_waits_for_its_last_activity(house: House) -> None:
    """A chat is archived so long after its last activity, not after its first."""
    first = await work(house.store, offer(key="k"))
    house.clock.advance(20 * DAY_MS)
    await house.store.admit(offer(key="k"))
    claimed = await claim(house.store)
    house.clock.advance(MINUTE_MS)
    await house.store.finish(claimed.run.lease, Outcome.OK)
    session = head(house.store, first)
    assert session.due_at == house.clock.now() - MINUTE_MS + 30 * DAY_MS
