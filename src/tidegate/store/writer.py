"""The one thread that writes: bounded queues, group commit, and who gets told what became of it.

Up to 256 waiting operations share one transaction, each in a savepoint of its own, so that one failing operation does
not fail its group. Background work runs only while nobody waits in the foreground, or once it has waited for 50 ms, and
in slices of 5 ms. Results reach the event loop in one call for each group, in the order of the commits. A cancelled
caller does not undo its write: it is simply not told.

After the first failed fsync nothing is acknowledged any more: what the kernel then holds is unknown, and repeating the
call would hide that (https://wiki.postgresql.org/wiki/Fsync_Errors). The same is so once the thread itself has failed,
outside of any operation, and once the file is no database any more or takes no write at all: then everybody who waits
is told so at once, as `StoreBroken`.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar, cast

import anyio
import apsw

from tidegate.clock import Clock
from tidegate.domain.event import Audience
from tidegate.domain.policy import Policies
from tidegate.errors import (
    Broken,
    Busy,
    Corrupt,
    DiskFull,
    DiskReadOnly,
    MemoryShort,
    StorageFailed,
    StoreBroken,
    TidegateError,
)
from tidegate.histogram import Histogram
from tidegate.store.connection import SqliteTx, open_reader, pragma
from tidegate.store.file import fold
from tidegate.store.reserve import Reserve
from tidegate.store.sql import QUERIES
from tidegate.store.tx import Effects, Tx

T = TypeVar("T")

GROUP = 256
MAX_JOBS = 4_096  # a queue; beyond it callers wait
MAX_BYTES = 64 << 20
PATIENCE_S = 10.0  # how long a caller waits for room
BACKGROUND_WAITS_S = 0.05
SLICE_S = 0.005

_FSYNC_FAILED = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}
_NO_ROOM = {apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMOPEN}  # of the index of the log
#: what a damaged page, or the whole file, is answered with
_DAMAGED = (apsw.CorruptError, apsw.NotADBError, apsw.IOError)
LOOK_S = 1.0  # between two looks at whether the whole store is broken
_GROUP_FAILED = (apsw.FullError, apsw.IOError, apsw.NoMemError, apsw.ReadOnlyError, apsw.CantOpenError)


class _HalfDoneError(Exception):
    """An operation failed after its first change, in a group without savepoints."""


class Job(Generic[T]):
    """An operation that waits for the writer's thread, and what became of it."""

    __slots__ = (
        "effects",
        "error",
        "future",
        "is_background",
        "is_outside",
        "is_relief",
        "operation",
        "queued_at",
        "size",
        "value",
    )

    def __init__(self, operation: Callable[..., T], future: "asyncio.Future[T]", want: "Want") -> None:
        self.operation = operation
        self.future = future
        self.size = want.size
        self.is_background = want.is_background
        self.is_outside = want.is_outside
        self.is_relief = want.is_relief
        self.queued_at = time.monotonic()
        self.value: T | None = None
        self.error: Exception | None = None
        self.effects: Effects | None = None

    def fail(self, error: Exception) -> None:
        """Keep what went wrong, in our words; nothing was changed."""
        self.error = translate(error)
        if self.error is not error:
            self.error.__cause__ = error
        self.effects = None

    def settle(self) -> None:
        """Tell the caller, unless it has gone."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(cast("T", self.value))


class Want(NamedTuple):
    """How a job wants to be run."""

    size: int = 0
    is_background: bool = False
    #: on the bare connection, outside of any transaction
    is_outside: bool = False
    #: it makes room, so that on a full disk it may take the reserve
    is_relief: bool = False


class Queue:
    """Jobs in order, bounded in count and bytes."""

    def __init__(self) -> None:
        self.jobs: deque[Job[Any]] = deque()
        self.bytes = 0

    def has_room(self, size: int) -> bool:
        """Whether one more job of *size* bytes fits; an empty queue takes any."""
        return not self.jobs or (len(self.jobs) < MAX_JOBS and self.bytes + size <= MAX_BYTES)

    def push(self, job: Job[Any]) -> None:
        """Add a job at the end."""
        self.jobs.append(job)
        self.bytes += job.size

    def take(self, count: int) -> list[Job[Any]]:
        """Take up to *count* jobs that share a transaction, or one that wants none."""
        taken: list[Job[Any]] = []
        while self.jobs and len(taken) < count and not (taken and self.jobs[0].is_outside):
            taken.append(self.jobs.popleft())
            self.bytes -= taken[-1].size
            if taken[-1].is_outside:
                break
        return taken

    def take_all(self) -> list[Job[Any]]:
        """Take every job, which nobody will carry out."""
        taken = list(self.jobs)
        self.jobs.clear()
        self.bytes = 0
        return taken

    def put_back(self, jobs: list[Job[Any]]) -> None:
        """Return jobs, that a slice had no time for, to the front."""
        self.jobs.extendleft(reversed(jobs))
        self.bytes += sum(job.size for job in jobs)


class Writer:
    """Owns the write connection and its thread."""

    def __init__(
        self,
        connection: apsw.Connection,
        clock: Clock,
        policies: Policies,
        publish: Callable[[Effects], None],
        reserve: Reserve | None = None,
    ) -> None:
        self.policies = policies
        #: who is told what happens to sessions and runs
        self.audience = Audience()
        self.reserve = reserve or Reserve(None)
        self._page_bytes = pragma(connection, "page_size")
        #: of the database, in use after the last commit
        self.live_bytes = _live_pages(connection) * self._page_bytes
        #: how long groups took
        self.seconds = Histogram()
        #: told in the loop about each group: seconds in the writer, operations
        self.on_commit: Callable[[float, int], None] = lambda _seconds, _count: None
        #: told in the loop when nothing more can be acknowledged
        self.on_broken: Callable[[StoreBroken], None] = lambda _error: None
        #: told in the loop of a listener that has failed
        self.on_fault: Callable[[Exception], None] = lambda _error: None
        self.foreground = Queue()
        self.background = Queue()
        self._connection = connection
        self._clock = clock
        self._publish = publish
        self._lock = threading.Lock()
        self._bell: SimpleQueue[None] = SimpleQueue()  # holds one ring at most
        self._is_closing = False
        self._is_rung = False
        self._background_at = -math.inf  # the end of its last slice
        self._broken: StoreBroken | None = None
        self._looks_s = -math.inf
        #: operations whose callers have not been told yet; counted in the loop
        self.untold = 0
        #: what the thread has taken and not handed back yet
        self._at_work: list[Job[Any]] = []
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="tidegate-writer", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> StoreBroken | None:
        """Why nothing is acknowledged any more; None while things are."""
        return self._broken

    async def write(
        self,
        operation: Callable[[Tx], T],
        *,
        size: int = 0,
        is_background: bool = False,
        is_relief: bool = False,
    ) -> T:
        """Run an operation in a transaction; it is durable when this returns.

        While the reserve is out, one that brings *size* bytes is refused, so that those that make room have it.

        Raises:
            Busy: The queue stayed full for 10 s.
            DiskFull, DiskReadOnly, StorageFailed, Broken: See the port.
        """
        job = await self._enqueue(operation, Want(size, is_background, is_relief=is_relief))
        return await job.future

    async def write_each(
        self, operations: Sequence[Callable[[Tx], T]], *, is_background: bool, is_relief: bool = False
    ) -> list[T]:
        """Run operations that share commits but not failures; the first error is raised once all are done."""
        want = Want(is_background=is_background, is_relief=is_relief)
        jobs = [await self._enqueue(operation, want) for operation in operations]
        if not jobs:
            return []
        await asyncio.wait([job.future for job in jobs])
        errors = [error for job in jobs if (error := job.future.exception())]
        if errors:
            raise errors[0]
        return [job.future.result() for job in jobs]

    async def maintain(self, operation: Callable[[apsw.Connection], T]) -> T:
        """Run background work on the bare connection, between transactions."""
        job = await self._enqueue(operation, Want(is_background=True, is_outside=True, is_relief=True))
        return await job.future

    async def close(self) -> None:
        """Finish what is queued, then end the thread and close the connection."""
        with self._lock:
            self._is_closing = True
        self._bell.put(None)
        await anyio.to_thread.run_sync(self._thread.join)
        try:
            self._connection.close()
        except apsw.Error:
            if not self._broken:  # which is what has been said already
                raise

    def suspect(self) -> None:
        """Look whether the whole store is broken, since a read has met damage."""
        now = time.monotonic()
        if now - self._looks_s < LOOK_S or self._broken or self._is_closing:
            return
        self._looks_s = now
        with self._lock:
            self.foreground.push(Job(self._look, self._loop.create_future(), Want(is_outside=True)))
        self.untold += 1
        self._bell.put(None)

    async def _enqueue(self, operation: Callable[..., T], want: Want) -> Job[T]:
        queue = self.background if want.is_background else self.foreground
        if not queue.has_room(want.size):
            await self._wait_for_room(queue, want.size)
        job = Job(operation, self._loop.create_future(), want)
        with self._lock:
            if self._broken or self._is_closing:
                raise self._broken or StorageFailed("the store is closed")
            queue.push(job)
        self.untold += 1
        if not self._is_rung:
            self._is_rung = True
            self._loop.call_soon(self._ring)
        return job

    def _ring(self) -> None:
        """Wake the thread, once for all that one turn of the loop has enqueued, when the loop is about to rest."""
        self._is_rung = False
        if self._bell.empty():
            self._bell.put(None)

    async def _wait_for_room(self, queue: Queue, size: int) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not queue.has_room(size):
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            raise Busy(retry_after_s=5) from None

    # On the writer's thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while jobs := self._wait():
                self._serve(jobs)
        except BaseException as error:  # noqa: BLE001 - the wall of the thread: nobody may wait for it in vain
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            self._broken = self._broken or StoreBroken(f"the thread that writes has failed: {said}")
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._give_up, self._at_work)

    def _serve(self, jobs: list[Job[Any]]) -> None:
        self._at_work = jobs
        started = time.monotonic()
        ends_at = started + SLICE_S if jobs[0].is_background else math.inf
        done = self._carry_out(jobs, ends_at)
        damaged = [job for job in jobs[:done] if isinstance(job.error, StorageFailed)]
        if damaged and not self._broken:
            self._look(self._connection)
            for job in damaged:
                job.error = self._broken or job.error
        ended = time.monotonic()
        with self._lock:
            self.background.put_back(jobs[done:])
        if jobs[0].is_background:
            self._background_at = ended
        self._loop.call_soon_threadsafe(self._tell, jobs[:done], ended - started)
        self._at_work = []

    def _wait(self) -> list[Job[Any]]:
        """Wait for the next jobs; none are left when the store is closed."""
        while True:
            with self._lock:
                if self._is_background_turn() or not self.foreground.jobs:
                    jobs = self.background.take(GROUP)
                else:
                    jobs = self.foreground.take(GROUP)
                if jobs or self._is_closing:
                    return jobs
            self._bell.get()

    def _is_background_turn(self) -> bool:
        """Whether background work has waited long enough: for its first slice, and for each one after it."""
        waiting = self.background.jobs
        since = max(waiting[0].queued_at, self._background_at) if waiting else math.inf
        return time.monotonic() - since > BACKGROUND_WAITS_S

    def _carry_out(self, jobs: list[Job[Any]], ends_at: float) -> int:
        """Run jobs and return how many had time; whatever goes wrong is kept in the jobs."""
        try:
            if self._broken:
                raise self._broken
            return self._transact(jobs, ends_at)
        except (apsw.Error, TidegateError) as error:
            if _is_fsync_failure(error):
                self._broken = StoreBroken(f"the disk did not confirm a write: {error}")
            if len(jobs) == 1 and jobs[0].is_relief and is_full(error) and self.reserve.release():
                with suppress(apsw.Error):
                    fold(self._connection)
                return self._carry_out(jobs, ends_at)
            if self._broken or len(jobs) == 1:
                for job in jobs:
                    job.fail(self._broken or error)
            else:
                # One of them filled the disk or hit a bad page; alone, the others may still fit.
                for job in jobs:
                    self._carry_out([job], math.inf)
        return len(jobs)

    def _look(self, connection: apsw.Connection) -> None:
        """Tell damage in one place from a store that is no database any more, or takes no write at all."""
        try:
            fresh = open_reader(Path(connection.filename))  # it has no page in its cache
            try:
                fresh.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            finally:
                fresh.close()
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute(
                    QUERIES["meta_kept"], {"key": "looked_at", "value": str(self._clock.now())}
                )
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except _DAMAGED as error:
            if not is_full(error):
                self._broken = self._broken or StoreBroken(
                    f"the whole store is broken: {error}", hint="restore a backup: `tidegate restore FILE`"
                )

    def _transact(self, jobs: list[Job[Any]], ends_at: float) -> int:
        if jobs[0].is_outside:
            self._run_outside(jobs[0])
            return 1
        try:
            return self._commit(jobs, ends_at, is_guarded=False)
        except _HalfDoneError:
            return self._commit(jobs, ends_at, is_guarded=True)

    def _commit(self, jobs: list[Job[Any]], ends_at: float, *, is_guarded: bool) -> int:
        done = 0
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                self._run(job, is_guarded=is_guarded)
                done += 1
                if time.monotonic() > ends_at:
                    break
            pages = _live_pages(self._connection)  # within the transaction it costs no lock
            self._connection.execute("COMMIT")
            self.live_bytes = pages * self._page_bytes
        except (apsw.Error, _HalfDoneError):
            # After FULL, IOERR or NOMEM SQLite may have rolled back by itself; what went wrong first is what counts.
            if self._connection.in_transaction:
                with suppress(apsw.Error):
                    self._connection.execute("ROLLBACK")
            raise
        return done

    def _run_outside(self, job: Job[Any]) -> None:
        try:
            job.value = job.operation(self._connection)
        except apsw.Error:
            raise
        except Exception as error:  # noqa: BLE001 - the wall of an operation, as below
            job.fail(error)

    def _run(self, job: Job[Any], *, is_guarded: bool) -> None:
        """Run one operation; a savepoint costs more than most reads, so a group gets them only once one fails."""
        if job.size and self.reserve.is_out:
            job.fail(_disk_full())
            return
        tx = SqliteTx(self._connection, self._clock.now(), self.policies, self.audience)
        before = self._connection.total_changes()
        if is_guarded:
            self._connection.execute("SAVEPOINT job")
        try:
            job.value = job.operation(tx)
            job.effects = tx.effects
            job.error = None
        except _GROUP_FAILED:
            raise
        except Exception as error:  # the wall of an operation: its caller is told, its group goes on
            job.fail(error)
            if is_guarded:
                self._connection.execute("ROLLBACK TO job")
            elif self._connection.total_changes() != before:
                raise _HalfDoneError from error
        if is_guarded:
            self._connection.execute("RELEASE job")

    # Back in the loop -----------------------------------------------------------------------------------------------

    def _tell(self, jobs: list[Job[Any]], seconds: float) -> None:
        self.untold -= len(jobs)
        self._room.set()
        for job in jobs:
            try:
                if job.effects is not None:
                    self._publish(job.effects)
            except Exception as error:  # noqa: BLE001 - the wall of a listener: the callers are told all the same
                self.on_fault(error)
            job.settle()
        if self._broken:
            self._give_up([])
        self.seconds.observe(seconds)
        self.on_commit(seconds, len(jobs))

    def _give_up(self, jobs: list[Job[Any]]) -> None:
        """Tell everybody who waits that nothing is acknowledged any more."""
        broken = self._broken or StoreBroken()
        with self._lock:
            waiting = [*jobs, *self.foreground.take_all(), *self.background.take_all()]
        self.untold = 0
        self._room.set()
        for job in waiting:
            job.error = broken
            job.settle()
        self.on_broken(broken)


def _is_fsync_failure(error: Exception) -> bool:
    return isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in _FSYNC_FAILED


def is_full(error: Exception) -> bool:
    """Whether an operation failed for want of room on the disk."""
    if isinstance(error, apsw.IOError):
        return getattr(error, "extendedresult", 0) in _NO_ROOM
    return isinstance(error, apsw.FullError)


def _live_pages(connection: apsw.Connection) -> int:
    return pragma(connection, "page_count") - pragma(connection, "freelist_count")


def _disk_full() -> DiskFull:
    return DiskFull(hint="free some space; nothing that was acknowledged is lost", retry_after_s=10)


def translate(error: Exception) -> Exception:
    """Say in our words what the database said; anything else is passed on."""
    match error:
        case apsw.FullError() | apsw.IOError() if is_full(error):
            return _disk_full()
        case apsw.ReadOnlyError() | apsw.CantOpenError():
            return DiskReadOnly(f"the store cannot be written to: {error}", retry_after_s=10)
        case apsw.IOError():
            return StorageFailed(f"the disk failed: {error}")
        case apsw.CorruptError() | apsw.NotADBError():
            return Corrupt(f"the database is damaged: {error}", hint="restore a backup")
        case apsw.Error():
            is_short = isinstance(error, apsw.NoMemError)
            return MemoryShort() if is_short else Broken(f"the store refused: {error}")
        case _:
            return error
