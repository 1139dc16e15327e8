import msgspec
import pytest

from house import House
from tidegate.domain.entry import Assistant, BlobRef, Notice, Summary, User
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.run import Lease, Step, Usage
from tidegate.domain.session import Outcome, PolicyName, Session, State
from tidegate.errors import (
    BadRequest,
    FenceLost,
    SessionExists,
    SessionNotFound,
    TooManySessions,
    WrongState,
)
from tidegate.ids import SessionId
from tidegate.store.context import Replacement
from tidegate.store.port import Store
from work import EVERYTHING, archive, delete, head, offer, offered, say, start, texts, work

pytestmark = pytest.mark.anyio

NOBODY = SessionId("nobody")


async def compact(
    store: Store, lease: Lease, through: int, text: str = "so far", pinned: tuple[int, ...] = ()
) -> int:
    """Let a summary take the place of the entries up to one, and say where it stands."""
    session = store.session_by_id(lease.session)
    assert session is not None
    replacement = Replacement(
        summary=Summary(text=text, through=through, pinned=pinned),
        before=session.summary_seq,
        segments=await store.pack(lease.session, EVERYTHING, through),
        usage=Usage(input_tokens=7, output_tokens=3),
        model="m",
    )
    return (await store.compact(lease, replacement)).seq


async def five(store: Store) -> Lease:
    """Begin a chat of five entries whose turn is open."""
    lease = (await start(store, offer(key="k", text="1"))).run.lease
    await say(store, lease, "2", "3", "4", "5")
    return lease


async def test_a_summary_takes_the_place_of_entries(house: House) -> None:
    """Summary and segments come in one step; every entry is read as before, under its number."""
    store = house.store
    lease = await five(store)
    assert await compact(store, lease, 3) == 6
    session = head(store, (await five_session(store)))

    assert (session.entries, session.cold_through, session.summary_seq) == (6, 3, 6)
    assert (session.hot_entries, session.due_to) == (3, head(store, session).due_to)
    entries = await store.entries(session.id, 0, 10)
    assert [entry.body.text for entry in entries] == ["1", "2", "3", "4", "5", "so far"]
    assert [entry.seq for entry in await store.entries(session.id, 1, 2)] == [2, 3]
    while await store.trim(session.id):
        pass
    assert await store.entries(session.id, 0, 10) == entries
    assert sum((await store.orphans()).values()) == 0


async def five_session(store: Store) -> Session:
    """Return the chat."""
    found = store.session("k")
    assert found is not None
    return found


async def test_what_a_model_reads(house: House) -> None:
    """The context is the latest summary, what it pins, and the newest entries that it leaves out, without summaries."""
    store = house.store
    lease = await five(store)
    whole = await store.context(lease.session, EVERYTHING)
    assert ([entry.seq for entry in whole.entries], whole.summary, whole.is_whole) == (
        [1, 2, 3, 4, 5],
        None,
        True,
    )

    await compact(store, lease, 2, pinned=(1,))
    await say(store, lease, "7")
    await compact(store, lease, 4, "newer", pinned=(1, 3))
    await say(store, lease, "9")
    found = await store.context(lease.session, EVERYTHING)
    assert found.summary is not None
    assert (found.summary.seq, found.summary.body.text) == (8, "newer")
    assert [entry.body.text for entry in found.pinned] == ["1", "3"]
    assert [entry.body.text for entry in found.entries] == ["5", "7", "9"]
    assert found.is_whole

    short = await store.context(lease.session, 1)
    assert [entry.body.text for entry in short.entries] == ["9"]
    assert (short.summary, short.pinned, short.is_whole) == (found.summary, found.pinned, False)
    await store.finish(lease, Outcome.OK)
    await archive(store, head(store, await five_session(store)))
    assert await store.context(lease.session, EVERYTHING) == found


async def test_a_lost_fence_compacts_nothing(house: House) -> None:
    """Who has lost the run changes nothing."""
    store = house.store
    lease = await five(store)
    await store.cancel_run(lease.run)
    before = await five_session(store)
    with pytest.raises(FenceLost):
        await compact(store, lease, 3)
    assert (await five_session(store), await texts(store, before)) == (before, ["1", "2", "3", "4", "5"])
    assert store.tallies().segments == 0


