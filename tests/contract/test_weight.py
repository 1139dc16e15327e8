import pytest

from house import House
from tidegate.domain.entry import Assistant
from tidegate.domain.run import Step
from tidegate.domain.session import Kind, PolicyName, Session, State
from tidegate.domain.weight import HeavySkill
from tidegate.store import weight
from tidegate.store.weight import NEWEST, Held
from work import archive, head, offer, offered, start, work

pytestmark = pytest.mark.anyio


async def held(house: House, policy: PolicyName, size: int, group: str | None = None) -> Session:
    """Let a session come that says something of a size, and end."""
    claimed = await start(house.store, offer(policy, group=group))
    await house.store.append(claimed.run.lease, Step(bodies=[Assistant(text="x" * size)]))
    return head(house.store, claimed)


async def test_the_heaviest_sessions(house: House) -> None:
    """A page tells the heaviest of its sessions, the heaviest first, with the large texts that they refer to."""
    small = await held(house, PolicyName.API, 10)
    spilled = await held(house, PolicyName.CHAT, 200_000)
    middle = await held(house, PolicyName.CRON, 60_000)
    found = await house.store.weight.page(NEWEST)

    assert [spilled.key, middle.key, small.key] == [session.key for session in found.sessions]
    assert [Kind.CHAT, Kind.CRON, Kind.API] == [session.kind for session in found.sessions]
    assert [State.ACTIVE] * 3 == [session.state for session in found.sessions]
    assert 200_000 < found.sessions[0].bytes < 210_000
    assert middle.bytes == found.sessions[1].bytes
    assert (3, min(small.id, spilled.id, middle.id)) == (found.looked_at, found.oldest)


async def test_pages_go_from_the_newest_to_the_oldest(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every session is in one page; the last page has fewer."""
    monkeypatch.setattr(weight, "PAGE", 2)
    born = [(await held(house, PolicyName.API, 10)).key for _ in range(5)]
    before = NEWEST
    seen: list[str] = []
    sizes: list[int] = []
    while not sizes or sizes[-1] == weight.PAGE:
        page = await house.store.weight.page(before)
        before = page.oldest
        sizes.append(page.looked_at)
        seen += sorted((session.key for session in page.sessions), reverse=True)

    beyond = await house.store.weight.page(before)

    assert ([2, 2, 1], sorted(born, reverse=True)) == (sizes, seen)
    assert (0, []) == (beyond.looked_at, beyond.sessions)


async def test_what_the_sessions_of_a_job_hold(house: House) -> None:
    """Running and ended ones, however they ended, count for the job that has made them, and no others."""
    for size in (1_000, 70_000):
        await held(house, PolicyName.CRON, size, group="job:mail")
    done = await archive(house.store, await work(house.store, offer(PolicyName.CRON, group="job:mail")))
    await held(house, PolicyName.CRON, 10, group="job:a.b-c")
    await held(house, PolicyName.HOOK, 10, group="hook:mail")
    jobs = (await house.store.weight.page(NEWEST)).jobs

    assert "job:mail:ok" == done.cap_group
    assert {"mail", "a.b-c"} == set(jobs)
    assert 3 == jobs["mail"].sessions
    assert 71_000 < jobs["mail"].bytes < 76_000
    assert Held(1, jobs["a.b-c"].bytes) == jobs["a.b-c"]
    assert 0 == await house.store.weight.firings("mail")


async def test_the_heaviest_skills(house: House) -> None:
    """A skill counts with each version that some session still has; the same text counts once."""
    texts = {"long": "l" * 3_000, "short": "s"}
    for skills in (texts, texts | {"short": "other"}, texts):
        await start(house.store, offer(PolicyName.API, skills=offered(skills)))

    assert [
        HeavySkill(name="long", versions=1, bytes=3_000),
        HeavySkill(name="short", versions=2, bytes=6),
    ] == await house.store.weight.skills()


async def test_tables(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table has its rows, and its pages with those of its indices; a file that is large is not walked."""
    for _ in range(300):
        await start(house.store, offer(PolicyName.API))
    await house.store.compact_file()
    tables = await house.store.weight.tables()
    assert tables is not None
    found = {table.name: table for table in tables}
    storage = await house.store.storage()
    pages = storage.main + storage.wal
    monkeypatch.setattr(weight, "MOST_PAGES", 10)

    assert (300, 300, 300) == (found["sessions"].rows, found["runs"].rows, found["entries"].rows)
    assert found["tallies"].rows > 50  # a table without rowid
    assert 0 < sum(table.bytes or 0 for table in tables) <= pages
    assert sorted((table.bytes or 0 for table in tables), reverse=True) == [table.bytes for table in tables]
    assert await house.store.weight.tables() is None
