"""Whether a gateway stays flat: sessions come over HTTP, end, are archived and deleted, and nothing is left of them.

Nameless sessions are asked for at /v1/chat/completions of a real gateway (offline model), sixteen at once on
connections that stay open, with a retention so short that the sweep archives and deletes them all the while. A few
chats are there from the start and stay. Growth is judged by floors: the least resident memory in each of ten blocks,
the first fifth of the sessions left out.

Run: python bench/flat.py [--sessions N] [--quick]. To reach: at most 0.05 KiB a session (or 2 MiB in all); everything
ephemeral gone, no orphans, nothing overdue, the file back within 1.2 x of what remains.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from child import Child, compile_bytecode, folder
from report import MIB, Goal, finish, percentiles, say
from tidegate.domain.slope import median, slopes
from tidegate.store import orphans
from tidegate.store.connection import SqliteReads, open_reader

AT_ONCE = 16
SAMPLE_S = 0.1
EVERY = 1_000
WARM_UP = 0.2
BLOCKS = 10
CHATS = 10
CHAT_BYTES = 40_000
TRIES = 50  # of one session that is refused, a tenth of a second apart
PATIENCE_S = 180.0  # until everything ephemeral is gone

CONFIG = """\
[lifecycle.api]
archive_after = "0s"
delete_after = "{delete_after}"

[sweep]
interval = "1s"
"""


class Sample(NamedTuple):
    """How large the gateway was after so many sessions."""

    sessions: int
    rss_bytes: int


class Load:
    """The sessions that clients have asked for so far."""

    def __init__(self, child: Child, sessions: int) -> None:
        self.child = child
        self.sessions = sessions
        self.begun = 0
        self.done = 0
        self.refused = 0
        self.latencies: list[float] = []
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Ask for all of them."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch())
            async with asyncio.TaskGroup() as clients:
                for _ in range(AT_ONCE):
                    clients.create_task(self._client())
            watching.cancel()

    async def _client(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.child.port)
        try:
            while self.begun < self.sessions:
                self.begun += 1
                started = time.perf_counter()
                await self._session(reader, writer, self.begun)
                if self.done % 10 == 0:  # a tenth is enough, and keeps this process small
                    self.latencies.append(time.perf_counter() - started)
                self.done += 1
        finally:
            writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        text = f"/echo session {number}: " + "some words of a question, " * (number % 40)
        content = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
        request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.child.port}\r\n"
            f"Authorization: Bearer {self.child.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        ).encode() + content
        for _ in range(TRIES):
            writer.write(request)
            status, answer = await _response(reader)
            if status == 200:
                return
            if status not in {429, 503}:
                raise RuntimeError(f"session {number}: {status} {answer[:300]!r}")
            self.refused += 1
            await asyncio.sleep(0.1)
        raise RuntimeError(f"session {number} was refused {TRIES} times")

    async def _watch(self) -> None:
        told = 0
        while True:
            self.samples.append(Sample(self.done, self.child.rss_bytes))
            if self.done >= told + EVERY:
                told = self.done // EVERY * EVERY
                if told % (10 * EVERY) == 0 or told <= 5 * EVERY:
                    say(f"{told} sessions: {self.samples[-1].rss_bytes / MIB:.1f} MiB")
            await asyncio.sleep(SAMPLE_S)


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    return int(head.split(" ", 2)[1]), await reader.readexactly(int(length.partition(":")[2]))


def floors(samples: Sequence[Sample], sessions: int) -> list[Sample]:
    """Return the least memory of each block after the warm-up."""
    first = sessions * WARM_UP
    width = (sessions - first) / BLOCKS
    found = []
    for block in range(BLOCKS):
        start = first + block * width
        inside = [sample for sample in samples if start <= sample.sessions <= start + width]
        if inside:
            least = min(sample.rss_bytes for sample in inside)
            found.append(Sample(round(start + width / 2), least))
    return found


def slope(points: Sequence[Sample]) -> float:
    """Return the median slope between any two points, in bytes a session."""
    pairs = [(float(sample.sessions), float(sample.rss_bytes)) for sample in points]
    return median(slopes(pairs)) if len(pairs) > 1 else 0.0


def every_thousand(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the least memory seen in each thousand sessions, in MiB."""
    found: dict[int, int] = {}
    for sample in samples:
        block = sample.sessions // EVERY * EVERY
        found[block] = min(found.get(block, sample.rss_bytes), sample.rss_bytes)
    return {str(block): round(rss / MIB, 2) for block, rss in found.items()}


def start_chats(child: Child) -> None:
    """Let a few conversations be there that nothing may delete."""
    for number in range(CHATS):
        child.ask("POST", f"/api/sessions/chat-{number}/messages?wait=1", {"text": "x" * CHAT_BYTES})


