"""What the store costs beside raw SQLite and beside a file of JSON.

A session is: admit, claim, 20 appends (200 B to 4 KB, mean 1.6 KB), the history read after the 10th and the 20th,
finish: 23 transactions, synchronous=FULL. The floors write the same bytes through apsw on one connection, one
transaction an operation, without a queue or a thread, and read rows without decoding them:

- ``raw`` leaves the same rows in the very same schema (constraints, indexes and triggers included);
- ``bare`` has two plain tables, heads and entries, one insert and one update an append: less than the product promises.

Blocks of sessions alternate between the stores (A B C, C B A), so that a machine that drifts does so for all of them.

Run: python bench/store.py [--quick]. To reach: CPU a session at most 2 x raw one at a time, at most 1 x at 16 at once.
"""

import argparse
import asyncio
import copy
import gc
import json
import random
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import apsw
import msgspec
import uvloop

from child import folder
from report import Goal, finish, fsync_ms, percentiles, say, spread
from tidegate.bounded import Registry
from tidegate.clock import SystemClock
from tidegate.domain.entry import Assistant, Body, Result, User, encode
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.run import Lane, Origin, Step, Usage
from tidegate.domain.session import Outcome, PolicyName
from tidegate.ids import RunId, ulid
from tidegate.store.admission import Admission, Birth
from tidegate.store.connection import open_writer
from tidegate.store.migrate import migrate
from tidegate.store.rows import checksum
from tidegate.store.sqlite import SqliteStore

APPENDS = 20
READ_AFTER = (10, 20)
HISTORY = 200
HEAD_READS = 5_000
NAIVE_THERE = 50  # sessions that the file of JSON holds before it is measured
SMALLEST, LARGEST = 200, 4_000
SHAPE = (1.1, 1.9)  # of a beta distribution: the mean is 1.6 KB

Samples = dict[str, list[float]]


class Work(NamedTuple):
    """A session to be, and the same encoded for the floors."""

    session: str
    run: str
    prompt: Body
    steps: Sequence[Step]
    encoded: Sequence[bytes]


class Cost(NamedTuple):
    """What a block of sessions took."""

    sessions: int
    wall_s: float
    cpu_s: float


class Arm(Protocol):
    """A store under test."""

    async def session(self, work: Work, samples: Samples) -> None:
        """Carry out one session."""


class Tidegate:
    """The store of the product."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.keys: list[str] = []
        self.groups: Counter[str] = Counter()
        store.writer.on_commit = self._count

    async def session(self, work: Work, samples: Samples) -> None:
        """Carry out one session; with several at once a claim may hand out another one's run."""
        admission = Admission(
            key=None,
            birth=Birth(policy=PolicyName.API, agent="main"),
            lane=Lane.INTERACTIVE,
            origin=Origin.MESSAGE,
            bodies=[work.prompt],
        )
        started = time.perf_counter()
        await self._store.admit(admission)
        started = _lap(samples, "admit", started)
        claimed = await self._store.claim(Lane.INTERACTIVE)
        _lap(samples, "claim", started)
        if claimed is None:
            raise RuntimeError("there was nothing to claim")
        lease = claimed.run.lease
        for count, step in enumerate(work.steps, 1):
            started = time.perf_counter()
            await self._store.append(lease, step)
            started = _lap(samples, "append", started)
            if count in READ_AFTER:
                found = await self._store.entries(lease.session, 0, HISTORY)
                _lap(samples, "history", started)
                if len(found) != count + 1:
                    raise RuntimeError(f"{len(found)} entries instead of {count + 1}")
        started = time.perf_counter()
        await self._store.finish(lease, Outcome.OK)
        _lap(samples, "finish", started)
        self.keys = [*self.keys[-99:], claimed.session.key]

    def read_heads(self, count: int) -> list[float]:
        """Read cached heads and return how long each read took."""
        samples = []
        for turn in range(count):
            key = self.keys[turn % len(self.keys)]
            started = time.perf_counter()
            self._store.session(key)
            samples.append(time.perf_counter() - started)
        return samples

    def _count(self, _seconds: float, operations: int) -> None:
        self.groups.update(groups=1, operations=operations)


