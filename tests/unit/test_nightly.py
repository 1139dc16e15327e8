import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from house import SqliteHouse, sqlite
from tidegate.clock import DAY_MS, HOUR_MS, iso
from tidegate.config import Backup
from tidegate.runtime import nightly as module
from tidegate.runtime.nightly import RETRY_MS, SETTLE_MS, Nightly
from tidegate.store import disk
from tidegate.store.backup import PART
from tidegate.store.connection import open_reader
from tidegate.store.sqlite import NAME
from work import offer, work

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine be in UTC; the clock of the tests begins at 08:00."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[SqliteHouse]:
    """Open a store with a session."""
    async with sqlite(tmp_path) as opened:
        await work(opened.store, offer(key="c"))
        yield opened


def service(house: SqliteHouse, **settings: object) -> Nightly:
    """Return the service as a gateway builds it at its start."""
    return Nightly(house.store, house.clock, Backup(**settings))  # type: ignore[arg-type]  # of the tests' choice


def made(house: SqliteHouse) -> list[str]:
    """Return what lies among the backups, oldest first."""
    folder = house.folder / "backups"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def night(house: SqliteHouse, nightly: Nightly) -> None:
    """Let time pass until the next one is due, and let the service look."""
    house.clock.advance(nightly.next_at - house.clock.now())
    await nightly.tick()


async def test_the_first_night(house: SqliteHouse) -> None:
    """A new gateway makes its first backup in its first night, at the time that is set, and says so."""
    nightly = service(house)
    await nightly.tick()
    assert [] == made(house)
    await night(house, nightly)

    assert ["tidegate-20270116-033000.db"] == made(house)
    report = nightly.report()
    assert ("2027-01-16T03:30:00.000Z", "2027-01-17T03:30:00.000Z") == (report["last_at"], report["next_at"])
    assert (house.folder / "backups" / made(house)[0]).stat().st_size == report["last_bytes"]
    assert {"ok": 1, "failed": 0, "skipped": 0} == report["counts"]
    await nightly.tick()
    assert 1 == len(made(house))


async def test_only_the_last_few_are_kept(house: SqliteHouse) -> None:
    """The oldest goes once a newer one is verified; files of another name stay, whatever they are."""
    nightly = service(house, keep=3)
    folder = house.folder / "backups"
    folder.mkdir()
    others = ["before-schema-2.db", "tidegate-20200101-000000.db.old", "tidegate-mine.db", "notes.txt"]
    for name in others:
        (folder / name).touch()
    (folder / "tidegate-20200101-000000.db").mkdir()
    for _ in range(6):
        await night(house, nightly)

    assert sorted(
        [*others, "tidegate-20200101-000000.db", *(f"tidegate-202701{day}-033000.db" for day in (19, 20, 21))]
    ) == made(house)


async def test_a_missed_night_is_made_up_for(house: SqliteHouse) -> None:
    """A machine that was off at night makes it up after the start, but not in the first minutes."""
    await night(house, service(house))
    house.clock.advance(3 * DAY_MS)
    nightly = service(house)
    house.clock.advance(SETTLE_MS - 1)
    await nightly.tick()
    assert 1 == len(made(house))
    house.clock.advance(1)
    await nightly.tick()

    assert 2 == len(made(house))
    assert "2027-01-20T03:30:00.000Z" == iso(nightly.next_at)


async def test_a_machine_that_is_never_on_at_night(house: SqliteHouse) -> None:
    """Even the first backup is made up for: the first start is remembered."""
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(service(house).serve())
        while house.store.meta(module.MEMORY) is None:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0)
        serving.cancel()
    house.clock.advance(DAY_MS)
    nightly = service(house)
    house.clock.advance(SETTLE_MS)
    await nightly.tick()

    assert 1 == len(made(house))


