import msgspec
import pytest

from house import House
from tidegate.clock import DAY_MS, MINUTE_MS
from tidegate.domain.policy import DEFAULTS, Policies, Policy
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session, State
from tidegate.errors import TooManySessions, WrongState
from tidegate.store.move import Settled
from tidegate.store.port import Store
from work import archive, delete, head, move, names, offer, start, texts, work

pytestmark = pytest.mark.anyio


def with_policy(name: PolicyName, **changes: int) -> Policies:
    """Return the default policies with one changed."""
    policy = msgspec.structs.replace(DEFAULTS[name], **changes)
    return {**DEFAULTS, name: policy}


def rules(name: PolicyName) -> Policy:
    """Return a default policy."""
    return DEFAULTS[name]


async def due(house: House) -> list[str]:
    """Return the keys of what is due now."""
    return names(await house.store.due(house.clock.now(), 100, with_deletes=True))


async def doomed(store: Store) -> set[str]:
    """Return the keys of what is dated for deletion, whenever."""
    found = await store.due(1 << 62, 1_000, with_deletes=True)
    return {session.key for session in found if session.due_to is DueTo.DELETED}


async def children(house: House, count: int) -> list[Session]:
    """Carry out children of one chat, a minute apart, oldest first."""
    parent = await work(house.store, offer(key="parent"))
    found = []
    for number in range(count):
        house.clock.advance(MINUTE_MS)
        found.append(await work(house.store, offer(PolicyName.SUBAGENT, key=f"{number}", parent=parent.id)))
    return found


async def test_a_pin_stops_the_date(house: House) -> None:
    """A pinned session has no date once it rests, and is not due however much time passes."""
    session = await work(house.store, offer(PolicyName.CRON, key="k"))
    pinned = await house.store.pin(session.id, pinned=True)
    assert pinned == head(house.store, session)
    assert (pinned.pinned, pinned.due_at, pinned.due_to) == (True, None, None)
    house.clock.advance(400 * DAY_MS)
    assert await due(house) == []


async def test_a_pin_never_stops_a_deadline(house: House) -> None:
    """A running session keeps its deadline while it is pinned."""
    claimed = await start(house.store, offer(PolicyName.HOOK))
    pinned = await house.store.pin(claimed.session.id, pinned=True)
    assert (pinned.due_at, pinned.due_to) == (claimed.session.due_at, DueTo.COMPLETED)


async def test_an_unpin_counts_from_now(house: House) -> None:
    """After an unpin the time of the present state starts anew."""
    session = await archive(house.store, await work(house.store, offer(PolicyName.HOOK)))
    await house.store.pin(session.id, pinned=True)
    house.clock.advance(DAY_MS)
    session = await house.store.pin(session.id, pinned=False)
    assert session.due_at == house.clock.now() + (rules(PolicyName.HOOK).delete_after_ms or 0)
    assert session.due_to is DueTo.DELETED


async def test_pinning_twice(house: House) -> None:
    """Pinning what is pinned, or unpinning what is not, changes nothing."""
    session = await work(house.store, offer(key="k"))
    assert await house.store.pin(session.id, pinned=False) == session
    pinned = await house.store.pin(session.id, pinned=True)
    house.clock.advance(MINUTE_MS)
    assert await house.store.pin(session.id, pinned=True) == pinned


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        (PolicyName.CHAT, State.ACTIVE),
        (PolicyName.API_NAMED, State.ACTIVE),
        (PolicyName.API, State.COMPLETED),
        (PolicyName.CRON, State.COMPLETED),
    ],
)
async def test_a_restored_session(house: House, policy: PolicyName, state: State) -> None:
    """A conversation comes back active, any other completed; its time counts from now and its transcript is whole."""
    session = await archive(house.store, await work(house.store, offer(policy, key="k")))
    house.clock.advance(MINUTE_MS)
    session = await house.store.restore(session.id)
    assert session == head(house.store, session)
    assert (session.state, session.since_at) == (state, house.clock.now())
    assert session.due_at == house.clock.now() + (rules(policy).archive_after_ms or 0)
    assert session.due_to is DueTo.ARCHIVED
    assert await texts(house.store, session) == ["hello", "done"]


async def test_only_what_is_archived_is_restored(house: House) -> None:
    """Restoring an active or completed session is refused."""
    for policy in (PolicyName.CHAT, PolicyName.CRON):
        session = await work(house.store, offer(policy))
        with pytest.raises(WrongState):
            await house.store.restore(session.id)


async def test_restoring_keeps_within_max_running(house: House) -> None:
    """A conversation is not restored above `max_running`; a finished session does not count and is."""
    await house.reopen(with_policy(PolicyName.API_NAMED, max_running=1))
    session = await archive(house.store, await work(house.store, offer(PolicyName.API_NAMED, key="a")))
    await work(house.store, offer(PolicyName.API_NAMED, key="b"))
    with pytest.raises(TooManySessions):
        await house.store.restore(session.id)
    assert head(house.store, session) == session


async def test_archived_again_and_again(house: House) -> None:
    """A transcript that was archived, continued and archived again reads as one."""
    session = await work(house.store, offer(key="k", text="0"))
    for number in range(1, 4):
        await archive(house.store, session)
        session = await work(house.store, offer(key="k", text=f"{number}"))
    assert await texts(house.store, session) == ["0", "done", "1", "done", "2", "done", "3", "done"]
    assert session.hot_entries == 2