RAW = {
    "admit": (
        (
            "INSERT INTO sessions (id, key, policy, state, agent, title, created_at, updated_at, since_at, turn_at,"
            " due_at, due_to)"
            " VALUES (:session, 'api:' || :session, 'api', 'created', 'main', :title, :now, :now, :now, :now,"
            " :now + 600000, 'completed')"
        ),
        (
            "INSERT INTO runs (id, session, lane, origin, state, created_at, prompt)"
            " VALUES (:run, :session, 'interactive', 'message', 'queued', :now, :body)"
        ),
    ),
    "claim": (
        "UPDATE runs SET state = 'running', fence = fence + 1, started_at = :now, prompt = NULL WHERE id = :run",
        "INSERT INTO entries (session, seq, body, checksum) VALUES (:session, :seq, :body, :checksum)",
        (
            "UPDATE sessions SET state = 'active', updated_at = :now, running_at = :now, entries = :seq,"
            " bytes = bytes + :bytes, version = version + 1 WHERE id = :session"
        ),
    ),
    "answer": (
        "INSERT INTO entries (session, seq, body, checksum) VALUES (:session, :seq, :body, :checksum)",
        (
            "UPDATE sessions SET updated_at = :now, entries = :seq, bytes = bytes + :bytes, version = version + 1"
            " WHERE id = :session"
        ),
        (
            "UPDATE runs SET steps = steps + 1, input_tokens = input_tokens + 400, output_tokens = output_tokens + 400,"
            " reply_seq = :seq WHERE id = :run"
        ),
        (
            "INSERT INTO usage_daily (period, agent, model, answers, input_tokens, output_tokens)"
            " VALUES ('2026-11-21', 'main', 'bench', 1, 400, 400) ON CONFLICT (period, agent, model) DO UPDATE SET"
            " answers = answers + 1, input_tokens = input_tokens + 400, output_tokens = output_tokens + 400"
        ),
    ),
    "result": (
        "INSERT INTO entries (session, seq, body, checksum) VALUES (:session, :seq, :body, :checksum)",
        (
            "UPDATE sessions SET updated_at = :now, entries = :seq, bytes = bytes + :bytes, version = version + 1"
            " WHERE id = :session"
        ),
    ),
    "finish": (
        "UPDATE runs SET state = 'done', outcome = 'ok', fence = fence + 1, finished_at = :now WHERE id = :run",
        (
            "UPDATE sessions SET state = 'completed', outcome = 'ok', since_at = :now, turn_at = NULL,"
            " running_at = NULL, due_at = :now, due_to = 'archived', version = version + 1 WHERE id = :session"
        ),
    ),
    "history": (
        "SELECT seq, body, checksum FROM entries WHERE session = :session AND seq > 0 ORDER BY seq LIMIT 200",
    ),
}

