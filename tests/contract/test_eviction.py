import pytest

from house import House
from tidegate.clock import DAY_MS, SECOND_MS
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session
from tidegate.domain.storage import Group
from tidegate.errors import DiskFull
from tidegate.ids import SessionId
from work import archive, delete, head, offer, start, work

pytestmark = pytest.mark.anyio

FIRST = SessionId("")


async def evictable(
    house: House, group: Group, after: SessionId = FIRST, limit: int = 100
) -> list[SessionId]:
    """Return who may go of what has ended before now."""
    found = await house.store.evictable(group, after, house.clock.now(), limit)
    return [one.id for one in found]


async def live(house: House, policy: PolicyName, outcome: Outcome = Outcome.OK) -> Session:
    """Lead the whole life of a session, and let a second pass."""
    session = await work(house.store, offer(policy), outcome)
    house.clock.advance(SECOND_MS)
    return session


async def test_who_may_go(house: House) -> None:
    """What has ended stands in its group in the order of birth, archived or not, page by page; a pin takes it out."""
    made = [await live(house, PolicyName.HOOK) for _ in range(4)]
    await archive(house.store, made[1])
    await house.store.pin(made[2].id, pinned=True)
    house.clock.advance(SECOND_MS)
    left = [made[0].id, made[1].id, made[3].id]
    assert left == await evictable(house, Group.HOOK)
    assert left[:2] == await evictable(house, Group.HOOK, limit=2)
    assert left[2:] == await evictable(house, Group.HOOK, after=left[1])
    assert not (await house.store.evictable(Group.HOOK, FIRST, made[0].since_at, 100))


async def test_groups_are_apart(house: House) -> None:
    """Each ephemeral session that has ended stands in one group; jobs that failed have one of their own."""
    ends = {
        Group.API: (PolicyName.API, Outcome.FAILED),
        Group.HOOK: (PolicyName.HOOK, Outcome.OK),
        Group.CRON_OK: (PolicyName.CRON, Outcome.OK),
        Group.SUBAGENT: (PolicyName.SUBAGENT, Outcome.FAILED),
        Group.CRON_FAILED: (PolicyName.CRON, Outcome.TIMED_OUT),
    }
    made = {group: await live(house, policy, outcome) for group, (policy, outcome) in ends.items()}
    await live(house, PolicyName.CHAT)
    await live(house, PolicyName.API_NAMED)
    await start(house.store, offer(PolicyName.HOOK))
    house.clock.advance(SECOND_MS)
    assert {group: [session.id] for group, session in made.items()} == {
        group: await evictable(house, group) for group in Group
    }


async def test_the_doomed_are_due(house: House) -> None:
    """Who may go is dated for deletion now; chats, what is held and what is gone are passed over."""
    hook = await live(house, PolicyName.HOOK)
    chat, named = await live(house, PolicyName.CHAT), await live(house, PolicyName.API_NAMED)
    pinned = await live(house, PolicyName.HOOK)
    await house.store.pin(pinned.id, pinned=True)
    above = await live(house, PolicyName.CRON)
    running = (await start(house.store, offer(PolicyName.SUBAGENT, parent=above.id))).session
    gone = await live(house, PolicyName.HOOK)
    await delete(house.store, gone)
    before = [head(house.store, one) for one in (chat, named, pinned, above, running)]
    assert 1 == await house.store.doom([one.id for one in (hook, *before, gone)])
    after = head(house.store, hook)
    assert (house.clock.now(), DueTo.DELETED) == (after.due_at, after.due_to)
    assert before == [head(house.store, one) for one in before]
    assert after in await house.store.due(house.clock.now(), 10, with_deletes=True)


async def test_what_is_in_use_shrinks_with_what_goes(house: House) -> None:
    """What is in use grows with what is written and shrinks with what is deleted, at once."""
    empty = house.store.live_bytes
    session = await work(house.store, offer(PolicyName.CHAT, text="x" * 500_000))
    full = house.store.live_bytes
    measured = (await house.store.storage()).live
    await delete(house.store, session)
    assert full == measured >= empty + 450_000
    assert house.store.live_bytes < empty + 100_000


async def test_the_reserve_is_kept(house: House) -> None:
    """It is held once there is room, and nothing is refused for it."""
    assert 0 == house.store.reserve_bytes
    assert await house.store.keep_reserve(64 << 10)
    assert 64 << 10 == house.store.reserve_bytes
    house.clock.advance(DAY_MS)
    try:
        await work(house.store, offer(PolicyName.CHAT))
    except DiskFull:
        pytest.fail("a reserve that is held refuses nothing")
