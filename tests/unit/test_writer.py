import math
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import apsw
import pytest

from desk import Desk, opened
from tidegate.errors import Broken, Busy, Corrupt, DiskFull, DiskReadOnly, StorageFailed, StoreBroken
from tidegate.store import writer
from tidegate.store.file import fold
from tidegate.store.reserve import NAME, Reserve
from tidegate.store.tx import Effects, Tx
from tidegate.store.writer import translate

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


def page_limit(more: int | None) -> Callable[[apsw.Connection], None]:
    """Return an operation that lets the file grow by so many pages and no further."""

    def operation(connection: apsw.Connection) -> None:
        pages = connection.pragma("page_count")
        assert isinstance(pages, int)
        connection.pragma("max_page_count", (1 << 32) - 2 if more is None else pages + more)

    return operation


def fsync_failure() -> apsw.IOError:
    """Return what the driver raises when the disk does not confirm a write."""
    error = apsw.IOError("disk I/O error")
    error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]  # its stub leaves it out
    return error


def no_room_for_the_index() -> apsw.IOError:
    """Return what the driver raises when the index of the log cannot grow on a full disk."""
    error = apsw.IOError("disk I/O error")
    error.extendedresult = apsw.SQLITE_IOERR_SHMSIZE  # type: ignore[attr-defined]  # its stub leaves it out
    return error


async def test_a_group_shares_a_commit(tmp_path: Path) -> None:
    """What waits together is committed together, and each caller gets its own answer."""
    async with opened(tmp_path) as desk:
        write = desk.writer.write
        found = await desk.together(*(write(desk.keep(key)) for key in "abc"))
        assert found == ["a", "b", "c"]
        assert desk.groups == [1, 3]
        assert desk.kept() == ["a", "b", "c"]


@pytest.mark.parametrize("error", [Broken("no"), ValueError("no"), apsw.ConstraintError("no")], ids=type)
async def test_a_failure_stays_alone(tmp_path: Path, error: Exception) -> None:
    """An operation that fails after a change is undone and told; its group is committed without it."""
    async with opened(tmp_path) as desk:
        write = desk.writer.write
        failing = _swallowed(write(desk.fail("bad", error)))
        one, failed, other = await desk.together(write(desk.keep("a")), failing, write(desk.keep("b")))
        assert (one, other) == ("a", "b")
        assert isinstance(failed, Broken if isinstance(error, apsw.Error) else type(error))
        assert desk.kept() == ["a", "b"]
        assert len(desk.told) == 3


async def _swallowed(write: Coroutine[object, object, object]) -> object:
    try:
        return await write
    except Exception as error:  # noqa: BLE001 - the error is what is looked at
        return error


async def test_an_answer_comes_after_the_word(tmp_path: Path) -> None:
    """Listeners have heard of each commit, in order, before its caller goes on."""
    async with opened(tmp_path) as desk:
        for count in range(1, 4):
            await desk.writer.write(desk.keep(str(count)))
            assert len(desk.told) == count


async def test_a_cancelled_caller_does_not_undo(tmp_path: Path) -> None:
    """A write whose caller has gone is written and told all the same."""
    async with opened(tmp_path) as desk:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await desk.writer.write(desk.keep("a"))
        assert scope.cancelled_caught
        await desk.writer.write(desk.keep("b"))
        assert desk.kept() == ["a", "b"]
        assert len(desk.told) == 2


async def test_background_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Background work that has not waited long runs after everything in the foreground."""
    monkeypatch.setattr(writer, "BACKGROUND_WAITS_S", math.inf)
    async with opened(tmp_path) as desk:
        later = partial(desk.writer.write, is_background=True)
        await desk.together(later(desk.keep("later")), *(desk.writer.write(desk.keep(key)) for key in "ab"))
        assert desk.done == ["a", "b", "later"]


async def test_background_does_not_starve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Background work that has waited long enough runs before the foreground."""
    monkeypatch.setattr(writer, "BACKGROUND_WAITS_S", -1.0)
    async with opened(tmp_path) as desk:
        later = partial(desk.writer.write, is_background=True)
        await desk.together(desk.writer.write(desk.keep("a")), later(desk.keep("later")))
        assert desk.done == ["later", "a"]


