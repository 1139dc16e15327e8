import pytest

from house import House
from tidegate.clock import DAY_MS, MINUTE_MS
from tidegate.domain.entry import Assistant
from tidegate.domain.run import Lane, RunState, Step
from tidegate.domain.session import DueTo, Kind, Outcome, PolicyName, Session, State
from tidegate.errors import SessionNotFound
from tidegate.ids import RunId, SessionId
from tidegate.store.port import Page
from work import archive, claim, delete, head, names, offer, start, work

pytestmark = pytest.mark.anyio

HIGHEST = 1 << 62


async def several(house: House) -> list[Session]:
    """Carry out work of four kinds, a minute apart, oldest first."""
    found = []
    for policy in (PolicyName.CHAT, PolicyName.CRON, PolicyName.API_NAMED, PolicyName.HOOK):
        house.clock.advance(MINUTE_MS)
        found.append(await work(house.store, offer(policy, key=policy, text=f"Talk of {policy}")))
    return found


async def test_the_same_object_while_nothing_changes(house: House) -> None:
    """A head is the very same object, by key and by id, until its session changes."""
    session = await work(house.store, offer(key="k"))
    found = house.store.session("k")
    assert found is house.store.session("k")
    assert found is house.store.session_by_id(session.id)
    await house.store.pin(session.id, pinned=True)
    changed = house.store.session("k")
    assert changed is not found
    assert changed is house.store.session("k")


async def test_what_is_not_there(house: House) -> None:
    """Reading one thing that does not exist gives nothing."""
    store = house.store
    assert [store.session("k"), store.session_by_id(SessionId("x")), store.run(RunId("x"))] == [None] * 3
    assert store.open_runs(SessionId("x")) == []
    assert store.meta("x") is None
    assert store.next_due(with_deletes=True) is None


async def test_heads_outlive_the_store(house: House) -> None:
    """A head that is read after a new start equals the one before."""
    sessions = await several(house)
    await house.reopen()
    assert [house.store.session_by_id(session.id) for session in sessions] == sessions


async def test_sessions_newest_first(house: House) -> None:
    """Pages of sessions run from the newest to the oldest, without gap or repetition."""
    sessions = await several(house)
    first = await house.store.sessions(Page(limit=3))
    rest = await house.store.sessions(Page(limit=3, before=first[-1].id))
    assert first + rest == sessions[::-1]
    assert await house.store.sessions(Page(before=sessions[0].id)) == []


async def test_the_newest_key(house: House) -> None:
    """The newest session is found by its key, if there is any."""
    assert house.store.newest_key() is None
    await several(house)
    assert house.store.newest_key() == "hook"


async def test_filters(house: House) -> None:
    """Kind, state, agent and text each leave out what does not match, and may be combined."""
    chat, cron, api, hook = await several(house)
    hook = await archive(house.store, hook)
    for page, expected in [
        (Page(kinds=[Kind.API]), [api]),
        (Page(kinds=[Kind.CRON, Kind.CHAT]), [cron, chat]),
        (Page(states=[State.ARCHIVED]), [hook]),
        (Page(kinds=[Kind.CHAT], states=[State.ARCHIVED]), []),
        (Page(agent="main", kinds=[Kind.HOOK]), [hook]),
        (Page(agent="other"), []),
        (Page(text="TALK OF c"), [cron, chat]),
        (Page(text="nobody said this"), []),
    ]:
        assert await house.store.sessions(page) == expected


async def test_children(house: House) -> None:
    """The sessions below one parent, filtered like any others."""
    chat = await work(house.store, offer(key="chat"))
    done = await work(house.store, offer(PolicyName.SUBAGENT, parent=chat.id))
    house.clock.advance(MINUTE_MS)
    live = head(house.store, await house.store.admit(offer(PolicyName.SUBAGENT, parent=chat.id)))
    assert await house.store.sessions(Page(parent=chat.id)) == [live, done]
    assert await house.store.sessions(Page(parent=chat.id, limit=1)) == [live]
    assert await house.store.sessions(Page(parent=chat.id, limit=1, before=live.id)) == [done]
    assert await house.store.sessions(Page(parent=chat.id, states=[State.COMPLETED], limit=1)) == [done]
    assert await house.store.sessions(Page(parent=chat.id, kinds=[Kind.CHAT])) == []


