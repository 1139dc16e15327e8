from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from house import SqliteHouse, sqlite
from tidegate.clock import DAY_MS
from tidegate.domain.outbox import Attempt, Reply
from tidegate.domain.run import Step, Usage
from tidegate.domain.session import Outcome, PolicyName
from tidegate.errors import Corrupt
from tidegate.ids import SessionId
from tidegate.store import orphans
from tidegate.store.connection import open_reader
from tidegate.store.port import Page
from tidegate.store.sqlite import NAME
from work import EVERYTHING, archive, bodies, head, offer, start, texts, work

pytestmark = pytest.mark.anyio

FIRST = SessionId("")


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[SqliteHouse]:
    """Open a store in a folder."""
    async with sqlite(tmp_path) as opened:
        yield opened


async def tamper(house: SqliteHouse, *statements: str) -> None:
    """Write past the store."""

    def write(connection: apsw.Connection) -> None:
        for statement in ("PRAGMA foreign_keys = OFF", *statements, "PRAGMA foreign_keys = ON"):
            connection.execute(statement).fetchall()

    await house.store.writer.maintain(write)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET body = x'7b7d' WHERE seq = 1",
        "UPDATE entries SET seq = 9 WHERE seq = 1",
        "DELETE FROM entries WHERE seq = 1",
    ],
    ids=["changed", "moved", "missing"],
)
async def test_a_damaged_row_is_told(house: SqliteHouse, damage: str) -> None:
    """A row that was changed, moved or lost is never read as if nothing had happened, nor packed."""
    session = await work(house.store, offer(key="k"))
    await tamper(house, damage)
    for read in (
        house.store.entries(session.id, 0, 9),
        house.store.context(session.id, EVERYTHING),
        house.store.pack(session.id, EVERYTHING),
    ):
        with pytest.raises(Corrupt):
            await read


@pytest.mark.parametrize(
    "damage",
    ["UPDATE segments SET body = x'00'", "UPDATE segments SET last_seq = 3", "DELETE FROM segments"],
    ids=["changed", "longer", "missing"],
)
async def test_a_damaged_segment_is_told(house: SqliteHouse, damage: str) -> None:
    """A segment that was changed or lost is never read as if nothing had happened."""
    session = await archive(house.store, await work(house.store, offer(key="k")))
    await tamper(house, damage)
    for read in (house.store.entries(session.id, 0, 9), house.store.context(session.id, EVERYTHING)):
        with pytest.raises(Corrupt):
            await read


async def test_rows_stay_where_segments_differ(house: SqliteHouse) -> None:
    """A segment that does not hold what the rows hold takes no row away."""
    session = await work(house.store, offer(key="one", text="a"))
    other = await work(house.store, offer(key="two", text="b"))
    await house.store.freeze(session.id, await house.store.pack(other.id, EVERYTHING))
    with pytest.raises(Corrupt):
        await house.store.trim(session.id)
    assert await house.store.trims(FIRST, 9) == [session.id]
    connection = open_reader(house.folder / NAME)
    assert connection.execute("SELECT count(*) FROM entries").fetchall() == [(4,)]
    connection.close()


async def test_a_damaged_blob_is_told(house: SqliteHouse) -> None:
    """A blob whose bytes do not match its name is not given out as a whole."""
    session = await work(house.store, offer(text="x" * 100_000))
    body = (await bodies(house.store, session))[0]
    assert body.blob is not None
    for damage in (
        "UPDATE chunks SET body = zeroblob(34464) WHERE part = 1",
        "DELETE FROM chunks WHERE part = 1",
    ):
        await tamper(house, damage)
        with pytest.raises(Corrupt):
            await house.store.blob(body.blob.hash)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("DELETE FROM sessions WHERE key = 'top'", {"entry": 2, "run": 1, "child": 1, "reference": 1}),
        ("DELETE FROM sessions WHERE key = 'cold'", {"segment": 1, "run": 1}),
        ("DELETE FROM session_blobs", {"chunk": 2}),
        ("INSERT INTO blobs (hash, bytes) VALUES ('lost', 1)", {"blob": 1}),
        ("INSERT INTO chunks (hash, part, body) VALUES ('lost', 0, x'00')", {"chunk": 1}),
        ("INSERT INTO trims (session) VALUES ('lost')", {"trim": 1}),
    ],
)
async def test_orphans_are_counted(house: SqliteHouse, damage: str, expected: dict[str, int]) -> None:
    """Whatever somebody does past the store, what has lost its owner is counted under its type."""
    top = await work(house.store, offer(key="top", text="x" * 100_000))
    await work(house.store, offer(PolicyName.SUBAGENT, parent=top.id))
    await archive(house.store, await work(house.store, offer(key="cold")))
    await tamper(house, damage)
    assert await house.store.orphans() == dict.fromkeys(orphans.TYPES, 0) | expected


async def test_usage_is_folded(house: SqliteHouse) -> None:
    """Usage outlives its session: by day for 90 days, then by month, with nothing lost."""
    usage = Usage(input_tokens=5, output_tokens=1)
    for _ in range(3):
        claimed = await start(house.store, offer(PolicyName.API))
        await house.store.append(claimed.run.lease, Step(bodies=[], usage=usage, model="m"))
        house.clock.advance(DAY_MS)
    house.clock.advance(88 * DAY_MS)
    assert [await house.store.tidy(), await house.store.tidy()] == [1, 0]
    connection = open_reader(house.folder / NAME)
    found = connection.execute(
        "SELECT period, answers, input_tokens, output_tokens FROM usage_daily"
    ).fetchall()
    connection.close()
    assert sorted(found) == [("2027-01", 1, 5, 1), ("2027-01-16", 1, 5, 1), ("2027-01-17", 1, 5, 1)]