async def test_the_foreground_does_not_starve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one overdue slice of a long backlog the foreground has its turn, before the next slice."""
    monkeypatch.setattr(writer, "BACKGROUND_WAITS_S", 60.0)
    monkeypatch.setattr(writer, "SLICE_S", -1.0)
    async with opened(tmp_path) as desk:
        later = partial(desk.writer.write, is_background=True)

        async def overdue() -> None:
            for job in desk.writer.background.jobs:
                job.queued_at -= 120.0

        write = desk.writer.write
        await desk.together(later(desk.keep("1")), later(desk.keep("2")), overdue(), write(desk.keep("a")))
        assert desk.done == ["1", "a", "2"]


async def test_background_runs_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Background work gives way after its slice; what had no time runs next, in its order."""
    monkeypatch.setattr(writer, "SLICE_S", -1.0)
    async with opened(tmp_path) as desk:
        later = partial(desk.writer.write, is_background=True)
        await desk.together(*(later(desk.keep(key)) for key in "abc"))
        assert (desk.done, desk.groups) == (["a", "b", "c"], [1, 1, 1, 1])


@pytest.mark.parametrize(("name", "bound"), [("MAX_JOBS", 1), ("MAX_BYTES", 10)])
async def test_a_full_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, bound: int) -> None:
    """Beyond its bound, in count or bytes, a queue takes nothing more, and who cannot wait is told."""
    monkeypatch.setattr(writer, name, bound)
    monkeypatch.setattr(writer, "PATIENCE_S", 0.0)
    async with opened(tmp_path) as desk:
        write = desk.writer.write
        one, other = await desk.together(write(desk.keep("a"), size=10), write(desk.keep("b"), size=1))
        assert one == "a"
        assert isinstance(other, Busy)
        assert desk.kept() == ["a"]