async def test_entries_through_segments_and_rows(house: House) -> None:
    """A page may start in a segment and end in a row; the numbering goes through."""
    session = await archive(house.store, await work(house.store, offer(key="k", text="1")))
    for number in (3, 5):
        house.clock.advance(1)
        session = await work(house.store, offer(key="k", text=str(number)))
    assert session.cold_through == 2
    whole = await house.store.entries(session.id, 0, 100)
    assert [entry.seq for entry in whole] == [1, 2, 3, 4, 5, 6]
    assert [entry.body.text for entry in whole] == ["1", "done", "3", "done", "5", "done"]
    for after in range(7):
        assert await house.store.entries(session.id, after, 2) == whole[after : after + 2]
        assert await house.store.entries(session.id, after, 100) == whole[after:]


async def test_an_entries_page_ends_at_4_mib(house: House) -> None:
    """A page of long entries ends early, and the next one goes on right behind it."""
    claimed = await start(house.store, offer(key="k"))
    await house.store.append(claimed.run.lease, Step(bodies=[Assistant(text="x" * 64_000)] * 100))
    page = await house.store.entries(claimed.session.id, 0, 1_000)
    assert 4 << 20 <= sum(len(entry.body.text) for entry in page) < (4 << 20) + 65_536
    rest = await house.store.entries(claimed.session.id, page[-1].seq, 1_000)
    assert len(page) + len(rest) == 101


async def test_the_tail(house: House) -> None:
    """The tail is the end of a transcript in order, within its bytes, from rows and segments alike."""
    session = await work(house.store, offer(key="k", text="x" * 1_000))
    await archive(house.store, session)
    await work(house.store, offer(key="k", text="y" * 1_000))
    texts = ["x" * 1_000, "done", "y" * 1_000, "done"]
    for limit, count in [(10_000, 4), (1_500, 3), (600, 1), (0, 1)]:
        found = (await house.store.context(session.id, limit)).entries
        assert [entry.body.text for entry in found] == texts[4 - count :]
        assert [entry.seq for entry in found] == list(range(5 - count, 5))


async def test_a_transcript_that_is_gone(house: House) -> None:
    """Reading the transcript of no session is told."""
    nobody = SessionId("nobody")
    for read in (
        house.store.entries(nobody, 0, 1),
        house.store.context(nobody, 1),
        house.store.pack(nobody, 1),
    ):
        with pytest.raises(SessionNotFound):
            await read


async def test_packing_writes_nothing(house: House) -> None:
    """Segments that were packed hold the rows' bodies, and nothing has changed by it."""
    session = await work(house.store, offer(key="k", text="q"))
    (segment,) = await house.store.pack(session.id, 1 << 20)
    assert (segment.first_seq, segment.last_seq) == (1, 2)
    assert [b"q" in segment.lines()[0], b"done" in segment.lines()[1]] == [True, True]
    assert head(house.store, session) is house.store.session("k")
    assert house.store.tallies().segments == 0


async def test_runs_newest_first(house: House) -> None:
    """Pages of runs run from the newest to the oldest, of all, of one state, of one session."""
    runs = [(await house.store.admit(offer(key=key))).run for key in "abab"]
    await claim(house.store)
    session, ids = runs[0].session, [run.id for run in runs]

    async def page(
        state: RunState | None, session: SessionId | None, before: int = HIGHEST, limit: int = 9
    ) -> list[RunId]:
        found = await house.store.runs(state=state, session=session, before=before, limit=limit)
        return [run.id for run in found]

    assert await page(None, None) == ids[::-1]
    assert await page(None, None, runs[2].number, 1) == [ids[1]]
    assert await page(RunState.QUEUED, None) == ids[:0:-1]
    assert await page(RunState.QUEUED, None, runs[2].number) == [ids[1]]
    assert await page(None, session) == [ids[2], ids[0]]
    assert await page(RunState.RUNNING, session) == [ids[0]]
    assert await page(RunState.RUNNING, session, runs[0].number) == []


async def test_open_runs_oldest_first(house: House) -> None:
    """The open runs of a session are those that are not done, oldest first."""
    first = await start(house.store, offer(key="k"))
    second = await house.store.admit(offer(key="k"))
    assert [run.id for run in house.store.open_runs(first.session.id)] == [first.run.id, second.run.id]
    await house.store.finish(first.run.lease, Outcome.OK)
    assert house.store.open_runs(first.session.id) == [second.run]


