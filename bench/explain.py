"""What explaining growth costs: CPU and memory with many sessions, and how much slower runs are while Python is traced.

The sessions are archived ones of 50 jobs and of chats, written into the store past the gateway; a fifth of them refer
to a large text. Runs go through the edge, over a socket, one after the other, with the offline model.

Run: python bench/explain.py [--dir FOLDER] [--sessions N]. To reach: 1 s of CPU and 16 MiB for 100,000 sessions.
"""

import argparse
import asyncio
import time
import tracemalloc
from pathlib import Path

import apsw
import httpx

from child import folder
from report import MIB, Goal, finish, say
from tidegate.app import gateway, listen
from tidegate.clock import DAY_MS, SystemClock
from tidegate.config import Config
from tidegate.domain.policy import DEFAULTS
from tidegate.engine import engine
from tidegate.runtime import process, tracer
from tidegate.runtime.explainer import Explainer
from tidegate.runtime.growth import Growth
from tidegate.store.sqlite import NAME

SESSIONS = 100_000
RUNS = 150
_SEED = (
    """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :sessions)
    INSERT INTO sessions (id, key, policy, state, outcome, cap_group, agent, title, created_at, updated_at,
        since_at, due_at, due_to, entries, cold_through, bytes)
    SELECT printf('01%024d', i), 'k' || i, iif(i % 10, 'cron', 'chat'), 'archived', 'ok',
        iif(i % 10, 'job:j' || (i % 50) || ':ok', NULL), 'main', 'a title', :now, :now, :now, :now + :kept, 'deleted',
        4, 4, 3000 + i % 977 FROM n""",
    "INSERT INTO blobs VALUES ('h1', 70000), ('h2', 900000)",
    "INSERT INTO session_blobs SELECT id, iif(rowid % 2, 'h1', 'h2') FROM sessions WHERE rowid % 5 = 0",
    "INSERT INTO segments SELECT id, 1, 4, x'00', 3000, randomblob(600) FROM sessions",
)


async def explaining(state: Path, sessions: int) -> dict[str, object]:
    """Explain with many sessions."""
    clock = SystemClock()
    async with engine(Config(), state, clock):
        pass
    _seed(state, sessions)
    async with engine(Config(), state, clock) as inside:
        growth = Growth(inside.store, inside.registry, clock, 1)
        await growth.tick()
        held, started = process.memory().rss, time.process_time()
        found = await Explainer(growth, inside.store, inside.registry, DEFAULTS, clock).explain(DAY_MS)
        cpu_s = time.process_time() - started
        weights = found.weights
        return {
            "sessions": weights.looked_at,
            "is_all": weights.is_all,
            "cpu_s": round(cpu_s, 2),
            "more_rss_mib": round((process.memory().rss - held) / MIB, 1),
        }


def _seed(state: Path, sessions: int) -> None:
    connection = apsw.Connection(str(state / NAME))
    now = SystemClock().now()
    with connection:
        for statement in _SEED:
            known = {"sessions": sessions, "now": now, "kept": 20 * DAY_MS}
            connection.execute(statement, {name: known[name] for name in known if f":{name}" in statement})
    connection.close()


async def tracing(state: Path) -> dict[str, float]:
    """Compare the CPU of a run with that of one while Python is traced."""
    with listen("127.0.0.1", 0) as listener:
        async with gateway(Config(), state, listener, SystemClock()) as built, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(built.inside.runner.serve())
            serving = tasks.create_task(built.server.serve(sockets=[listener]))
            headers = {"Authorization": f"Bearer {built.token}"}
            async with httpx.AsyncClient(
                base_url=built.instance.url, headers=headers, trust_env=False
            ) as client:
                await _run_ms(client, "warm")
                plain_ms = await _run_ms(client, "plain")
                tracemalloc.start(tracer.FRAMES)
                traced_ms = await _run_ms(client, "traced")
                tracemalloc.stop()
            built.server.should_exit = True
            await serving
            running.cancel()
    return {
        "run_ms": round(plain_ms, 2),
        "traced_ms": round(traced_ms, 2),
        "times": round(traced_ms / plain_ms, 1),
    }


async def _run_ms(client: httpx.AsyncClient, name: str) -> float:
    started = time.process_time()
    for number in range(RUNS):
        path = f"/api/sessions/{name}{number}/messages?wait=1"
        (await client.post(path, json={"text": "/echo hi"})).raise_for_status()
    return 1_000 * (time.process_time() - started) / RUNS


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    asked = parser.parse_args()
    with folder(asked.dir) as state:
        say("explaining")
        explained = asyncio.run(explaining(state, asked.sessions))
    with folder(asked.dir) as state:
        say("tracing")
        traced = asyncio.run(tracing(state))
    goals = [
        Goal("CPU of an explanation, s", float(str(explained["cpu_s"])), 1.0),
        Goal("more memory after it, MiB", float(str(explained["more_rss_mib"])), 16.0),
    ]
    figures: dict[str, object] = {"explaining": explained, "tracing": traced}
    finish("explain", {"sessions": asked.sessions, "runs": RUNS, "frames": tracer.FRAMES}, figures, goals)


if __name__ == "__main__":
    main()