async def test_who_waits_gets_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers at a full queue are let in as it empties."""
    monkeypatch.setattr(writer, "MAX_JOBS", 1)
    async with opened(tmp_path) as desk:
        found = await desk.together(*(desk.writer.write(desk.keep(str(number))) for number in range(9)))
        assert sorted(map(str, found)) == desk.kept() == [str(number) for number in range(9)]


async def test_queues_count_what_they_hold(tmp_path: Path) -> None:
    """The bytes of a queue are those of the jobs that wait in it."""
    async with opened(tmp_path) as desk:
        queue = desk.writer.foreground
        seen: list[tuple[int, int]] = []

        async def look() -> None:
            seen.append((len(queue.jobs), queue.bytes))

        await desk.together(*(desk.writer.write(desk.keep(key), size=7) for key in "ab"), look())
        assert seen == [(2, 14)]
        assert (len(queue.jobs), queue.bytes) == (0, 0)


async def test_a_full_disk(tmp_path: Path) -> None:
    """On a full disk what does not fit is told so and undone; what fits is written; with room all goes on."""
    async with opened(tmp_path) as desk:
        write = desk.writer.write
        await write(desk.keep("before"))
        await desk.writer.maintain(page_limit(8))
        small, large, other = await desk.together(
            write(desk.keep("a")), write(desk.keep("large", 1 << 20)), write(desk.keep("b"))
        )
        assert (small, other) == ("a", "b")
        assert isinstance(large, DiskFull)
        assert desk.kept() == ["a", "b", "before"]
        await desk.writer.maintain(page_limit(None))
        await write(desk.keep("large", 1 << 20))
        assert desk.kept() == ["a", "b", "before", "large"]
        assert desk.broken == []


async def test_an_unconfirmed_write(tmp_path: Path) -> None:
    """After the disk has failed to confirm a write nothing more is acknowledged, and the house is told."""
    async with opened(tmp_path) as desk:
        write = desk.writer.write
        failing = write(desk.fail("bad", fsync_failure()))
        found = await desk.together(write(desk.keep("a")), failing, write(desk.keep("b")))
        assert {type(one) for one in found} == {StoreBroken}
        with pytest.raises(StorageFailed):
            await write(desk.keep("c"))
        assert desk.kept() == []
        assert desk.broken


async def test_a_listener_that_fails(tmp_path: Path) -> None:
    """A listener's failure is not the caller's, nor that of the callers beside it; it is told."""
    async with opened(tmp_path) as desk:
        desk.writer._publish = _refuse  # noqa: SLF001 - the store hands it in
        write = desk.writer.write
        assert await desk.together(write(desk.keep("a")), write(desk.keep("b"))) == ["a", "b"]
        assert [type(error) for error in desk.faults] == [ValueError] * 3
        assert desk.broken == []


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files"), SystemExit()], ids=type)
async def test_a_thread_that_fails(tmp_path: Path, error: BaseException) -> None:
    """Outside of any operation nobody can be told which write has failed: everybody is told, at once, for good."""

    def live_pages(_connection: apsw.Connection) -> int:
        raise error

    async with opened(tmp_path) as desk:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writer, "_live_pages", live_pages)
            later = partial(desk.writer.write, is_background=True)
            found: list[object] = []

            async def submit(write: Coroutine[object, object, object]) -> None:
                found.append(await _swallowed(write))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(submit, desk.writer.write(desk.keep("a")))
                tasks.start_soon(submit, later(desk.keep("b")))
        assert [type(one) for one in found] == [StoreBroken, StoreBroken]
        with pytest.raises(StoreBroken, match=f"the thread that writes has failed: {type(error).__name__}"):
            await desk.writer.write(desk.keep("c"))
        assert desk.kept() == []
        assert len(desk.broken) == 1


async def test_damage_in_one_place(tmp_path: Path) -> None:
    """One operation that meets a damaged page fails alone; a store that still takes a write is not broken."""
    async with opened(tmp_path) as desk:
        with pytest.raises(Corrupt):
            await desk.writer.write(desk.fail("bad", apsw.CorruptError("database disk image is malformed")))
        desk.writer.suspect()
        assert await desk.writer.write(desk.keep("a")) == "a"
        assert desk.broken == []


@pytest.mark.parametrize("is_read", [False, True])
async def test_a_store_that_is_no_database_any_more(tmp_path: Path, *, is_read: bool) -> None:
    """A write that meets damage, and a read that does, find out that the whole store is broken."""
    async with opened(tmp_path) as desk:
        await desk.writer.maintain(fold)
        with desk.path.open("r+b") as raw:
            raw.write(b"x" * 4_096)
        if is_read:
            desk.writer.suspect()
            while not desk.broken:
                await anyio.lowlevel.checkpoint()
        else:
            with pytest.raises(StoreBroken, match="the whole store is broken"):
                await desk.writer.write(desk.fail("bad", apsw.CorruptError("malformed")))
        with pytest.raises(StoreBroken):
            await desk.writer.write(desk.keep("a"))
        assert [type(error) for error in desk.broken] == [StoreBroken]


def _refuse(_effects: Effects) -> None:
    raise ValueError


async def test_each_for_itself(tmp_path: Path) -> None:
    """Of several operations those that can be done are done; the first failure is raised after them all."""
    async with opened(tmp_path) as desk:
        operations = [
            desk.keep("a"),
            desk.fail("x", Broken("1")),
            desk.fail("y", Broken("2")),
            desk.keep("b"),
        ]
        with pytest.raises(Broken, match="1"):
            await desk.writer.write_each(operations, is_background=True)
        assert desk.kept() == ["a", "b"]
        assert await desk.writer.write_each([], is_background=True) == []
        assert await desk.writer.write_each([desk.keep("c")], is_background=True) == ["c"]


async def test_outside_of_any_transaction(tmp_path: Path) -> None:
    """Maintenance runs alone between commits; whatever goes wrong in it is told, and the thread goes on."""
    async with opened(tmp_path) as desk:

        def look(connection: apsw.Connection) -> bool:
            return connection.in_transaction

        def fail(_connection: apsw.Connection) -> None:
            raise PermissionError

        write = desk.writer.write
        found = await desk.together(write(desk.keep("a")), desk.writer.maintain(look), write(desk.keep("b")))
        assert found == ["a", False, "b"]
        with pytest.raises(PermissionError):
            await desk.writer.maintain(fail)
        with pytest.raises(Broken):
            await desk.writer.maintain(lambda connection: connection.execute("nonsense"))
        assert await write(desk.keep("c")) == "c"


async def test_closing_finishes_what_waits(tmp_path: Path) -> None:
    """A writer that is closed first does what it has taken, and then takes nothing more."""
    desk = Desk(tmp_path / "tidegate.db")
    later = partial(desk.writer.write, is_background=True)
    await desk.together(*(later(desk.keep(key)) for key in "ab"), desk.writer.write(desk.keep("c")))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later, desk.keep("d"))
        await anyio.wait_all_tasks_blocked()
        await desk.writer.close()
    assert desk.kept() == ["a", "b", "c", "d"]
    with pytest.raises(StorageFailed, match="closed"):
        await desk.writer.write(desk.keep("e"))


async def test_what_makes_room_takes_the_reserve(tmp_path: Path) -> None:
    """On a full disk it gets the reserve and is tried again; until that is back nobody else brings anything of size."""
    async with opened(tmp_path) as desk:
        writer, reserve, path = desk.writer, Reserve(tmp_path / NAME), tmp_path / NAME
        writer.reserve = reserve
        assert reserve.take(64 << 10)

        def once(tx: Tx) -> str:
            if path.exists():
                raise apsw.FullError("database or disk is full")
            return desk.keep("room")(tx)

        with pytest.raises(DiskFull):
            await writer.write(once)
        assert path.exists()
        assert "room" == await writer.write(once, is_relief=True)
        assert reserve.is_out
        with pytest.raises(DiskFull):
            await writer.write(desk.keep("large"), size=1)
        await writer.write(desk.keep("small"))
        assert await writer.maintain(lambda _: reserve.take(64 << 10))
        await writer.write(desk.keep("late"), size=1)
        assert ["late", "room", "small"] == desk.kept()


async def test_it_knows_what_is_in_use(tmp_path: Path) -> None:
    """Pages that were freed count no more at once, whatever the size of the file."""
    async with opened(tmp_path) as desk:
        before = desk.writer.live_bytes
        await desk.writer.write(desk.keep("large", 1 << 20))
        grown = desk.writer.live_bytes
        size = desk.path.with_name(f"{desk.path.name}-wal").stat().st_size
        await desk.writer.write(desk.keep("large", 1))
        assert before + (1 << 20) <= grown <= before + (2 << 20)
        assert desk.writer.live_bytes <= before + 8_192
        assert desk.path.with_name(f"{desk.path.name}-wal").stat().st_size >= size


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (apsw.FullError("x"), DiskFull),
        (apsw.ReadOnlyError("x"), DiskReadOnly),
        (apsw.CantOpenError("x"), DiskReadOnly),
        (apsw.IOError("x"), StorageFailed),
        (no_room_for_the_index(), DiskFull),
        (apsw.CorruptError("x"), Corrupt),
        (apsw.NotADBError("x"), Corrupt),
        (apsw.SQLError("x"), Broken),
        (KeyError("x"), KeyError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_translation(error: Exception, expected: type[Exception]) -> None:
    """What the database says is said in our words; other errors stay what they are."""
    assert type(translate(error)) is expected