async def test_too_little_room(house: SqliteHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for the copy none is tried; that is counted and told, and tried again after an hour."""
    nightly = service(house)
    monkeypatch.setattr(disk, "free_bytes", lambda _: 100_000)
    await night(house, nightly)

    assert [] == made(house)
    assert {"ok": 0, "failed": 0, "skipped": 1} == nightly.counts
    assert "100,000 bytes left" in str(nightly.report()["failure"])
    monkeypatch.undo()
    house.clock.advance(RETRY_MS - 1)
    await nightly.tick()
    assert [] == made(house)
    house.clock.advance(1)
    await nightly.tick()
    assert 1 == len(made(house))
    assert nightly.report()["failure"] is None


async def test_a_damaged_store_keeps_its_backups(house: SqliteHouse) -> None:
    """A copy that does not verify takes the place of none, however often it is tried."""
    nightly = service(house, keep=1)
    await night(house, nightly)
    before = made(house)

    def damage(connection: apsw.Connection) -> None:
        connection.execute("UPDATE entries SET checksum = 1 WHERE seq = 1")

    await house.store.writer.maintain(damage)
    for _ in range(3):
        await night(house, nightly)

    assert before == made(house)
    assert {"ok": 1, "failed": 3, "skipped": 0} == nightly.counts
    assert "entry 1 of session c is damaged" in str(nightly.report()["failure"])


async def test_a_folder_that_cannot_be_used(house: SqliteHouse, tmp_path: Path) -> None:
    """A folder that cannot be made is a failure to be told, not the end of the gateway."""
    (tmp_path / "file").touch()
    nightly = service(house, folder=tmp_path / "file")
    await night(house, nightly)

    assert 1 == nightly.counts["failed"]


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), MemoryError(), apsw.IOError("disk I/O error")]
)
async def test_a_copy_that_fails(
    house: SqliteHouse, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever the copy fails with is told, counted, and tried again within the hour."""
    nightly = service(house)

    def work(_target: Path) -> object:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(nightly, "_work", work)
        await night(house, nightly)
        report = nightly.report()
        assert type(error).__name__ in str(report["failure"])
        assert report["counts"] == {"ok": 0, "failed": 1, "skipped": 0}
    house.clock.advance(HOUR_MS)
    await nightly.tick()
    assert nightly.counts["ok"] == 1


async def test_another_folder(house: SqliteHouse, tmp_path: Path) -> None:
    """They lie where the configuration says; it is made for its owner alone."""
    nightly = service(house, folder=tmp_path / "far" / "away")
    await night(house, nightly)

    assert 1 == len(list((tmp_path / "far" / "away").iterdir()))
    assert 0o700 == (tmp_path / "far" / "away").stat().st_mode & 0o777


async def test_a_clock_that_was_ahead(house: SqliteHouse) -> None:
    """A backup dated in the future does not keep the next nights from having theirs."""
    house.clock.step(400 * DAY_MS)
    nightly = service(house, keep=2)
    await night(house, nightly)
    house.clock.step(-400 * DAY_MS)
    for _ in range(3):
        await nightly.tick()
        await night(house, nightly)

    assert 4 == nightly.counts["ok"]
    assert nightly.last.file in made(house)
    assert 2 == len(made(house))


async def test_switched_off(house: SqliteHouse) -> None:
    """Switched off there is nothing to wait for."""
    nightly = service(house, enabled=False)

    assert not nightly.is_wanted
    assert nightly.report()["next_at"] is None


async def test_a_stop_does_not_wait_for_a_backup(house: SqliteHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is told to stop gives up the copy that it is making, and nothing of it stays."""
    nightly = service(house)
    house.clock.advance(DAY_MS)
    started, may_go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    watch = nightly._watch  # noqa: SLF001 - to know when the work has begun

    def hold(what: str, share: float) -> None:
        loop.call_soon_threadsafe(started.set)
        while not nightly._is_stopping:  # noqa: SLF001
            time.sleep(0.001)
        watch(what, share)

    monkeypatch.setattr(nightly, "_watch", hold)
    monkeypatch.setattr("tidegate.store.backup.SLICE_PAGES", 1)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(nightly.serve())
        await started.wait()
        serving.cancel()
        may_go_on.set()

    assert [] == made(house)


async def test_the_loop_goes_on_meanwhile(house: SqliteHouse) -> None:
    """While a backup is made the store takes writes; what was acknowledged before it is in it."""
    nightly = service(house)
    house.clock.advance(DAY_MS)
    async with asyncio.TaskGroup() as tasks:
        backing = tasks.create_task(nightly.tick())
        while not backing.done():
            await work(house.store, offer())
    copy = open_reader(house.folder / "backups" / made(house)[0])
    found = copy.execute("SELECT count(*) FROM sessions WHERE key = 'c'").fetchall()
    copy.close()

    assert [(1,)] == found


async def test_leftovers_go_with_the_next_night(house: SqliteHouse) -> None:
    """What a killed gateway had begun is taken away by the next backup."""
    (house.folder / "backups").mkdir()
    shutil.copy(house.folder / NAME, house.folder / "backups" / f"{PART}dead")
    await night(house, service(house))

    assert 1 == len(made(house))
