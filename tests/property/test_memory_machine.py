"""Random lives of facts in the real store, against a dict for each agent."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from extent import share
from house import SqliteHouse
from remembering import EVERYTHING
from tidegate.clock import DAY_MS
from tidegate.domain.fact import Fact, Kept, Note, worth
from tidegate.ids import SessionId
from tidegate.store.facts import FactRules
from tidegate.store.recall import Question
from work import delete, offer, work

T = TypeVar("T")

EXAMPLES = share(60)
MOST = 2
AGENTS = st.sampled_from(["main", "other"])
WORDS = ["tea", "TEA", " tea", "milk", 'say "x"', "straße", "🐈 \0 cat"]
PLACES = st.sampled_from([("", ""), ("Anna", "drink"), ("anna", "DRINK"), ("Bob", "drink")])
MEMORY = Path("/dev/shm")  # noqa: S108 - thousands of commits need no disk; mkdtemp makes a folder of its own


class MemoryMachine(RuleBasedStateMachine):
    """Two agents that remember, use, forget and age; sessions that go; a store that crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.house = SqliteHouse(self.root)
        self.known: dict[str, dict[int, Fact]] = {"main": {}, "other": {}}
        self.sessions: list[SessionId] = []
        self.goes = False
        self.do(self.house.open())
        self.enter()

    def do(self, operation: Coroutine[Any, Any, T]) -> T:
        """Wait for one operation."""
        return self.runner.run(operation)

    def enter(self) -> None:
        """Say what holds of facts, as a start does."""
        self.house.store.facts.rules = FactRules(most=MOST, go_with_session=self.goes)

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.do(self.house.close())
        self.runner.close()
        shutil.rmtree(self.root)

    @rule(
        agent=AGENTS,
        said=st.tuples(st.sampled_from(WORDS), PLACES),
        importance=st.integers(1, 10),
        days=st.sampled_from([None, None, 1, 40]),
        by=st.integers(-1, 2),
    )
    def remember(
        self, agent: str, said: tuple[str, tuple[str, str]], importance: int, days: int | None, by: int
    ) -> None:
        """What is said is there, once, and is never what makes room."""
        text, (entity, key) = said
        note = Note(
            text=text,
            entity=entity,
            key=key,
            importance=importance,
            expires_at=self.house.clock.now() + days * DAY_MS if days else None,
            source=self.sessions[by] if 0 <= by < len(self.sessions) else None,
        )
        known = self.known[agent]
        same = [fact for fact in known.values() if _of(fact).digest == note.digest]
        placed = [fact for fact in known.values() if note.place and _of(fact).place == note.place]
        kept = self.do(self.house.store.facts.remember(agent, note))
        for fact in same if placed else []:
            known.pop(fact.number)
        if not same and not placed and len(known) == MOST:
            least = min(known.values(), key=lambda fact: (worth(fact.importance, fact.used_at), fact.number))
            del known[least.number]
        expected = Kept.REPLACED if placed and placed != same else Kept.KNOWN if same else Kept.NEW
        assert expected is kept.kept
        known[kept.fact.number] = kept.fact
        assert (note.digest, self.house.clock.now()) == (_of(kept.fact).digest, kept.fact.used_at)

    @rule(agent=AGENTS, at=st.integers(0, MOST))
    def forget(self, agent: str, at: int) -> None:
        """What is forgotten is gone."""
        for fact in list(self.known[agent].values())[at : at + 1]:
            assert fact == self.do(self.house.store.facts.forget(fact.id))
            del self.known[agent][fact.number]

    @rule(agent=AGENTS, at=st.integers(0, MOST))
    def use(self, agent: str, at: int) -> None:
        """What is of use is worth more."""
        for fact in list(self.known[agent].values())[at : at + 1]:
            self.do(self.house.store.facts.use([fact.id]))
            used = msgspec.structs.replace(fact, used_at=self.house.clock.now())
            self.known[agent][fact.number] = used

    @rule()
    def begin(self) -> None:
        """A session is there that facts may come from."""
        if len(self.sessions) < 3:
            admission = offer(key=f"s{len(self.sessions)}-{self.house.clock.now()}")
            self.sessions.append(self.do(work(self.house.store, admission)).id)

    @rule(goes=st.booleans())
    def end(self, *, goes: bool) -> None:
        """A session is deleted, and with it what it has said, or its name."""
        if self.sessions:
            self.goes = goes
            self.enter()
            gone = self.sessions.pop()
            head = self.house.store.session_by_id(gone)
            assert head is not None
            self.do(delete(self.house.store, head))
            for known in self.known.values():
                for fact in [fact for fact in known.values() if fact.source == gone]:
                    del known[fact.number]
                    if not goes:
                        known[fact.number] = msgspec.structs.replace(fact, source=None)

    @rule(days=st.sampled_from([1, 7, 60]))
    def age(self, days: int) -> None:
        """Time passes and the sweep tidies up."""
        self.house.clock.advance(days * DAY_MS)
        while self.do(self.house.store.tidy()):
            pass
        for known in self.known.values():
            for fact in [*known.values()]:
                if fact.expires_at is not None and fact.expires_at <= self.house.clock.now():
                    del known[fact.number]

    @rule()
    def crash(self) -> None:
        """What was acknowledged survives."""
        self.do(self.house.crash())
        self.enter()

    @invariant()
    def all_is_as_it_was_said(self) -> None:
        """Each agent has its facts and no other ones; counts, index and sources are right."""
        now = self.house.clock.now()
        for agent, known in self.known.items():
            page = self.do(self.house.store.facts.page(agent, now, EVERYTHING, 100))
            assert sorted(known.values(), key=lambda fact: -fact.number) == page
            held = self.house.store.tallies().facts.get(agent, (0, 0))
            assert (len(known), sum(len(part.encode()) for fact in page for part in _texts(fact))) == held
            for fact in page:
                asked = Question(agent=agent, text=fact.text, now=now, limit=MOST)
                assert fact in self.do(self.house.store.facts.search(asked))
        assert sum(self.do(self.house.store.orphans()).values()) == 0


def _of(fact: Fact) -> Note:
    return Note(text=fact.text, entity=fact.entity, key=fact.key)


def _texts(fact: Fact) -> tuple[str, ...]:
    return fact.text, fact.entity, fact.key, fact.value


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None)