_BARE_APPEND = (
    "INSERT INTO entries (session, seq, body) VALUES (:session, :seq, :body)",
    "UPDATE sessions SET updated_at = :now, entries = :seq WHERE id = :session",
)
BARE_SCHEMA = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, created_at INTEGER, updated_at INTEGER, entries INTEGER, prompt BLOB
) WITHOUT ROWID;
CREATE TABLE entries (id INTEGER PRIMARY KEY, session TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX entries_place ON entries (session, seq);
"""
BARE = {
    "admit": ("INSERT INTO sessions VALUES (:session, 'created', :now, :now, 0, :body)",),
    "claim": (
        "INSERT INTO entries (session, seq, body) VALUES (:session, :seq, :body)",
        "UPDATE sessions SET state = 'active', updated_at = :now, entries = :seq, prompt = NULL WHERE id = :session",
    ),
    "answer": _BARE_APPEND,
    "result": _BARE_APPEND,
    "finish": ("UPDATE sessions SET state = 'completed', updated_at = :now WHERE id = :session",),
    "history": ("SELECT seq, body FROM entries WHERE session = :session AND seq > 0 ORDER BY seq LIMIT 200",),
}


class Floor:
    """Raw SQLite: one connection with the settings of the product, one transaction an operation, nothing else."""

    def __init__(self, connection: apsw.Connection, statements: Mapping[str, Sequence[str]]) -> None:
        self._connection = connection
        self._statements = statements

    async def session(self, work: Work, samples: Samples) -> None:
        """Carry out one session; others get their turn between two operations."""
        values: dict[str, str | int | bytes] = {"session": work.session, "run": work.run, "title": ""}
        values |= {"seq": 1, "body": work.encoded[0], "bytes": len(work.encoded[0])}
        values |= {"checksum": checksum(work.session, 1, work.encoded[0])}
        await self._write("admit", values, samples, "admit")
        await self._write("claim", values, samples, "claim")
        for count, step in enumerate(work.steps, 1):
            body = work.encoded[count]
            check = checksum(work.session, count + 1, body)
            values |= {"seq": count + 1, "body": body, "bytes": len(body), "checksum": check}
            await self._write("answer" if step.usage else "result", values, samples, "append")
            if count in READ_AFTER:
                started = time.perf_counter()
                found = self._connection.execute(self._statements["history"][0], values).fetchall()
                _lap(samples, "history", started)
                if len(found) != count + 1:
                    raise RuntimeError(f"{len(found)} entries instead of {count + 1}")
        await self._write("finish", values, samples, "finish")

    async def _write(
        self, name: str, values: dict[str, str | int | bytes], samples: Samples, kind: str
    ) -> None:
        started = time.perf_counter()
        values["now"] = time.time_ns() // 1_000_000
        self._connection.execute("BEGIN IMMEDIATE")
        for statement in self._statements[name]:
            self._connection.execute(statement, values)
        self._connection.execute("COMMIT")
        _lap(samples, kind, started)
        await asyncio.sleep(0)


class Naive:
    """A map of sessions in one file of JSON: rewritten at each write (no fsync), copied at each read."""

    def __init__(self, path: Path, there: Sequence[Work]) -> None:
        self._path = path
        self._sessions: dict[str, dict[str, object]] = {
            work.session: {
                "state": "completed",
                "run": work.run,
                "entries": [*map(bytes.decode, work.encoded)],
            }
            for work in there
        }

    async def session(self, work: Work, samples: Samples) -> None:
        """Carry out one session."""
        entries: list[str] = []
        self._sessions[work.session] = {"state": "created", "run": work.run, "entries": entries}
        self._write(samples, "admit")
        entries.append(work.encoded[0].decode())
        self._write(samples, "claim")
        for count, body in enumerate(work.encoded[1:], 1):
            entries.append(body.decode())
            self._write(samples, "append")
            if count in READ_AFTER:
                started = time.perf_counter()
                copy.deepcopy(self._sessions)
                _lap(samples, "history", started)
        self._sessions[work.session]["state"] = "completed"
        self._write(samples, "finish")

    def _write(self, samples: Samples, kind: str) -> None:
        started = time.perf_counter()
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(self._sessions), encoding="utf-8")
        beside.replace(self._path)
        _lap(samples, kind, started)


class Series:
    """The blocks of one store."""

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.samples: Samples = defaultdict(list)
        self.costs: list[Cost] = []

    async def block(self, works: Sequence[Work], at_once: int) -> None:
        """Carry out sessions, so many at once, and keep what they took."""
        gc.collect()
        gc.freeze()  # what the bench has prepared is none of the store's business
        waiting = iter(works)

        async def worker() -> None:
            for work in waiting:
                await self.arm.session(work, self.samples)

        started, cpu_started = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(worker())
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
        gc.unfreeze()
        self.costs.append(Cost(len(works), wall_s, cpu_s))

    def cpu_ms(self) -> list[float]:
        """Return the CPU of a session in each block."""
        return [1_000 * cost.cpu_s / cost.sessions for cost in self.costs]

    def figures(self) -> dict[str, object]:
        """Return what the blocks took."""
        return {
            "sessions": sum(cost.sessions for cost in self.costs),
            "sessions_per_s": spread([cost.sessions / cost.wall_s for cost in self.costs]),
            "cpu_ms_per_session": spread(self.cpu_ms()),
            "ms": {kind: percentiles(samples) for kind, samples in self.samples.items()},
        }


def works(count: int, dice: random.Random) -> list[Work]:
    """Think up sessions."""
    return [_work(dice) for _ in range(count)]


def _work(dice: random.Random) -> Work:
    now = time.time_ns() // 1_000_000
    session, run = ulid(now), RunId(ulid(now))
    usage = Usage(input_tokens=400, output_tokens=400)
    steps: list[Step] = []
    for turn in range(APPENDS):
        text = _text(dice)
        is_answer = turn % 2 == 0
        body = (
            Assistant(text=text) if is_answer else Result(tool="read_file", call_id=f"call-{turn}", text=text)
        )
        steps.append(Step(bodies=[body], usage=usage if is_answer else None, model="bench"))
    prompt = User(text=_text(dice))
    bodies = [prompt, *(step.bodies[0] for step in steps)]
    encoded = [encode(msgspec.structs.replace(body, at=now, run=run)) for body in bodies]
    return Work(session, run, prompt, steps, encoded)


def _text(dice: random.Random) -> str:
    size = SMALLEST + int((LARGEST - SMALLEST) * dice.betavariate(*SHAPE))
    words = []
    while size > 0:
        words.append("".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 9))))
        size -= len(words[-1]) + 1
    return " ".join(words)


def _lap(samples: Samples, kind: str, started: float) -> float:
    now = time.perf_counter()
    samples[kind].append(now - started)
    return now


def _floor(
    path: Path, statements: Mapping[str, Sequence[str]], make: Callable[[apsw.Connection], None]
) -> Floor:
    connection = open_writer(path)
    make(connection)
    return Floor(connection, statements)


async def measure(parent: Path, at_once: int, blocks: int, size: int, naive: int) -> dict[str, object]:
    """Measure every store with so many sessions at once."""
    dice = random.Random(at_once)
    with folder(parent) as path:
        store = await SqliteStore.open(path, SystemClock(), DEFAULTS, Registry())
        try:
            tidegate = Tidegate(store)
            raw = _floor(path / "raw.db", RAW, lambda made: _migrated(made, path))
            bare = _floor(path / "bare.db", BARE, lambda made: _scripted(made, BARE_SCHEMA))
            series = {"tidegate": Series(tidegate), "raw": Series(raw), "bare": Series(bare)}
            for number in range(blocks + 1):
                order = list(series) if number % 2 else list(series)[::-1]
                for name in order:
                    await series[name].block(works(size, dice), at_once)
                if number == 0:  # to warm up
                    for one in series.values():
                        one.costs.clear()
                        one.samples.clear()
                    tidegate.groups.clear()
                else:
                    told = ", ".join(f"{name} {one.cpu_ms()[-1]:.2f}" for name, one in series.items())
                    say(f"{at_once} at once, block {number} of {blocks}: CPU ms a session: {told}")
            json_file = Series(Naive(path / "naive.json", works(NAIVE_THERE, dice)))
            await json_file.block(works(naive, dice), at_once)
            heads = percentiles(tidegate.read_heads(HEAD_READS))
        finally:
            await store.close()
    figures: dict[str, dict[str, object]] = {name: one.figures() for name, one in series.items()}
    figures["tidegate"] |= {
        "cached_head_ms": heads,
        "operations_per_commit": round(tidegate.groups["operations"] / tidegate.groups["groups"], 2),
    }
    figures["json_file"] = json_file.figures()
    return {**figures, "ratios": ratios(series, json_file)}


def ratios(series: Mapping[str, Series], json_file: Series) -> dict[str, object]:
    """Compare block by block: a pair of neighbours has seen the same machine."""
    ours = series["tidegate"]
    found: dict[str, object] = {}
    for name in ("raw", "bare"):
        floor = series[name]
        pairs = [mine / its for mine, its in zip(ours.cpu_ms(), floor.cpu_ms(), strict=True)]
        walls = [its.wall_s / mine.wall_s for mine, its in zip(ours.costs, floor.costs, strict=True)]
        found[f"cpu_to_{name}"] = spread(pairs)
        found[f"throughput_to_{name}"] = spread(walls)
        found[f"append_p50_to_{name}"] = round(_p50(ours, "append") / _p50(floor, "append"), 3)
    found["cpu_to_json_file"] = round(
        statistics.median(ours.cpu_ms()) / statistics.median(json_file.cpu_ms()), 4
    )
    return found


def _p50(series: Series, kind: str) -> float:
    return statistics.median(series.samples[kind])


def _migrated(connection: apsw.Connection, path: Path) -> None:
    migrate(connection, path / "backups")


def _scripted(connection: apsw.Connection, script: str) -> None:
    connection.execute(script).fetchall()


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few and small blocks; ratios are rough")
    parser.add_argument(
        "--dir", type=Path, help="a folder on the disk to measure; default: the temporary one"
    )
    wanted = parser.parse_args()
    blocks, size, naive = (3, 40, 2) if wanted.quick else (9, 150, 5)
    with folder(wanted.dir) as parent, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        disk = fsync_ms(parent)
        single = runner.run(measure(parent, 1, blocks, size, naive))
        many = runner.run(measure(parent, 16, blocks, size * 2, naive))
    conditions = {
        "durability": "WAL, synchronous=FULL, all but json_file (no fsync)",
        "entries_per_session": APPENDS + 1,
        "mean_entry_bytes": 1_600,
        "concurrency": [1, 16],
        "blocks": blocks,
        "sessions_per_block": [size, size * 2],
        "sessions_in_json_file": NAIVE_THERE + naive,
        "fdatasync_ms": disk,
    }
    goals = [
        Goal("CPU one at a time, to raw", _median(single, "cpu_to_raw"), 2.0),
        Goal("CPU at 16 at once, to raw", _median(many, "cpu_to_raw"), 1.0),
    ]
    finish("store", conditions, {"one_at_a_time": single, "sixteen_at_once": many}, goals)


def _median(figures: dict[str, object], name: str) -> float:
    found = figures["ratios"]
    assert isinstance(found, dict)  # noqa: S101 - `measure` has just made it
    return float(found[name]["median"])


if __name__ == "__main__":
    main()
