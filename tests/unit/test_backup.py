# ruff: noqa: ASYNC240 - files of tests are at hand at once
import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest

from house import SqliteHouse, sqlite
from tidegate.errors import BadRequest, Conflict, Corrupt, DiskFull, NotFound, Stopping, StorageFailed
from tidegate.store import backup
from tidegate.store.backup import PART, Contents, Rules, back_up
from tidegate.store.connection import BUSY_MS, open_reader
from tidegate.store.file import LOG_BYTES
from tidegate.store.sqlite import NAME
from work import archive, offer, start, work

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[SqliteHouse]:
    """Open a store with an archived session, a large text, work that is done and work that is not."""
    async with sqlite(tmp_path) as opened:
        await archive(opened.store, await work(opened.store, offer(key="cold")))
        await work(opened.store, offer(key="big", text="x" * 100_000))
        await start(opened.store, offer(key="open"))
        yield opened


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return where the backup goes: a folder with nothing else in it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder / "copy.db"


def held(path: Path) -> dict[str, list[str]]:
    """Return every row of a database, by table."""
    connection = open_reader(path)
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    )
    found = {
        str(name): sorted(map(repr, connection.execute(f"SELECT * FROM {name}").fetchall()))  # noqa: S608 - our tables
        for (name,) in tables.fetchall()
    }
    connection.close()
    return found


async def test_a_backup_is_one_whole_file(house: SqliteHouse, target: Path) -> None:
    """It holds every row of the store, in one file for its owner alone, and says what is in it."""
    contents = back_up(house.folder / NAME, target, Rules())

    assert held(house.folder / NAME) == held(target)
    assert Contents(target.stat().st_size, sessions=3, open_runs=1) == contents
    assert [target] == list(target.parent.iterdir())
    assert 0o600 == target.stat().st_mode & 0o777


async def test_a_closed_store_is_backed_up(house: SqliteHouse, target: Path) -> None:
    """No gateway needs to run."""
    await house.close()
    back_up(house.folder / NAME, target, Rules())
    before = held(target)
    await house.open()

    assert held(house.folder / NAME) == before


