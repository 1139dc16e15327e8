"""What a chat costs that never ends: one of 100,000 entries, compacted 500 times beside 100,000 facts and bad hooks.

The chat is written through the store, as runs write it, and compacted by the gateway's own compactor with the offline
model, each time that a window is full. Before each summary what it says is flushed to the memory of the agent, which
holds 100,000 facts, its most, so that one goes for each that comes; one who takes part is slow, one takes a lot of
memory and one crashes; after each, one crashes. Resident memory is looked at after each compaction.

Run: python bench/compaction.py [--entries N] [--compactions N] [--facts N] [--slow S] [--huge MIB]. To reach: memory
within 10 MiB of what it was before the first compaction; each compaction within its deadline; the 500th at most 1.2 x
the 5th in CPU (medians of ten around each); hot entries never more than a window has.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from msgspec.structs import replace

from child import folder
from report import MIB, Goal, finish, percentiles, say
from tidegate.agent.measure import ENTRY_TOKENS
from tidegate.clock import SystemClock
from tidegate.config import Config
from tidegate.domain.compaction import Compaction, CompactionOutcome, Reason
from tidegate.domain.entry import Assistant, Body, User
from tidegate.domain.fact import Note
from tidegate.domain.run import Lane, Lease, Origin, Step
from tidegate.domain.session import Outcome, PolicyName
from tidegate.engine import Engine, engine
from tidegate.runtime.compaction import Part
from tidegate.store.admission import Admission, Birth

ENTRIES = 100_000
FACTS = 100_000
AT_ONCE = 500  # facts that share commits while they are filled in
COMPACTIONS = 500
EARLY = 5
AROUND = 5  # compactions to each side of one that is compared
KEY = "chat"
FILL = 0.75  # of a window, what comes between two compactions
WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in ("nd", "rk", "st", "ll", "m")]


class Sample(NamedTuple):
    """What one compaction took, and what there was after it."""

    cpu_s: float
    wall_s: float
    rss_bytes: int
    hot_entries: int


class Chat:
    """One chat that grows and is compacted."""

    def __init__(self, inside: Engine, entries: int, compactions: int) -> None:
        self.inside = inside
        self.agent = inside.agents["main"]
        self.count = max(4, entries // compactions)
        share = FILL * self.agent.max_prompt_bytes / self.count - 4 * ENTRY_TOKENS
        self.text_bytes = max(40, int(share))
        #: CPU of the huge one in the latest compaction, which is not the gateway's
        self.foreign_s = 0.0
        self._chance = random.Random(7)
        self._process = psutil.Process()

    async def grow(self) -> Lease:
        """Let a run say as much as comes between two compactions; return its lease."""
        admission = Admission(
            key=KEY,
            birth=Birth(policy=PolicyName.CHAT, agent="main"),
            lane=Lane.INTERACTIVE,
            origin=Origin.MESSAGE,
            bodies=[User(text=self._text())],
        )
        await self.inside.store.admit(admission)
        claimed = await self.inside.store.claim(Lane.INTERACTIVE)
        if claimed is None:
            raise RuntimeError("there is no run to claim")
        bodies: list[Body] = [Assistant(text="I see."), User(text=f"remember: {self._text()[:200]}")]
        while len(bodies) < self.count - 2:
            bodies += [Assistant(text=self._text()), User(text=self._text())]
        lease = claimed.run.lease
        await self.inside.store.append(lease, Step(bodies=[*bodies, Assistant(text=self._text())]))
        return lease

    async def remember(self, facts: int) -> None:
        """Fill the memory of the agent."""
        for first in range(0, facts, AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for number in range(first, min(first + AT_ONCE, facts)):
                    note = Note(text=f"{number}: {self._text()[:200]}")
                    group.create_task(self.inside.store.facts.remember("main", note))

    async def compact(self, lease: Lease) -> Sample:
        """Compact and look."""
        self.foreign_s = 0.0
        cpu, wall = time.process_time(), time.perf_counter()
        done = await self.inside.runner.compactor.compact(self.agent, lease, Reason.THRESHOLD)
        cpu, wall = time.process_time() - cpu - self.foreign_s, time.perf_counter() - wall
        if not done:
            raise RuntimeError("nothing was compacted")
        await self.inside.store.finish(lease, Outcome.OK)
        return Sample(cpu, wall, self.rss_bytes, self.hot_entries)

    @property
    def rss_bytes(self) -> int:
        """How much memory the process holds."""
        return int(self._process.memory_info().rss)

    @property
    def hot_entries(self) -> int:
        """How many entries are rows."""
        head = self.inside.store.session(KEY)
        return head.hot_entries if head else 0

    def _text(self) -> str:
        words: list[str] = []
        size = 0
        while size < self.text_bytes:
            words.append(self._chance.choice(WORDS))
            size += len(words[-1]) + 1
        return " ".join(words)[: self.text_bytes]


def take_part(inside: Engine, chat: "Chat", slow_s: float, huge_mib: int) -> None:
    """Let three who misbehave take part in each compaction."""

    async def slow(_: Compaction) -> None:
        await asyncio.sleep(10 * slow_s)

    async def huge(_: Compaction) -> None:
        started = time.process_time()
        bytearray(huge_mib * MIB)
        chat.foreign_s += time.process_time() - started

    async def crash(_: Compaction) -> None:
        raise RuntimeError("as planned")

    inside.runner.compactor.listen(
        before=[Part("slow", slow, slow_s), Part("huge", huge), Part("crash", crash)],
        after=[Part("crash", crash)],
    )


async def measure(state: Path, asked: argparse.Namespace) -> tuple[dict[str, object], list[Goal]]:
    """Measure on a fresh store."""
    config = Config(memory=replace(Config().memory, max_facts=asked.facts))
    async with engine(config, state, SystemClock()) as inside:
        chat = Chat(inside, asked.entries, asked.compactions)
        await chat.remember(asked.facts)
        say(f"{asked.facts:,} facts, {chat.rss_bytes / MIB:.1f} MiB")
        take_part(inside, chat, asked.slow, asked.huge)
        lease = await chat.grow()
        before = chat.rss_bytes
        samples = [await chat.compact(lease)]
        while len(samples) < asked.compactions:
            samples.append(await chat.compact(await chat.grow()))
            if len(samples) % 50 == 0:
                say(f"{len(samples)} compactions, {samples[-1].rss_bytes / MIB:.1f} MiB")
        head = inside.store.session(KEY)
        ratio = _around(samples, len(samples)) / _around(samples, EARLY)
        deadline_s = inside.config.compaction.deadline_ms / 1_000
        figures: dict[str, object] = {
            "entries": head.entries if head else 0,
            "text_bytes": chat.text_bytes,
            "facts": {"held": inside.store.facts.held("main"), "flushes_failed": inside.flush.failed},
            "compactions": inside.runner.compactor.counts[CompactionOutcome.OK],
            "part_failures": inside.runner.compactor.failures,
            "segments": inside.store.tallies().segments,
            "cpu_ms": percentiles([sample.cpu_s for sample in samples]),
            "wall_ms": percentiles([sample.wall_s for sample in samples]),
            "rss_mib": {
                "before": round(before / MIB, 2),
                "most": round(max(sample.rss_bytes for sample in samples) / MIB, 2),
                "after": round(samples[-1].rss_bytes / MIB, 2),
            },
            "hot_entries": max(sample.hot_entries for sample in samples),
        }
    most = max(sample.rss_bytes for sample in samples)
    return figures, [
        Goal("memory above what it was before, MiB", (most - before) / MIB, 10.0),
        Goal(f"CPU of the last compactions / of the {EARLY}th", ratio, 1.2),
        Goal("longest compaction, s", max(sample.wall_s for sample in samples), deadline_s),
        Goal("hot entries", max(sample.hot_entries for sample in samples), chat.count),
    ]


def _around(samples: Sequence[Sample], number: int) -> float:
    """Return the median CPU of the compactions around one."""
    near = samples[max(1, number - AROUND) : number + AROUND]  # the very first one warms up
    return statistics.median(sample.cpu_s for sample in near)


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=ENTRIES)
    parser.add_argument("--compactions", type=int, default=COMPACTIONS)
    parser.add_argument("--facts", type=int, default=FACTS, help="that the agent has, and may have")
    parser.add_argument("--slow", type=float, default=0.01, help="seconds until the slow one is given up")
    parser.add_argument("--huge", type=int, default=256, help="MiB that the huge one takes")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure")
    asked = parser.parse_args()
    with folder(asked.dir) as state:
        figures, goals = asyncio.run(measure(state, asked))
    conditions = {name: getattr(asked, name) for name in ("entries", "compactions", "facts", "slow", "huge")}
    finish("compaction", conditions | {"durability": "synchronous=FULL", "concurrency": 1}, figures, goals)


if __name__ == "__main__":
    main()
