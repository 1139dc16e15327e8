import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tidegate.bounded import Registry
from tidegate.clock import DAY_MS, MINUTE_MS, SECOND_MS, ManualClock
from tidegate.domain.level import Level
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.session import Outcome, PolicyName, Session
from tidegate.domain.storage import GRACE_MS, Marks
from tidegate.errors import DiskBudget, DiskShort
from tidegate.ids import SessionId
from tidegate.runtime import mover
from tidegate.runtime.bus import Bus
from tidegate.runtime.disk import RETRY_MS, Disk
from tidegate.runtime.guard import Reason
from tidegate.runtime.intake import Intake
from tidegate.runtime.sweeper import Sweeper
from tidegate.store import disk as files
from tidegate.store import quota
from tidegate.store.sqlite import SqliteStore
from work import head, offer, start, work

LIMIT = 2 << 20
KB = 1 << 10


@dataclass
class Here:
    """A gateway in which nothing runs by itself."""

    clock: ManualClock
    store: SqliteStore
    sweeper: Sweeper
    intake: Intake

    async def ask(self, policy: PolicyName) -> None:
        """Bring a new piece of work."""
        await self.intake.submit(offer(policy))

    async def send(self, key: str) -> None:
        """Bring a person's message."""
        await self.intake.message(key, "hello", "main", is_named=False, receipt=None)


@asynccontextmanager
async def watched(folder: Path, limit: int | None = LIMIT) -> AsyncIterator[tuple[Here, Disk]]:
    """Open the inside of a gateway with a budget."""
    clock, registry = ManualClock(), Registry()
    store = await SqliteStore.open(folder, clock, DEFAULTS, registry)
    here = Here(clock, store, Sweeper(store, clock, DEFAULTS, MINUTE_MS), Intake(store, Bus(registry)))
    disk = Disk(store, here.sweeper, here.intake.guard, clock, folder)
    try:
        await disk.begin(limit)
        store.listen(disk.on_commit)
        yield here, disk
    finally:
        await store.close()