async def test_what_does_not_follow_is_refused(house: House) -> None:
    """A summary that was made of another state than the present one changes nothing."""
    store = house.store
    lease = await five(store)
    segments = await store.pack(lease.session, EVERYTHING, 3)
    late = Replacement(
        summary=Summary(text="late", through=3), before=None, segments=segments, usage=Usage(), model="m"
    )
    gap = msgspec.structs.replace(late, segments=[msgspec.structs.replace(segments[0], first_seq=2)])
    short = msgspec.structs.replace(late, summary=Summary(text="short", through=4))
    for wrong in (gap, short):
        with pytest.raises(WrongState):
            await store.compact(lease, wrong)
    await compact(store, lease, 2)
    before = await five_session(store)
    with pytest.raises(WrongState):
        await store.compact(lease, late)
    assert await five_session(store) == before


async def test_a_crash_leaves_a_compaction_whole(house: House) -> None:
    """After a crash summary and segments are both there, and the next one goes on from them."""
    await compact(house.store, await five(house.store), 3)
    before = await five_session(house.store)
    await house.crash()
    assert await five_session(house.store) == before
    context = await house.store.context(before.id, EVERYTHING)
    assert [entry.body.text for entry in context.entries] == ["4", "5"]
    assert context.summary is not None


async def test_what_a_summary_takes(house: House) -> None:
    """Its tokens are counted for the run, which has made no step with it."""
    store = house.store
    lease = await five(store)
    before = store.run(lease.run)
    await compact(store, lease, 3)
    after = store.run(lease.run)
    assert before is not None
    assert after is not None
    assert (after.usage.total - before.usage.total, after.steps) == (10, before.steps)


async def test_a_conversation_begins_afresh(house: House) -> None:
    """The key goes to a new session with the same agent and skills; the former one keeps everything under another."""
    store = house.store
    old = await work(store, offer(key="k", text="1", skills=offered({"one": "a"})))
    renewed = await store.renew(old.id)

    assert renewed.former is not None
    assert renewed.former.key == f"k~{old.id}"
    assert store.session("k") == renewed.session == head(store, renewed.session)
    assert store.session(renewed.former.key) == renewed.former == head(store, old)
    assert (renewed.session.agent, renewed.session.snapshot) == (old.agent, old.snapshot)
    assert (renewed.session.state, renewed.session.turn_at) == (State.ACTIVE, None)
    assert await texts(store, renewed.former) == ["1", "done"]
    (told,) = await store.entries(renewed.session.id, 0, 9)
    assert isinstance(told.body, Notice)
    assert renewed.former.key in told.body.text
    again = await store.renew(renewed.session.id)
    assert (again.session, again.former) == (renewed.session, None)
    assert house.heard[-2].renamed == [old.id]


async def test_a_message_begins_afresh(house: House) -> None:
    """With the message that asks for it, or not at all: a repetition finds what the first one did."""
    store = house.store
    old = await work(store, offer(key="k", text="1"))
    fresh = msgspec.structs.replace(offer(key="k", text="2"), is_fresh=True)
    admitted = await store.admit(fresh)
    assert admitted.session.id != old.id
    assert head(store, old).key == f"k~{old.id}"
    claimed = await store.claim(admitted.run.lane)
    assert claimed is not None
    assert (await texts(store, admitted))[1:] == ["2"]
    await store.finish(claimed.run.lease, Outcome.OK)
    assert (await store.admit(offer(key="k", text="On"))).session.title == "On"


async def test_what_cannot_begin_afresh(house: House) -> None:
    """Only conversations begin afresh, within their bound, and under keys that are free."""
    store = house.store
    with pytest.raises(SessionNotFound):
        await store.renew(NOBODY)
    with pytest.raises(WrongState):
        await store.renew((await work(store, offer(PolicyName.API))).id)
    old = await work(store, offer(key="k"))
    await work(store, offer(key=f"k~{old.id}"))
    with pytest.raises(SessionExists):
        await store.renew(old.id)
    assert store.session("k") == old

    narrow = {
        **DEFAULTS,
        PolicyName.API_NAMED: msgspec.structs.replace(DEFAULTS[PolicyName.API_NAMED], max_running=1),
    }
    named = await work(store, offer(PolicyName.API_NAMED, key="n"))
    await house.reopen(narrow)
    with pytest.raises(TooManySessions):
        await house.store.renew(named.id)