async def test_tallies_count(house: House) -> None:
    """Counts by policy and state, by lane and state, are there at zero and follow each transition."""
    await several(house)
    await house.store.admit(offer(PolicyName.CRON))
    tallies = house.store.tallies()
    assert len(tallies.sessions) == len(PolicyName) * len(State)
    assert len(tallies.runs) == len(Lane) * len(RunState)
    counted = {key: count for key, (count, _) in tallies.sessions.items() if count}
    assert counted == {
        (PolicyName.CHAT, State.ACTIVE): 1,
        (PolicyName.API_NAMED, State.ACTIVE): 1,
        (PolicyName.CRON, State.COMPLETED): 1,
        (PolicyName.CRON, State.CREATED): 1,
        (PolicyName.HOOK, State.COMPLETED): 1,
    }
    assert tallies.runs[Lane.CRON, RunState.DONE] == 2
    assert tallies.runs[Lane.CRON, RunState.QUEUED] == 1


async def test_what_is_due(house: House) -> None:
    """What is due comes longest due first; counting it sorts it by where it goes; deletes can be left out."""
    _, cron, first, _ = await several(house)
    last = await archive(house.store, cron)
    assert house.store.next_due(with_deletes=True) == first.due_at
    house.clock.advance(31 * DAY_MS)
    until = house.clock.now()
    found = await house.store.due(until, 10, with_deletes=True)
    assert names(found) == ["api_named", "hook", "chat", "cron"]
    assert await house.store.due(until, 2, with_deletes=True) == found[:2]
    assert await house.store.due(until, 10, with_deletes=False) == found[:3]
    assert await house.store.due(last.due_at or 0, 10, with_deletes=True) == found
    assert len(await house.store.due((last.due_at or 0) - 1, 10, with_deletes=True)) == 3
    assert await house.store.due_counts(until, with_deletes=True) == {DueTo.ARCHIVED: 3, DueTo.DELETED: 1}
    assert await house.store.due_counts(until, with_deletes=False) == {DueTo.ARCHIVED: 3}


async def test_only_deletes_left(house: House) -> None:
    """Where deletes are held, the next date is the next other one."""
    await archive(house.store, await work(house.store, offer(PolicyName.API)))
    assert house.store.next_due(with_deletes=False) is None
    assert house.store.next_due(with_deletes=True) == house.clock.now() + DAY_MS


async def test_the_idle_longest(house: House) -> None:
    """Of the named api sessions it is the one without a turn, unpinned, whose last activity lies furthest back."""
    store = house.store
    assert await store.idle_longest() is None
    for key in ("pinned", "busy", "old", "new"):
        house.clock.advance(MINUTE_MS)
        await work(store, offer(PolicyName.API_NAMED, key=key))
    await store.pin((await store.sessions(Page(text="pinned")))[0].id, pinned=True)
    await store.admit(offer(PolicyName.API_NAMED, key="busy"))
    idle = await store.idle_longest()
    assert idle is not None
    assert idle.key == "old"
    await archive(store, idle)
    assert names([found for found in [await store.idle_longest()] if found]) == ["new"]


async def test_meta(house: House) -> None:
    """A remembered value is there until another takes its place, and outlives the store."""
    await house.store.remember("k", "1")
    await house.store.remember("k", "2")
    await house.reopen()
    assert house.store.meta("k") == "2"


async def test_storage(house: House) -> None:
    """The disk is measured: the main file and its log take bytes, blobs and segments what the tallies say."""
    await archive(house.store, await work(house.store, offer(text="x" * 100_000)))
    storage, tallies = await house.store.storage(), house.store.tallies()
    assert (storage.blobs, storage.segments) == (100_000, tallies.segment_bytes)
    assert storage.main + storage.wal > 100_000
    assert storage.free >= 0


async def test_no_orphans(house: House) -> None:
    """Every type of orphan is counted, and there are none."""
    await archive(house.store, await work(house.store, offer(text="x" * 100_000)))
    orphans = await house.store.orphans()
    assert set(orphans) >= {"entry", "segment", "run", "child", "blob", "chunk", "reference", "trim"}
    assert set(orphans.values()) == {0}


async def test_giving_space_back(house: House) -> None:
    """Slice by slice, pages that were freed go back to the disk."""
    session = await work(house.store, offer(text="x" * (8 << 20)))
    before = await house.store.storage()
    await delete(house.store, session)
    while await house.store.compact_file():
        pass
    after = await house.store.storage()
    assert after.main < (before.main + before.wal) // 4
    assert after.free < 1 << 20
