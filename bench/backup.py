"""How a store is best copied while it is written to: what each way costs those who write, and the log.

A store of the given size is filled; then four writers append all the time, first with nothing beside them, then beside
each of three ways to copy: *reader* (the online backup API, one read transaction of a connection of its own), *vacuum*
(VACUUM INTO, likewise), *writer* (the online backup API in slices on the connection that writes); and beside *nightly*,
which copies as *reader* does, syncs as it goes, and then verifies. Told are the time of
each copy, the latency of appends meanwhile, how large the log became, and the CPU of the process.

Run: python bench/backup.py [--mb N] [--folder DIR]. To reach, for the product (*nightly*): append p99 at most
50 ms, though four writers append without a rest.
"""

import argparse
import asyncio
import resource
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread
import apsw

from report import MIB, Goal, finish, percentiles, say
from tidegate.bounded import Registry
from tidegate.clock import SystemClock
from tidegate.domain.entry import Assistant, User
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.run import Lane, Lease, Origin, Step
from tidegate.domain.session import PolicyName
from tidegate.runtime.nightly import PAUSE_S
from tidegate.store.admission import Admission, Birth
from tidegate.store.backup import Rules, back_up
from tidegate.store.connection import open_reader
from tidegate.store.file import size_of
from tidegate.store.sqlite import NAME, SqliteStore

WRITERS = 4
BODY = 4_000
STEP = 100
SLICE_PAGES = 500
UNDISTURBED_S = 5.0
WATCH_S = 0.05

Copy = Callable[[SqliteStore, Path], Awaitable[None]]


class Measured(NamedTuple):
    """What one way cost; latencies in ms."""

    seconds: float
    cpu_s: float
    appends: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    log_mb: float
    copy_mb: float


async def by_reader(store: SqliteStore, target: Path) -> None:
    """Copy in one read transaction of a connection of its own."""

    def copy() -> None:
        source, made = open_reader(store.path), apsw.Connection(str(target))
        with made.backup("main", source, "main") as backup:
            backup.step()
        made.close()
        source.close()

    await anyio.to_thread.run_sync(copy)


async def by_nightly(store: SqliteStore, target: Path) -> None:
    """Do all that the nightly backup does: copy, verify politely, sync, name."""

    def watch(what: str, _share: float) -> None:
        if what == "verifying":
            time.sleep(PAUSE_S)

    await anyio.to_thread.run_sync(partial(back_up, store.path, target, Rules(watch=watch)))


async def by_vacuum(store: SqliteStore, target: Path) -> None:
    """Let SQLite write a compact copy."""

    def copy() -> None:
        source = open_reader(store.path)
        source.execute("VACUUM INTO ?", (str(target),))
        source.close()

    await anyio.to_thread.run_sync(copy)


async def by_writer(store: SqliteStore, target: Path) -> None:
    """Copy in slices on the connection that writes."""
    made = apsw.Connection(str(target))
    backup = await store.writer.maintain(lambda connection: made.backup("main", connection, "main"))
    while not await store.writer.maintain(lambda _: backup.step(SLICE_PAGES)):
        pass
    await store.writer.maintain(lambda _: backup.close())
    made.close()


async def open_lease(store: SqliteStore, key: str) -> Lease:
    """Return the lease of a run in a session of its own."""
    birth = Birth(policy=PolicyName.CHAT, agent="main")
    await store.admit(
        Admission(
            key=key, birth=birth, lane=Lane.INTERACTIVE, origin=Origin.MESSAGE, bodies=[User(text="go")]
        )
    )
    claimed = await store.claim(Lane.INTERACTIVE)
    if claimed is None:
        raise RuntimeError
    return claimed.run.lease


async def fill(store: SqliteStore, size: int) -> None:
    """Append until the file has about *size* bytes."""
    left = size

    async def append(lease: Lease) -> None:
        nonlocal left
        while left > 0:
            left -= STEP * BODY
            await store.append(lease, Step(bodies=[Assistant(text="x" * BODY) for _ in range(STEP)]))

    leases = [await open_lease(store, f"full-{number}") for number in range(WRITERS)]
    async with asyncio.TaskGroup() as tasks:
        for lease in leases:
            tasks.create_task(append(lease))
    while await store.compact_file():
        pass


async def measured(store: SqliteStore, leases: list[Lease], copy: Copy | None, target: Path) -> Measured:
    """Let everybody write while a copy is made, or for a while."""
    latencies: list[float] = []
    largest = 0
    is_over = asyncio.Event()

    async def write(lease: Lease) -> None:
        while not is_over.is_set():
            started = time.perf_counter()
            await store.append(lease, Step(bodies=[Assistant(text="y" * BODY)]))
            latencies.append(time.perf_counter() - started)

    async def watch() -> None:
        nonlocal largest
        while not is_over.is_set():
            largest = max(largest, size_of(store.path.with_name(NAME + "-wal")))
            await asyncio.sleep(WATCH_S)

    async with asyncio.TaskGroup() as tasks:
        for lease in leases:
            tasks.create_task(write(lease))
        tasks.create_task(watch())
        started, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        await (asyncio.sleep(UNDISTURBED_S) if copy is None else copy(store, target))
        seconds, ended = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
        is_over.set()
    found = percentiles(latencies)
    return Measured(
        seconds=round(seconds, 2),
        cpu_s=round(ended.ru_utime + ended.ru_stime - cpu.ru_utime - cpu.ru_stime, 2),
        appends=len(latencies),
        p50_ms=found["p50"],
        p99_ms=found["p99"],
        max_ms=found["max"],
        log_mb=round(largest / MIB, 1),
        copy_mb=round(size_of(target) / MIB, 1),
    )


async def compared(folder: Path, size: int) -> dict[str, Measured]:
    """Measure each way on one store."""
    store = await SqliteStore.open(folder, SystemClock(), DEFAULTS, Registry())
    say(f"filling {size / MIB:,.0f} MiB")
    await fill(store, size)
    leases = [await open_lease(store, f"busy-{number}") for number in range(WRITERS)]
    found: dict[str, Measured] = {}
    ways: dict[str, Copy | None] = {
        "undisturbed": None,
        "reader": by_reader,
        "vacuum": by_vacuum,
        "writer": by_writer,
        "nightly": by_nightly,
    }
    for name, copy in ways.items():
        target = folder / f"{name}.db"
        found[name] = await measured(store, leases, copy, target)
        say(f"{name}: {found[name]}")
        target.unlink(missing_ok=True)
        while await store.compact_file():
            pass
    await store.close()
    return found


def main() -> None:
    """Measure and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=1_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-", dir=options.folder))
    try:
        found = asyncio.run(compared(folder, options.mb * MIB))
    finally:
        shutil.rmtree(folder)
    goal = Goal("append p99 beside a nightly backup, ms", found["nightly"].p99_ms, 50)
    conditions = {"mb": options.mb, "writers": WRITERS, "entry_bytes": BODY, "synchronous": "FULL"}
    finish("backup", conditions, {name: one._asdict() for name, one in found.items()}, [goal])


if __name__ == "__main__":
    main()