async def test_a_deleted_session_leaves_nothing(house: House) -> None:
    """Deleting takes the head, the transcript, the runs; its key begins anew."""
    session = await archive(house.store, await work(house.store, offer(key="k")))
    await work(house.store, offer(key="k"))
    await delete(house.store, session)
    assert house.store.session("k") is None
    assert house.store.session_by_id(session.id) is None
    tallies = house.store.tallies()
    assert {count for count, _ in tallies.sessions.values()} | {*tallies.runs.values()} == {0}
    assert (tallies.segments, tallies.segment_bytes) == (0, 0)
    again = await house.store.admit(offer(key="k"))
    assert (again.session.entries, again.session.id != session.id) == (0, True)


async def test_a_cap_keeps_the_last(house: House) -> None:
    """Above the cap the oldest of a group are due for deletion at once, completed and archived counted together."""
    await house.reopen(with_policy(PolicyName.SUBAGENT, keep=2))
    first, _ = await children(house, 2)
    await archive(house.store, first)
    assert await doomed(house.store) == {"0"}
    assert await due(house) == []
    house.clock.advance(MINUTE_MS)
    last = await work(house.store, offer(PolicyName.SUBAGENT, key="2", parent=first.parent))
    assert await due(house) == ["0"]
    assert last.state is State.COMPLETED


async def test_the_oldest_is_who_was_born_first(house: House) -> None:
    """Archiving a session does not make it younger than those that came after it."""
    await house.reopen(with_policy(PolicyName.SUBAGENT, keep=2))
    first, second = await children(house, 2)
    house.clock.advance(MINUTE_MS)
    await archive(house.store, first)
    await work(house.store, offer(PolicyName.SUBAGENT, key="2", parent=second.parent))
    assert await due(house) == ["0"]


async def test_caps_are_apart(house: House) -> None:
    """A job's successes and failures, and the children of different parents, are capped apart."""
    await house.reopen(with_policy(PolicyName.CRON, keep=1))
    for key, outcome in [("a", Outcome.OK), ("b", Outcome.FAILED)]:
        await work(house.store, offer(PolicyName.CRON, key=key, group="job:x"), outcome)
    await work(house.store, offer(PolicyName.CRON, key="c", group="job:y"))
    assert await doomed(house.store) == set()
    house.clock.advance(MINUTE_MS)
    await work(house.store, offer(PolicyName.CRON, key="d", group="job:x"), Outcome.TIMED_OUT)
    assert await due(house) == ["b"]


async def test_pinned_ones_stay_and_count(house: House) -> None:
    """A pinned session is never due for its group's cap, but takes one of its places."""
    await house.reopen(with_policy(PolicyName.SUBAGENT, keep=2))
    first, _ = await children(house, 2)
    await house.store.pin(first.id, pinned=True)
    await work(house.store, offer(PolicyName.SUBAGENT, key="2", parent=first.parent))
    assert await due(house) == ["1"]


async def test_an_unpin_brings_the_cap_back(house: House) -> None:
    """What only a pin had kept above the cap is due once it is unpinned."""
    await house.reopen(with_policy(PolicyName.SUBAGENT, keep=1))
    first, *_ = await children(house, 1)
    await house.store.pin(first.id, pinned=True)
    second = await work(house.store, offer(PolicyName.SUBAGENT, key="1", parent=first.parent))
    await house.store.pin(second.id, pinned=True)
    assert await due(house) == []
    session = await house.store.pin(first.id, pinned=False)
    assert session == head(house.store, session)
    assert await due(house) == ["0"]


async def test_archiving_does_not_save_from_the_cap(house: House) -> None:
    """A session above its cap that somebody archives meanwhile is still due for deletion."""
    await house.reopen(with_policy(PolicyName.SUBAGENT, keep=1))
    first, _ = await children(house, 2)
    assert await move(house.store, head(house.store, first), DueTo.ARCHIVED, is_asked=True) is Settled.DONE
    assert await due(house) == ["0"]


async def test_a_new_policy_gives_new_dates(house: House) -> None:
    """`redate` goes over all sessions of a policy, slice by slice, and gives each the date and cap of today."""
    found = await children(house, 3)
    other = await work(house.store, offer(PolicyName.CRON, key="job"))
    await house.reopen(with_policy(PolicyName.SUBAGENT, archive_after_ms=5 * MINUTE_MS, keep=2))
    after = None
    while (after := await house.store.redate(PolicyName.SUBAGENT, after)) is not None:
        pass
    now = [head(house.store, session) for session in found]
    assert [session.due_to for session in now] == [DueTo.DELETED, DueTo.ARCHIVED, DueTo.ARCHIVED]
    assert [session.due_at for session in now[1:]] == [
        session.since_at + 5 * MINUTE_MS for session in found[1:]
    ]
    assert head(house.store, other) == other


async def test_redating_reaches_everyone(house: House) -> None:
    """More sessions than a slice holds, in several states, all get their new date."""
    sessions = [(await house.store.admit(offer(PolicyName.HOOK))).session for _ in range(200)]
    for session in sessions[:130]:
        await house.store.cancel_session(session.id)
    await house.reopen(with_policy(PolicyName.HOOK, max_runtime_ms=1, archive_after_ms=1, max_running=1_000))
    sessions += [(await house.store.admit(offer(PolicyName.HOOK))).session for _ in range(50)]
    after, slices = None, 0
    while (after := await house.store.redate(PolicyName.HOOK, after)) is not None:
        slices += 1
    assert slices == 2
    assert len(await house.store.due(house.clock.now() + 1, 1_000, with_deletes=True)) == 250