async def test_writes_during_the_copy_are_left_out(
    house: SqliteHouse, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is what was there when it began, and is not begun anew by what is written meanwhile."""
    monkeypatch.setattr(backup, "SLICE_PAGES", 1)
    before = held(house.folder / NAME)
    seen: list[float] = []
    other = apsw.Connection(str(house.folder / NAME))

    def watch(what: str, share: float) -> None:
        if what == "copying":
            other.execute("INSERT INTO meta VALUES (?, 'late')", (f"late-{len(seen)}",))
            seen.append(share)
            assert len(seen) < 1_000, "begun anew with each write"

    back_up(house.folder / NAME, target, Rules(watch=watch))
    other.close()

    assert before == held(target)
    assert len(seen) > 20
    assert sorted(seen) == seen


@pytest.mark.parametrize(
    ("make", "is_forced", "expected"),
    [
        (lambda target, _: target.write_bytes(b""), False, Conflict),
        (lambda target, _: target.symlink_to("nowhere"), False, Conflict),
        (lambda target, _: target.write_bytes(b"my thesis"), True, BadRequest),
        (lambda target, _: target.mkdir(), True, BadRequest),
        (lambda target, _: os.mkfifo(target), True, BadRequest),
        (lambda target, store: target.symlink_to(store), True, BadRequest),
        (lambda target, store: target.hardlink_to(store), True, BadRequest),
        (lambda target, _: target.parent.rmdir(), False, NotFound),
    ],
    ids=["there", "link", "other file", "folder", "pipe", "link to the store", "the store", "no folder"],
)
async def test_a_target_that_is_none(
    house: SqliteHouse,
    target: Path,
    make: Callable[[Path, Path], object],
    is_forced: bool,  # noqa: FBT001 - a parameter of the table
    expected: type[Exception],
) -> None:
    """Nothing but an older backup is ever replaced, and that by force alone."""
    make(target, house.folder / NAME)
    with pytest.raises(expected):
        back_up(house.folder / NAME, target, Rules(is_forced=is_forced))

    assert [] == list(target.parent.glob(f"{PART}*"))


@pytest.mark.parametrize(
    "name", [NAME, f"{NAME}-wal", f"{NAME}.restored-x", f"{NAME}.staged", "gateway.lock"]
)
async def test_names_of_the_gateway_are_not_taken(house: SqliteHouse, name: str) -> None:
    """In the state folder a backup takes no name that the gateway would take for something else."""
    for is_forced in (False, True):
        with pytest.raises(BadRequest):
            back_up(house.folder / NAME, house.folder / name, Rules(is_forced=is_forced))
    back_up(house.folder / NAME, house.folder / "mine.db", Rules())


async def test_the_writer_waits_for_no_reader(house: SqliteHouse) -> None:
    """While somebody reads for long, the log is folded in by a later sweep, and nobody's write stands still."""
    reader = open_reader(house.folder / NAME)
    reader.execute("BEGIN; SELECT count(*) FROM sessions").fetchall()
    for _ in range(60):
        await work(house.store, offer(text="x" * 100_000))
    log = house.folder / f"{NAME}-wal"
    assert log.stat().st_size > LOG_BYTES
    async with asyncio.timeout(BUSY_MS / 2_000):
        await house.store.compact_file()
    reader.execute("COMMIT")
    reader.close()
    await house.store.compact_file()

    assert 0 == log.stat().st_size


async def test_an_older_backup_is_replaced_by_force(house: SqliteHouse, target: Path) -> None:
    """With force the newer one takes the name of the older one."""
    back_up(house.folder / NAME, target, Rules())
    await work(house.store, offer(key="later"))
    contents = back_up(house.folder / NAME, target, Rules(is_forced=True))

    assert 4 == contents.sessions
    assert held(house.folder / NAME) == held(target)


async def test_a_damaged_store_gives_no_backup(house: SqliteHouse, target: Path) -> None:
    """What does not verify gets no name, and the older backup stays."""
    back_up(house.folder / NAME, target, Rules())
    before = held(target)
    for damage in (
        "UPDATE entries SET checksum = checksum + 1 WHERE seq = 1",
        "UPDATE segments SET digest = zeroblob(16)",
        "UPDATE chunks SET body = zeroblob(length(body)) WHERE part = 0",
        "UPDATE tallies SET count = count + 1 WHERE family = 'run' AND state = 'done'",
        "DELETE FROM sessions WHERE key = 'cold'",
    ):
        async with damaged(house, damage):
            with pytest.raises(Corrupt):
                back_up(house.folder / NAME, target, Rules(is_forced=True))

    assert before == held(target)
    assert [target] == list(target.parent.iterdir())


class damaged:  # noqa: N801 - used as a function
    """A store that somebody wrote past, and that is whole again afterwards."""

    def __init__(self, house: SqliteHouse, statement: str) -> None:
        self._house, self._statement = house, statement

    async def __aenter__(self) -> None:
        await self._house.close()
        self._kept = (self._house.folder / NAME).read_bytes()
        connection = apsw.Connection(str(self._house.folder / NAME))
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(self._statement)
        connection.close()

    async def __aexit__(self, *_: object) -> None:
        (self._house.folder / NAME).write_bytes(self._kept)
        await self._house.open()


@pytest.mark.parametrize("when", ["copying", "verifying"])
async def test_a_backup_can_be_given_up(
    house: SqliteHouse, target: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches may stop it at any moment; nothing is left of it."""
    monkeypatch.setattr(backup, "SLICE_PAGES", 1)
    monkeypatch.setattr(backup, "LOOK_EVERY", 10)

    def watch(what: str, _share: float) -> None:
        if what == when:
            raise Stopping

    with pytest.raises(Stopping):
        back_up(house.folder / NAME, target, Rules(watch=watch))

    assert [] == list(target.parent.iterdir())


async def test_a_copy_that_is_too_slow_is_given_up(
    house: SqliteHouse, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log cannot grow without end beside a copy: at its bound the copy ends."""
    monkeypatch.setattr(backup, "SLICE_PAGES", 1)
    monkeypatch.setattr(backup, "MAX_LOG_BYTES", 100_000)
    other = apsw.Connection(str(house.folder / NAME))

    def watch(_what: str, _share: float) -> None:
        other.execute("INSERT INTO meta VALUES (randomblob(8), hex(zeroblob(20000)))")

    with pytest.raises(StorageFailed, match="too slow"):
        back_up(house.folder / NAME, target, Rules(watch=watch))
    other.close()

    assert [] == list(target.parent.iterdir())


async def test_leftovers_of_the_killed_are_swept(house: SqliteHouse, target: Path) -> None:
    """What a killed maker left is removed by the next backup; what a living one works on is not."""
    left = target.parent / f"{PART}dead"
    for suffix in ("", "-wal", "-shm", "-journal"):
        left.with_name(left.name + suffix).write_bytes(b"half")
    with backup._part(target.parent) as living:  # noqa: SLF001 - another maker's, at work
        back_up(house.folder / NAME, target, Rules())

        assert {living.path, target} == set(target.parent.iterdir())
    assert [target] == list(target.parent.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from tidegate.store import backup
backup.SLICE_PAGES, backup.LOOK_EVERY = 1, 10
store, target, when, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
def watch(what, share):
    global count
    count -= what == when
    if not count:
        os.kill(os.getpid(), signal.SIGKILL)
backup.back_up(store, target, backup.Rules(watch=watch, is_forced=True))
"""


@pytest.mark.parametrize(
    ("when", "count"), [("copying", 1), ("copying", 20), ("verifying", 1), ("verifying", 50)]
)
async def test_a_killed_maker_leaves_what_was_there(
    house: SqliteHouse, target: Path, when: str, count: int
) -> None:
    """Killed at any moment, the backup that was there is whole; the next one removes what is left."""
    store = house.folder / NAME
    back_up(store, target, Rules())
    before = target.read_bytes()
    await work(house.store, offer(key="later"))
    arguments = [KILLED, store, target, when, count]
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", *map(str, arguments)], check=False, timeout=15
    )

    assert -signal.SIGKILL == done.returncode
    assert before == target.read_bytes()
    assert 1 == len(list(target.parent.glob(f"{PART}*")))
    back_up(store, target, Rules(is_forced=True))
    assert [target] == list(target.parent.iterdir())
    assert held(store) == held(target)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_full_disk_leaves_nothing(house: SqliteHouse, tmp_path: Path) -> None:
    """On a target that is too small, and on a disk of its own, the backup is refused and nothing stays there."""
    place = tmp_path / "small"
    place.mkdir()
    for size, is_enough in (("128k", False), ("8m", True)):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        subprocess.run(mount, check=True, timeout=10)  # noqa: ASYNC221 - at once
        try:
            if is_enough:
                back_up(house.folder / NAME, place / "copy.db", Rules())
            else:
                with pytest.raises(DiskFull):
                    back_up(house.folder / NAME, place / "copy.db", Rules())
            assert is_enough == bool(list(place.iterdir()))
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)  # noqa: ASYNC221, S607


async def test_an_interrupted_restore_is_told(house: SqliteHouse, target: Path) -> None:
    """While a restore is half done the store is not read as if nothing were."""
    (house.folder / f"{NAME}.restored-x").touch()
    with pytest.raises(Exception, match="interrupted"):
        back_up(house.folder / NAME, target, Rules())


async def test_a_folder_without_a_store(tmp_path: Path, target: Path) -> None:
    """Where there is no store none is made."""
    with pytest.raises(NotFound):
        back_up(tmp_path / NAME, target, Rules())

    assert not (tmp_path / NAME).exists()