async def test_only_what_was_compared_is_trimmed(house: SqliteHouse) -> None:
    """Rows frozen after the comparison stay until they have been compared themselves."""
    session = await work(house.store, offer(key="k", text="a"))
    await house.store.freeze(session.id, await house.store.pack(session.id, 1))
    assert head(house.store, session).cold_through == 1
    assert not await house.store.trim(session.id)
    await house.store.freeze(session.id, await house.store.pack(session.id, EVERYTHING))
    assert not await house.store.trim(session.id)
    assert await texts(house.store, session) == ["a", "done"]


async def test_a_damaged_delivery_holds_up_nothing(house: SqliteHouse) -> None:
    """It is put aside; the next one for its target is due, and the list goes on without it."""
    outbox = house.store.outbox
    first, second = [await outbox.put("pager", "test.said", text) for text in ("first", "second")]
    assert first is not None
    assert second is not None
    await tamper(house, "UPDATE outbox SET body = 5 WHERE number = 1")
    due = await outbox.due("pager", house.clock.now())
    assert due is not None
    assert due.delivery.id == second
    assert [delivery.id for _, delivery in await outbox.page(state=None, before=1 << 60, limit=9)] == [second]
    await outbox.settle(second, Attempt(reply=Reply.TAKEN))
    assert await outbox.due("pager", house.clock.now()) is None


async def test_a_damaged_session_holds_up_no_list(house: SqliteHouse) -> None:
    """A head that cannot be read is left out of lists and counted, and other dates are computed without it."""
    sessions = []
    for key in ("a", "b", "c"):
        house.clock.advance(1_000)  # so that their ids are in order
        sessions.append(await work(house.store, offer(key=key)))
    await tamper(
        house,
        "PRAGMA ignore_check_constraints = ON",
        "UPDATE sessions SET outcome = 'odd' WHERE key = 'b'",
        "PRAGMA ignore_check_constraints = OFF",
    )
    found = await house.store.sessions(Page(limit=9))
    assert [head.key for head in found] == ["c", "a"]
    assert [head.key for head in await house.store.sessions(Page(limit=1, before=sessions[2].id))] == ["a"]
    assert await house.store.redate(sessions[0].policy, None) == sessions[2].id


async def test_a_damaged_session_holds_up_no_start(house: SqliteHouse) -> None:
    """What ran in a session that cannot be read is queued again as all else, and who is alone is cancelled."""
    for key in ("a", "b", "c"):
        await start(house.store, offer(PolicyName.API, key=key))
    await tamper(
        house,
        "PRAGMA ignore_check_constraints = ON",
        "UPDATE sessions SET state = 'active', outcome = 'odd' WHERE key = 'b'",
        "PRAGMA ignore_check_constraints = OFF",
    )
    await house.reopen()
    assert await house.store.recover() == 3
    assert await house.store.cancel_unattended() == 3
    states = {
        key: None if (found := house.store.session(key)) is None else found.outcome for key in ("a", "c")
    }
    assert states == {"a": Outcome.CANCELLED, "c": Outcome.CANCELLED}


ODD = (
    "PRAGMA ignore_check_constraints = ON",
    "UPDATE {table} SET {column} = 'odd' WHERE {where}",
    "PRAGMA ignore_check_constraints = OFF",
)


async def make_odd(house: SqliteHouse, table: str, column: str, where: str) -> None:
    """Write what no row can mean."""
    await tamper(house, *(line.format(table=table, column=column, where=where) for line in ODD))


async def test_a_damaged_head_is_told(house: SqliteHouse) -> None:
    """Whoever asks for a session that cannot be read is told which one, and its key is known all the same."""
    session = await work(house.store, offer(key="b"))
    await make_odd(house, "sessions", "outcome", "key = 'b'")
    await house.reopen()
    with pytest.raises(Corrupt, match="session 'b'"):
        house.store.session("b")
    with pytest.raises(Corrupt, match="session 'b'"):
        await house.store.admit(offer(key="b"))
    assert house.store.key_of(session.id) == "b"


async def test_a_damaged_run_is_left_out(house: SqliteHouse) -> None:
    """A page of runs is whole without those that cannot be read, and goes on behind them."""
    for key in "abcde":
        await work(house.store, offer(key=key))
    await make_odd(house, "runs", "origin", "number IN (2, 4)")
    first = await house.store.runs(state=None, session=None, before=99, limit=2)
    rest = await house.store.runs(state=None, session=None, before=first[-1].number, limit=2)
    assert [run.number for run in (*first, *rest)] == [5, 3, 1]


async def test_a_damaged_session_keeps_nobody_out(house: SqliteHouse) -> None:
    """What cannot be read makes no room for others, and the next one does."""
    for key in "abc":
        house.clock.advance(1_000)
        await work(house.store, offer(PolicyName.API_NAMED, key=key))
    await make_odd(house, "sessions", "outcome", "key = 'a'")
    for key in "bc":
        idle = await house.store.idle_longest()
        assert idle is not None
        assert idle.key == key
        await house.store.set_aside_session(idle.id, "it cannot be packed")
    assert await house.store.idle_longest() is None