async def test_a_long_key_is_cut(house: House) -> None:
    """The former conversation of a key of 256 characters has one of 256 characters."""
    old = await work(house.store, offer(key="k" * 256))
    renewed = await house.store.renew(old.id)
    assert renewed.former is not None
    assert renewed.former.key == "k" * 229 + "~" + old.id


async def test_a_fork_shares_what_was_read(house: House) -> None:
    """A fork has the summary, what it pins and the entries up to a place, with large texts shared; it lives alone."""
    store = house.store
    lease = await five(store)
    await say(store, lease, "x" * 100_000)
    await compact(store, lease, 4, "so far", pinned=(2,))
    await say(store, lease, "8")
    before = await five_session(store)
    excerpt = await store.excerpt(before.id, 8, EVERYTHING)
    forked = await store.fork("f", excerpt)

    assert (forked.policy, forked.state, forked.turn_at) == (PolicyName.CHAT, State.ACTIVE, None)
    assert await five_session(store) == before
    context = await store.context(forked.id, EVERYTHING)
    assert [entry.body.text for entry in context.pinned] == ["2"]
    assert context.summary is not None
    assert (context.summary.body.text, context.is_whole) == ("so far", True)
    five_, large, told = [entry.body for entry in context.entries]
    assert (five_.text, isinstance(told, Notice)) == ("5", True)
    assert isinstance(large.blob, BlobRef)
    assert store.tallies().references == 2
    await store.finish(lease, Outcome.OK)
    await delete(store, before)
    assert len(await store.blob(large.blob.hash)) == 100_000
    assert sum((await store.orphans()).values()) == 0
    assert (await store.fork(None, await store.excerpt(forked.id, 1, EVERYTHING))).entries == 1


async def test_a_fork_before_the_summary(house: House) -> None:
    """Before a summary was made what was read is what was there; above the limit it begins with a user's message."""
    store = house.store
    session = await work(store, offer(key="k", text="1"))
    for number in range(3):
        await work(store, offer(key="k", text=f"more {number}"))
    lease = (await start(store, offer(key="k", text="last"))).run.lease
    await compact(store, lease, 6)
    whole = await store.fork("whole", await store.excerpt(session.id, 6, EVERYTHING))
    assert (await texts(store, whole))[:-1] == ["1", "done", "more 0", "done", "more 1"]
    part = await store.fork("part", await store.excerpt(session.id, 6, 300))
    assert (await texts(store, part))[:-1] == ["more 0", "done", "more 1"]


async def test_what_cannot_be_forked(house: House) -> None:
    """A place that is not there, a key that is taken, and an original that has gone are refused."""
    store = house.store
    session = await work(store, offer(key="k"))
    for before in (0, -1, 4):
        with pytest.raises(BadRequest):
            await store.excerpt(session.id, before, EVERYTHING)
    with pytest.raises(SessionNotFound):
        await store.excerpt(NOBODY, 1, EVERYTHING)
    excerpt = await store.excerpt(session.id, 3, EVERYTHING)
    with pytest.raises(SessionExists):
        await store.fork("k", excerpt)
    message = msgspec.structs.replace(offer(key="k"), excerpt=excerpt)
    with pytest.raises(SessionExists):
        await store.admit(message)
    await delete(store, session)
    with pytest.raises(SessionNotFound):
        await store.fork("f", excerpt)
    assert store.session("f") is None


async def test_a_fork_with_a_message(house: House) -> None:
    """A message makes the fork that it goes on in."""
    store = house.store
    session = await work(store, offer(key="k", text="1"))
    excerpt = await store.excerpt(session.id, 3, EVERYTHING)
    claimed = await start(store, msgspec.structs.replace(offer(key="f", text="2"), excerpt=excerpt))
    found = await store.entries(claimed.session.id, 0, 9)
    assert [type(entry.body) for entry in found] == [User, Assistant, Notice, User]
    await store.append(claimed.run.lease, Step(bodies=[Assistant(text="3")]))
    assert sum((await store.orphans()).values()) == 0


async def test_only_the_one_session(house: House) -> None:
    """Work for one session does not make another one under its key."""
    session = await work(house.store, offer(key="k"))
    only = msgspec.structs.replace(offer(key="k"), only=session.id)
    assert (await house.store.admit(only)).session.id == session.id
    with pytest.raises(SessionNotFound):
        await house.store.admit(msgspec.structs.replace(only, key="other"))
    assert house.store.session("other") is None