def ephemeral(status: dict[str, object]) -> int:
    """Count the sessions that must go."""
    sessions = status["sessions"]
    if not isinstance(sessions, dict):
        raise TypeError
    return sum(sum(states.values()) for kind, states in sessions.items() if kind != "chat")


def sweep_until_gone(child: Child) -> float:
    """Sweep until everything ephemeral is gone and return how many seconds that took."""
    started = time.perf_counter()
    while ephemeral(child.ask("GET", "/api/status")):
        if time.perf_counter() - started > PATIENCE_S:
            break
        child.ask("POST", "/api/sweep")
        time.sleep(0.5)
    child.ask("POST", "/api/sweep")
    return time.perf_counter() - started


def count_orphans(state: Path) -> dict[str, int]:
    """Count what has lost its owner in the store of a gateway that has stopped."""
    connection = open_reader(state / "tidegate.db")
    try:
        return orphans.count(SqliteReads(connection))
    finally:
        connection.close()


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=50_000)
    parser.add_argument("--delete-after", default="5s", help="how long an archived session is kept")
    parser.add_argument("--quick", action="store_true", help="5,000 sessions; floors are rough")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to use; default: the temporary one")
    wanted = parser.parse_args()
    sessions = 5_000 if wanted.quick else wanted.sessions
    compile_bytecode()
    with folder(wanted.dir) as path:
        config = path / "bench.toml"
        config.write_text(CONFIG.format(delete_after=wanted.delete_after), encoding="utf-8")
        state = path / "state"
        child = Child(state, config)
        try:
            start_chats(child)
            before = child.ask("GET", "/api/status")
            load = Load(child, sessions)
            started, cpu_started = time.perf_counter(), child.cpu_s
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(load.run())
            wall_s, cpu_s = time.perf_counter() - started, child.cpu_s - cpu_started
            loaded = child.ask("GET", "/api/status")
            say(f"{sessions / wall_s:.0f} sessions/s; sweeping what is left")
            emptied_s = sweep_until_gone(child)
            after = child.ask("GET", "/api/status")
            rss_after = child.rss_bytes
        finally:
            code = child.stop()
        found = count_orphans(state)
    points = floors(load.samples, sessions)
    growth = points[-1].rss_bytes - points[0].rss_bytes
    grown = slope(points)
    storage = after["storage"]
    if not isinstance(storage, dict):
        raise TypeError
    remains = storage["main"] - storage["free"]
    figures = {
        "rss_mib_each_1000": every_thousand(load.samples),
        "rss_floors_mib": {str(point.sessions): round(point.rss_bytes / MIB, 2) for point in points},
        "rss_slope_kib_per_session": round(grown / 1024, 5),
        "rss_growth_of_floors_mib": round(growth / MIB, 3),
        "rss_peak_mib": round(max(sample.rss_bytes for sample in load.samples) / MIB, 2),
        "rss_after_mib": round(rss_after / MIB, 2),
        "sessions_per_s": round(sessions / wall_s, 1),
        "cpu_ms_per_session": round(1_000 * cpu_s / sessions, 3),
        "latency_ms": percentiles(load.latencies),
        "refused": load.refused,
        "seconds_until_gone": round(emptied_s, 1),
        "sessions_loaded": loaded["sessions"],
        "sessions_after": after["sessions"],
        "storage_before": before["storage"],
        "storage_loaded": loaded["storage"],
        "storage_after": storage,
        "main_file_to_what_remains": round(storage["main"] / max(1, remains), 3),
        "orphans": found,
        "overdue": after["overdue"],
        "exit_code": code,
    }
    allowed = max(0.05 * 1024 * (points[-1].sessions - points[0].sessions), 2 * MIB)
    goals = [
        Goal("growth of the RSS floors, MiB", growth / MIB, allowed / MIB),
        Goal("ephemeral sessions left", ephemeral(after), 0),
        Goal("orphans", sum(found.values()), 0),
        Goal("overdue", int(str(after["overdue"])), 0),
        Goal("main file, MiB", storage["main"] / MIB, max(1.2 * remains, 2 * MIB) / MIB),
    ]
    conditions = {
        "sessions": sessions,
        "concurrency": AT_ONCE,
        "durability": "WAL, synchronous=FULL",
        "entries_per_session": 2,
        "delete_after": wanted.delete_after,
        "chats_that_stay": CHATS,
        "client": "asyncio streams over loopback, keep-alive, in another process on the same cores",
    }
    finish("flat", conditions, figures, goals)


if __name__ == "__main__":
    main()
