"""What a gateway costs that has nothing to do: memory, time to ready, the command line; empty and with a long history.

The history is made through the real store: sessions are admitted, claimed, answered, finished, packed, archived and
trimmed, as a gateway and its sweep would do it, with a retention that nothing in it reaches.

Run: python bench/idle.py [--archived N] [--quick]. To reach: idle at most 45 MB (MiB), ready in at most 2 s, `tidegate
--help` in at most 0.3 s of CPU; with the history, ready in at most 1.2 x the time of an empty store.
"""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from child import Child, compile_bytecode, environment, folder
from report import MIB, Goal, finish, say, spread
from tidegate.bounded import Registry
from tidegate.clock import SystemClock
from tidegate.domain.entry import Assistant, User
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.run import Lane, Origin, Step, Usage
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session
from tidegate.ids import SessionId
from tidegate.runtime import mover
from tidegate.store.admission import Admission, Birth
from tidegate.store.move import Move
from tidegate.store.sqlite import SqliteStore

SETTLE_S = 3.0  # after ready
AT_ONCE = 128  # below the 200 sessions of a kind that may run
CHUNK = 5_000
PAGE = 128
CARRIERS = 8


class Idle(NamedTuple):
    """How one gateway came up and what it was some seconds later."""

    ready_s: float
    rss_mib: float
    cpu_s: float


def idle(state: Path, settle_s: float) -> Idle:
    """Start a gateway on a folder, wait, look and stop it."""
    child = Child(state)
    try:
        time.sleep(settle_s)
        return Idle(child.ready_s, child.rss_bytes / MIB, child.cpu_s)
    finally:
        child.stop()


