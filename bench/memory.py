"""How long `recall` takes and what it holds, with 1,000 and with 100,000 facts of one agent, without vectors.

Facts are remembered through the store of a real engine; their words are as uneven as those of a language, and each has
one word that all have. Questions of several kinds are asked one after the other: a rare word, a common one, the one
that all facts have, eight of the commonest, a sentence, a word nobody knows, a long text of hostile signs. What a
prompt is told is measured beside them.

Run: python bench/memory.py [--facts N] [--questions N] [--dir FOLDER] [--quick]. To reach: each kind of question p99 at
most 20 ms with 100,000 facts; at most 4 MiB more memory after all questions than after the first of each kind.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import msgspec

from child import folder
from report import MIB, Goal, finish, percentiles, say
from tidegate.clock import DAY_MS, ManualClock
from tidegate.config import Config
from tidegate.config.tree import Memory as MemorySection
from tidegate.domain.fact import Note
from tidegate.engine import Engine, engine
from tidegate.runtime import process

WORDS = 20_000
SHARED = "user"
AT_ONCE = 200
FACT_WORDS = 12


class Round(NamedTuple):
    """What one number of facts gave."""

    facts: int
    #: by kind of question, in ms
    recall: Mapping[str, Mapping[str, float]]
    grown_mib: float
    main_mib: float
    fill_s: float


class Language:
    """Words, the first ones far commoner than the last."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._words = [f"word{number}" for number in range(WORDS)]
        self._weights = list(accumulate(1 / (place + 1) for place in range(WORDS)))

    def sentence(self, count: int) -> str:
        """Return some words as they come."""
        return " ".join(self._chance.choices(self._words, cum_weights=self._weights, k=count))

    def note(self, number: int) -> Note:
        """Return a fact that no other one repeats."""
        return Note(text=f"{SHARED} {number} {self.sentence(FACT_WORDS)}", importance=1 + number % 10)

    def questions(self) -> Mapping[str, Callable[[], str]]:
        """Return how to ask, by kind."""
        commonest = " ".join(self._words[:8])
        return {
            "rare": lambda: self._words[self._chance.randrange(WORDS // 2, WORDS)],
            "common": lambda: self._words[self._chance.randrange(20)],
            "shared by all": lambda: SHARED,
            "eight commonest": lambda: commonest,
            "sentence": lambda: f"{SHARED} {self.sentence(10)}",
            "unknown": lambda: f"nobody{self._chance.random()}",
            "hostile": lambda: '"* AND (' + self.sentence(3) + ") NOT \0🐈" * 5_000,
        }


async def fill(here: Engine, clock: ManualClock, language: Language, facts: int) -> None:
    """Remember facts, many at once, which share commits; each some time after the one before."""
    for first in range(0, facts, AT_ONCE):
        async with asyncio.TaskGroup() as group:
            for number in range(first, min(first + AT_ONCE, facts)):
                group.create_task(here.store.facts.remember("main", language.note(number)))
        clock.advance(DAY_MS // 100)


async def ask(here: Engine, language: Language, count: int) -> tuple[dict[str, dict[str, float]], float]:
    """Ask questions of each kind and return how long they took, and by how much memory grew after the first."""
    session = (await here.intake.message("c", "hello", "main", is_named=False, receipt=None)).session.id
    kinds = language.questions()
    for question in kinds.values():
        await here.memory.recall("main", question(), 10)
    before = process.memory().rss
    taken = {
        kind: await _timed(lambda text: here.memory.recall("main", text, 10), question, count)
        for kind, question in kinds.items()
    }
    taken["told in a prompt"] = await _timed(
        lambda text: here.memory.told(session, text, 3_200), lambda: language.sentence(10), count
    )
    return taken, (process.memory().rss - before) / MIB


async def _timed(
    answer: Callable[[str], Awaitable[object]], question: Callable[[], str], count: int
) -> dict[str, float]:
    """Return how long answers take, and the CPU of all threads for one."""
    samples, cpu_s = [], 0.0
    for _ in range(count):
        text = question()
        cpu, started = time.process_time(), time.perf_counter()
        await answer(text)
        samples.append(time.perf_counter() - started)
        cpu_s += time.process_time() - cpu
    return percentiles(samples) | {"cpu_mean": round(1_000 * cpu_s / count, 2)}


async def measure(parent: Path | None, facts: int, questions: int) -> Round:
    """Fill a memory and ask it."""
    language = Language(1)
    config = Config(memory=msgspec.structs.replace(MemorySection(), max_facts=max(facts, 100_000)))
    with folder(parent) as place:
        clock = ManualClock()
        async with engine(config, place, clock) as here:
            started = time.perf_counter()
            await fill(here, clock, language, facts)
            fill_s = time.perf_counter() - started
            say(f"{facts:,} facts after {fill_s:.0f} s")
            recall, grown = await ask(here, language, questions)
            main = (await here.store.storage()).main
    return Round(facts, recall, round(grown, 2), round(main / MIB, 1), round(fill_s, 1))


def main() -> None:
    """Measure with few and with many facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=300, help="of each kind")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure")
    parser.add_argument("--quick", action="store_true", help="a tenth of both")
    options = parser.parse_args()
    share = 10 if options.quick else 1
    rounds = [
        asyncio.run(measure(options.dir, facts, options.questions // share))
        for facts in (1_000, options.facts // share)
    ]
    many = rounds[-1]
    goals = [Goal(f"p99 of {kind}, ms", found["p99"], 20.0) for kind, found in many.recall.items()]
    goals.append(Goal("memory grown, MiB", many.grown_mib, 4.0))
    conditions = {"synchronous": "FULL", "words of a fact": FACT_WORDS, "at a time": 1, "vectors": False}
    finish("memory", conditions, [round_._asdict() for round_ in rounds], goals)


if __name__ == "__main__":
    main()
