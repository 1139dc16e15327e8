"""What skills cost: bytes stored, bytes a session, and what it takes to start with many folders and to follow them.

One part drives the real engine in process: sessions of an agent with 22 skills of 41 KB in all, beside the same
sessions of an agent without skills. The other part starts a real gateway on 22 and on 2,000 skill folders, watches it
do nothing, changes a file and asks for new sessions until one has the change.

Run: python bench/skills.py [--sessions N] [--folders N] [--quick]. To reach: each byte of a skill stored once; at most
200 bytes of file for each session; a changed skill adds its own size, and nothing is left in the end; a change is seen
by new sessions within 1 s; idle, at most 0.5 % of a core with 22 folders and 2 % with 2,000.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from child import Child, compile_bytecode, folder
from report import MIB, Goal, finish, say, spread
from tidegate.clock import ManualClock
from tidegate.config import Config
from tidegate.config.tree import Agent
from tidegate.engine import Engine, engine
from tidegate.runtime import mover
from tidegate.store.port import Page
from tidegate.store.sqlite import NAME

SKILLS = 22
SET_BYTES = 41 << 10
AT_ONCE = 50
SETTLE_S = 3.0  # after ready
TRIES = 10


class Cost(NamedTuple):
    """What sessions left in a store."""

    file_bytes: int
    blobs: int
    blob_bytes: int
    snapshots: int


class Following(NamedTuple):
    """What it costs a gateway to follow some folders."""

    ready_s: float
    rss_mib: float
    idle_cpu_percent: float
    seen_s: list[float]


def write_skills(place: Path, count: int, size: int) -> None:
    """Write skills of a size each."""
    for number in range(count):
        write_skill(place, f"skill-{number:04}", size)


def write_skill(place: Path, name: str, size: int, word: str = "Do") -> None:
    """Write one skill of a size."""
    head = f"---\nname: {name}\ndescription: Does the work of {name}, when asked.\n---\n# {name}\n\n"
    body = f"{word} one thing after the other, and look at it. " * (size // 40 + 1)
    (place / name).mkdir(parents=True, exist_ok=True)
    (place / name / "SKILL.md").write_text((head + body)[: size - 1] + "\n")


@asynccontextmanager
async def opened(state: Path, *, has_skills: bool) -> AsyncIterator[Engine]:
    """Open an engine whose agent has the skills of its workspace, or none."""
    agent = Agent(allow_skills=tuple(f"skill-{number:04}" for number in range(SKILLS if has_skills else 0)))
    async with (
        engine(Config(agents={"main": agent}), state, ManualClock()) as here,
        asyncio.TaskGroup() as tasks,
    ):
        serving = tasks.create_task(here.runner.serve())
        yield here
        serving.cancel()


async def talk(here: Engine, numbers: Sequence[int]) -> None:
    """Have one chat for each number."""
    waiting = iter(numbers)

    async def client() -> None:
        for number in waiting:
            admitted = await here.intake.message(
                f"c-{number}", "/echo hi", "main", is_named=False, receipt=None
            )
            await here.intake.outcome(admitted.run)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(client())


def prepared(state: Path, *, has_skills: bool) -> Path:
    """Make a state folder, with skills or without, and return it."""
    state.mkdir()
    if has_skills:
        write_skills(state / "workspace" / "skills", SKILLS, SET_BYTES // SKILLS)
    return state


async def stored(state: Path, sessions: int, *, has_skills: bool) -> Cost:
    """Have sessions in a prepared folder and return what they left."""
    async with opened(state, has_skills=has_skills) as here:
        await talk(here, range(sessions))
        tallies = here.store.tallies()
    return Cost(_size(state), tallies.blobs, tallies.blob_bytes, tallies.snapshots)


async def changed(state: Path, sessions: int) -> dict[str, int]:
    """Change one skill of a store with sessions, have one more, then delete them all."""
    async with opened(state, has_skills=True) as here:
        before = here.store.tallies()
        write_skill(state / "workspace" / "skills", "skill-0007", 5_000, "Now do")
        await here.skills.load()
        await talk(here, [sessions])
        after = here.store.tallies()
        for session in await here.store.sessions(Page(limit=sessions + 1)):
            await mover.delete(here.store, session)
        left = here.store.tallies()
        orphans = sum((await here.store.orphans()).values())
    return {
        "added_blobs": after.blobs - before.blobs,
        "added_bytes": after.blob_bytes - before.blob_bytes,
        "left_snapshots": left.snapshots,
        "left_blobs": left.blobs,
        "left_references": left.references,
        "orphans": orphans,
    }


def _size(state: Path) -> int:
    return (state / NAME).stat().st_size


def followed(state: Path, folders: int, idle_s: float) -> Following:
    """Start a gateway on so many skill folders beside those of the package, watch it idle, and time changes."""
    place = state / "workspace" / "skills"
    write_skills(place, folders, SET_BYTES // SKILLS)
    child = Child(state)
    try:
        time.sleep(SETTLE_S)
        rss_mib, cpu_s, started = child.rss_bytes / MIB, child.cpu_s, time.perf_counter()
        time.sleep(idle_s)
        percent = 100 * (child.cpu_s - cpu_s) / (time.perf_counter() - started)
        seen = [_seen_s(child, place, number) for number in range(TRIES if folders else 0)]
        return Following(child.ready_s, rss_mib, percent, seen)
    finally:
        child.stop()


def _seen_s(child: Child, place: Path, number: int) -> float:
    """Change one file and return how long it takes until a new session has the change."""
    before = _snapshot(child, f"before-{number}")
    time.sleep(0.1 * number)  # at another moment between two looks each time
    write_skill(place, "skill-0003", 1_500 + number)
    changed_at = time.perf_counter()
    tried = 0
    while _snapshot(child, f"after-{number}-{tried}") == before:
        tried += 1
    return time.perf_counter() - changed_at


def _snapshot(child: Child, key: str) -> object:
    child.ask("POST", f"/api/sessions/{key}/messages", {"text": "/echo hi"})
    return child.ask("GET", f"/api/sessions/{key}")["snapshot"]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--folders", type=int, default=2_000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dir", type=Path)
    options = parser.parse_args()
    sessions = 200 if options.quick else options.sessions
    idle_s = 5.0 if options.quick else 30.0
    compile_bytecode()
    with folder(options.dir) as place:
        costs = {
            (count, has): asyncio.run(
                stored(prepared(place / f"{count}-{has}", has_skills=has), count, has_skills=has)
            )
            for count in (1, sessions)
            for has in (False, True)
        }
        say(f"{sessions} sessions with and without skills")
        change = asyncio.run(changed(place / f"{sessions}-True", sessions))
        following = {}
        for folders in (0, SKILLS, options.folders):
            (place / str(folders)).mkdir()
            following[folders] = followed(place / str(folders), folders, idle_s)
            say(f"{folders} folders: {following[folders]}")
    whole, few = costs[sessions, True], costs[1, True]
    shared = few.file_bytes - costs[1, False].file_bytes
    per_session = (whole.file_bytes - costs[sessions, False].file_bytes - shared) / max(1, sessions - 1)
    seen = {folders: one.seen_s for folders, one in following.items() if one.seen_s}
    finish(
        "skills",
        {"sessions": sessions, "skills": SKILLS, "set_bytes": SET_BYTES, "folders": options.folders},
        {
            "stored": {f"{count} sessions, {'with' if has else 'without'} skills": cost._asdict()
                       for (count, has), cost in costs.items()},
            "file_bytes_per_session": round(per_session, 1),
            "changed": change,
            "following": {
                folders: {"ready_s": round(one.ready_s, 3), "rss_mib": round(one.rss_mib, 1),
                          "idle_cpu_percent": round(one.idle_cpu_percent, 2)}
                | ({"seen_s": spread(one.seen_s)} if one.seen_s else {})
                for folders, one in following.items()
            },
        },
        [
            Goal("bytes stored / bytes of the set", whole.blob_bytes / few.blob_bytes, 1.0),
            Goal("blobs / skills", whole.blobs / SKILLS, 1.0),
            Goal("file bytes a session", per_session, 200),
            Goal("bytes added by a changed skill / its size", change["added_bytes"] / 5_000, 1.0),
            Goal("left in the end", change["left_blobs"] + change["left_snapshots"] + change["orphans"], 0),
            *(Goal(f"seen, {folders} folders, s", max(times), 1.0) for folders, times in seen.items()),
            Goal(f"idle CPU, {SKILLS} folders, %", following[SKILLS].idle_cpu_percent, 0.5),
            Goal(f"idle CPU, {options.folders} folders, %", following[options.folders].idle_cpu_percent, 2.0),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