def noise(kb: int) -> str:
    """Return a text that does not compress to less than half."""
    return random.randbytes(kb * KB // 2).hex()


async def live(
    here: Here,
    policy: PolicyName,
    *,
    kb: int = 10,
    outcome: Outcome = Outcome.OK,
    parent: SessionId | None = None,
) -> Session:
    """Lead the whole life of a session, a second after the one before."""
    here.clock.advance(SECOND_MS)
    key = f"{policy}-{here.clock.now()}"
    return await work(here.store, offer(policy, key=key, parent=parent, text=noise(kb)), outcome)


async def over(disk: Disk, here: Here, excess: int = 1) -> None:
    """Let the state be above its high mark, and *excess* bytes above the low one, with nothing due."""
    await here.sweeper.sweep()
    live_bytes = here.store.live_bytes
    disk.marks = Marks(limit=2 * live_bytes, last=2 * live_bytes, high=live_bytes, low=live_bytes - excess)
    here.clock.advance(GRACE_MS + 1)


def keys(here: Here, sessions: list[Session]) -> list[str]:
    """Return the keys of those that are still there."""
    return [session.key for session in sessions if here.store.session_by_id(session.id)]


def test_groups_go_in_order(tmp_path: Path) -> None:
    """Whatever came first: api before hooks, jobs that went well, sub-agents and jobs that failed; oldest first."""

    async def main() -> None:
        async with watched(tmp_path) as (here, disk):
            chat = await live(here, PolicyName.CHAT)
            named = await live(here, PolicyName.API_NAMED)
            made = [
                await live(here, PolicyName.CRON, outcome=Outcome.FAILED),
                await live(here, PolicyName.SUBAGENT, parent=chat.id),
                await live(here, PolicyName.CRON),
                await live(here, PolicyName.HOOK),
                await live(here, PolicyName.API),
                await live(here, PolicyName.HOOK, outcome=Outcome.FAILED),
                await live(here, PolicyName.CRON, outcome=Outcome.TIMED_OUT),
            ]
            expected = [made[place] for place in (4, 3, 5, 2, 1, 0, 6)]
            for rank in range(1, len(expected) + 1):
                await over(disk, here)
                await disk.look()
                assert keys(here, expected) == [session.key for session in expected[rank:]]
            await over(disk, here, excess=LIMIT)
            await disk.look()
            assert keys(here, [chat, named]) == [chat.key, named.key]
            assert [1, 2, 1, 1, 2] == list(disk.evicted.values())

    asyncio.run(main())


def test_nothing_that_is_held_goes(tmp_path: Path) -> None:
    """What runs, is pinned, has either below it, or has just ended, stays however short room is."""

    async def main() -> None:
        async with watched(tmp_path) as (here, disk):
            pinned = await live(here, PolicyName.HOOK)
            await here.store.pin(pinned.id, pinned=True)
            above = await live(here, PolicyName.CRON)
            child = await live(here, PolicyName.SUBAGENT, parent=above.id)
            await here.store.pin(child.id, pinned=True)
            running = (await start(here.store, offer(PolicyName.HOOK, text=noise(10)))).session
            await over(disk, here, excess=LIMIT)
            fresh = await live(here, PolicyName.API)
            await disk.look()
            kept = [pinned, above, child, running, fresh]
            assert [session.key for session in kept] == keys(here, kept)
            assert not any(disk.evicted.values())

            await here.store.pin(child.id, pinned=False)
            here.clock.advance(GRACE_MS + RETRY_MS)
            await disk.look()
            assert [pinned.key, running.key] == keys(here, kept)

    asyncio.run(main())


def test_a_tree_goes_leaf_first(tmp_path: Path) -> None:
    """A session takes along what it has started, and nothing of it is left."""

    async def main() -> None:
        async with watched(tmp_path) as (here, disk):
            top = await live(here, PolicyName.HOOK)
            middle = await live(here, PolicyName.SUBAGENT, parent=top.id)
            await live(here, PolicyName.SUBAGENT, parent=middle.id, kb=300)
            await over(disk, here)
            await disk.look()

            assert 0 == sum(count for count, _ in here.store.tallies().sessions.values())
            assert 0 == sum((await here.store.orphans()).values())
            assert 0 == here.store.tallies().blobs

    asyncio.run(main())


def test_what_is_due_goes_first(tmp_path: Path) -> None:
    """Nothing has to give way while what is to go anyway makes room enough."""

    async def main() -> None:
        async with watched(tmp_path) as (here, disk):
            due, kept = await live(here, PolicyName.API, kb=60), await live(here, PolicyName.HOOK, kb=60)
            await over(disk, here, excess=10 * KB)
            here.clock.advance(DAY_MS)
            await disk.look()

            assert [kept.key] == keys(here, [due, kept])
            assert not any(disk.evicted.values())

    asyncio.run(main())


def test_nothing_left_to_go(tmp_path: Path) -> None:
    """Above the high mark, when nothing can go, background work is refused; at the limit, people; a chat never goes."""

    async def main() -> None:
        async with watched(tmp_path) as (here, disk):
            guard = here.intake.guard
            chats: list[Session] = []
            while here.store.live_bytes < disk.marks.high:
                chats.append(await live(here, PolicyName.CHAT, kb=60))
            here.clock.advance(GRACE_MS + 1)
            await disk.look()
            with pytest.raises(DiskShort, match=r"nearly all of the 2\.0 MB") as refused:
                await here.ask(PolicyName.HOOK)
            assert (429, "disk_short") == (refused.value.status, refused.value.code)
            await here.send(chats[0].key)

            while here.store.live_bytes < disk.marks.limit:
                await live(here, PolicyName.CHAT, kb=60)
            with pytest.raises(DiskBudget) as full:
                await here.send(chats[0].key)
            assert (507, Level.CRITICAL) == (full.value.status, guard.level(Reason.DISK))
            assert [session.key for session in chats] == keys(here, chats)

            for chat in chats:
                await mover.delete(here.store, head(here.store, chat))
            here.clock.advance(RETRY_MS)
            await disk.look()
            assert Level.NORMAL is guard.level(Reason.DISK)
            await here.ask(PolicyName.HOOK)
            assert {"disk_short": 1, "disk_budget": 1} == {code: n for code, n in guard.refused.items() if n}

    asyncio.run(main())


def test_the_last_part_is_for_people(tmp_path: Path) -> None:
    """Near the limit background work is refused even while there is something that can go."""

    async def main() -> None:
        async with watched(tmp_path) as (here, disk):
            while here.store.live_bytes < disk.marks.last:
                await live(here, PolicyName.API, kb=60)
            with pytest.raises(DiskShort):
                await here.ask(PolicyName.API)
            await here.send("c")
            here.clock.advance(GRACE_MS)
            await disk.look()

            assert here.store.live_bytes <= disk.marks.low
            await here.ask(PolicyName.API)

    asyncio.run(main())


def test_nothing_goes_while_deleting_is_held(tmp_path: Path) -> None:
    """When the clock is in doubt nothing goes, background work is refused, and a confirmed sweep lets it go on."""

    async def main() -> None:
        async with watched(tmp_path) as (here, disk):
            made = [await live(here, PolicyName.API) for _ in range(5)]
            here.clock.step(DAY_MS)
            await over(disk, here, excess=LIMIT)
            await disk.look()
            assert 5 == len(keys(here, made))
            with pytest.raises(DiskShort) as refused:
                await here.ask(PolicyName.API)
            assert "tidegate sweep --confirm" in refused.value.hint

            await here.sweeper.sweep(confirm=True)
            here.clock.advance(GRACE_MS + RETRY_MS)
            await disk.look()
            assert [] == keys(here, made)

    asyncio.run(main())


def test_others_files_cost_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody else fills the disk background work is refused, people are not, and nothing goes."""

    async def main() -> None:
        async with watched(tmp_path) as (here, disk):
            made = await live(here, PolicyName.API)
            monkeypatch.setattr(files, "room", lambda _: (10 << 20, 1 << 30))
            here.clock.advance(MINUTE_MS)
            await disk.look()
            with pytest.raises(DiskShort, match=r"51\.2 MB is left"):
                await here.ask(PolicyName.HOOK)
            await here.send("c")
            assert [made.key] == keys(here, [made])
            monkeypatch.undo()
            await disk.look()
            await here.ask(PolicyName.HOOK)

    asyncio.run(main())


def test_under_pressure_for_long_it_stays_level(tmp_path: Path) -> None:
    """Sessions come for ever: what is in use stays below the limit, and the newest half of the room stays readable."""

    async def main() -> None:
        async with watched(tmp_path) as (here, disk):
            made: list[Session] = []
            most = 0
            for number in range(120):
                here.clock.advance(MINUTE_MS)
                made.append(await live(here, PolicyName.CRON if number % 2 else PolicyName.HOOK, kb=60))
                most = max(most, here.store.live_bytes)
                await disk.look()
                assert made[-1].key in keys(here, made[-1:])
                entries = await here.store.entries(made[-1].id, 0, 10)
                assert 2 == len(entries)
            hooks = [session for session in made if session.policy is PolicyName.HOOK]
            jobs = [session for session in made if session.policy is PolicyName.CRON]

            assert most < disk.marks.limit
            assert keys(here, jobs) == [session.key for session in jobs[-len(keys(here, jobs)) :]]
            assert keys(here, hooks) == [session.key for session in hooks[-len(keys(here, hooks)) :]]
            assert 10 < len(keys(here, made)) < 40
            assert 3 < here.intake.guard.changes[Reason.DISK, Level.TIGHT] < 40

    asyncio.run(main())


def test_the_limit_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is configured it is half of the room at the first start, and stays that; a configured one wins."""

    async def main(limit: int | None) -> int:
        async with watched(tmp_path, limit) as (_, disk):
            return disk.marks.limit

    monkeypatch.setattr(files, "free_bytes", lambda _: 10 << 20)
    first = asyncio.run(main(None))
    monkeypatch.setattr(files, "free_bytes", lambda _: 1 << 40)
    again = asyncio.run(main(None))

    assert 5 << 20 <= first == again == quota.look_up(tmp_path, None) < 6 << 20
    assert 64 << 20 == asyncio.run(main(64 << 20)) == quota.look_up(tmp_path, 64 << 20)
    assert 10 << 30 == quota.look_up(tmp_path / "new", None)