def help_cpu_s() -> float:
    """Return the CPU time of ``tidegate --help`` in a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "tidegate", "--help"]
    subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def archive_many(state: Path, count: int) -> dict[str, float]:
    """Fill a store with archived sessions and return what that took."""
    store = await SqliteStore.open(state, SystemClock(), DEFAULTS, Registry())
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        for first in range(0, count, CHUNK):
            numbers = range(first, min(count, first + CHUNK))
            await _archive(store, await _talk_all(store, numbers))
            await _trim(store)
            say(f"{numbers.stop} of {count} archived after {time.perf_counter() - started:.0f} s")
        while await store.compact_file():
            pass
        storage = await store.storage()
    finally:
        await store.close()
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    return {
        "sessions": count,
        "wall_s": round(wall_s, 1),
        "cpu_ms_per_session": round(1_000 * cpu_s / max(1, count), 3),
        "main_file_bytes": storage.main,
        "bytes_per_session": round(storage.main / max(1, count)),
    }


async def _talk_all(store: SqliteStore, numbers: range) -> list[Session]:
    """Have so many sessions at once until each has had its turn."""
    waiting = iter(numbers)
    done: list[Session] = []

    async def client() -> None:
        done.extend([await _talk(store, number) for number in waiting])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(client())
    return done


async def _talk(store: SqliteStore, number: int) -> Session:
    """Let one hook run once: a question, an answer, done."""
    admission = Admission(
        key=f"hook:{number}",
        birth=Birth(policy=PolicyName.HOOK, agent="main"),
        lane=Lane.CRON,
        origin=Origin.HOOK,
        bodies=[User(text=f"What is new at {number}? " + "Look around and say it in a few words. " * 5)],
    )
    await store.admit(admission)
    claimed = await store.claim(Lane.CRON)
    if claimed is None:
        raise RuntimeError("there was nothing to claim")
    usage = Usage(input_tokens=60, output_tokens=90)
    answer = Assistant(text=f"Nothing much at {number}. " + "It all went as it did the last time. " * 8)
    last = Step(bodies=[answer], usage=usage, model="bench")
    await store.finish(claimed.run.lease, Outcome.OK, step=last)
    head = store.session(claimed.session.key)
    if head is None:
        raise RuntimeError("the session has gone")
    return head


async def _archive(store: SqliteStore, sessions: Sequence[Session]) -> None:
    """Archive pages of sessions, a few pages at once."""
    pages = iter([sessions[first : first + PAGE] for first in range(0, len(sessions), PAGE)])

    async def carry() -> None:
        for page in pages:
            moves = [Move(session=session, to=DueTo.ARCHIVED, is_asked=True) for session in page]
            for carried in await mover.carry_out(store, moves):
                if not carried.steps:
                    raise RuntimeError(f"a session was not archived: {carried.settled}")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CARRIERS):
            tasks.create_task(carry())


async def _trim(store: SqliteStore) -> None:
    """Let go of the rows that segments stand for, a page at once, so that the trims share commits."""
    while found := await store.trims(SessionId(""), PAGE):
        async with asyncio.TaskGroup() as tasks:
            for session in found:
                tasks.create_task(store.trim(session))


def compare(path: Path, archived: int, starts: int) -> dict[str, object]:
    """Start gateways on an empty store and on one with a history, in turns."""
    full = path / "full"
    full.mkdir(mode=0o700)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        made = runner.run(archive_many(full, archived))
    os.sync()
    empty = path / "empty"
    for state in (empty, full):  # a first start writes what later ones, which are compared, find
        idle(state, SETTLE_S)
    found: dict[str, list[Idle]] = {"empty": [], "full": []}
    for turn in range(starts):
        order = ("empty", "full") if turn % 2 else ("full", "empty")
        for name in order:
            found[name].append(idle(path / name, SETTLE_S if turn == 0 else 0.2))
        say(f"ready: empty {found['empty'][-1].ready_s:.3f} s, full {found['full'][-1].ready_s:.3f} s")
    ready = {name: [one.ready_s for one in starts_of] for name, starts_of in found.items()}
    return {
        "made": made,
        "ready_empty_s": spread(ready["empty"]),
        "ready_full_s": spread(ready["full"]),
        "ready_ratio": round(statistics.median(ready["full"]) / statistics.median(ready["empty"]), 3),
        "rss_empty_mib": round(found["empty"][0].rss_mib, 2),
        "rss_full_mib": round(found["full"][0].rss_mib, 2),
    }


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archived", type=int, default=100_000, help="0 leaves the history out")
    parser.add_argument("--starts", type=int, default=9, help="how often each store is started to compare")
    parser.add_argument("--quick", action="store_true", help="5,000 archived sessions, few starts")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to use; default: the temporary one")
    wanted = parser.parse_args()
    archived, starts = (5_000, 5) if wanted.quick else (wanted.archived, wanted.starts)
    compile_bytecode()
    with folder(wanted.dir) as path:
        helps = [help_cpu_s() for _ in range(5)]
        fresh = [idle(path / f"fresh-{number}", SETTLE_S) for number in range(3)]
        say(f"fresh: {', '.join(f'{one.rss_mib:.1f} MiB, ready in {one.ready_s:.2f} s' for one in fresh)}")
        history = compare(path, archived, starts) if archived else {}
    figures = {
        "idle_rss_mib": spread([one.rss_mib for one in fresh]),
        "ready_s": spread([one.ready_s for one in fresh]),
        "cpu_until_idle_s": spread([one.cpu_s for one in fresh]),
        "help_cpu_s": spread(helps),
        "history": history,
    }
    goals = [
        Goal("idle RSS, MiB", statistics.median(one.rss_mib for one in fresh), 45.0),
        Goal("time to ready, s", statistics.median(one.ready_s for one in fresh), 2.0),
        Goal("CPU of --help, s", statistics.median(helps), 0.3),
    ]
    if archived:
        goals.append(Goal("time to ready with a history, to empty", float(str(history["ready_ratio"])), 1.2))
    conditions = {
        "idle": f"{SETTLE_S:g} s after ready, no request but /readyz",
        "durability": "WAL, synchronous=FULL",
        "entries_per_session": 2,
        "concurrency": AT_ONCE,
        "archived": archived,
        "bytecode": "compiled before",
    }
    finish("idle", conditions, figures, goals)


if __name__ == "__main__":
    main()
