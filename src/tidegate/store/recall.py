"""Finds facts: on a reader's thread, at a cost that follows fixed limits and not how many facts there are.

Ranking every fact that has a common word would take a hundred times as long as a search may. So the lists of the words
are read from their new ends, `NEWEST` places each, and never ranked by the database. The candidates are those that have
the rarest and the most of the words, the newest with all of them, and the agent's most valuable facts; they alone are
read and ranked. A word that `NEWEST` facts or fewer have is thereby found exactly, however old; of a commoner one the
newest facts and the most valuable.
"""

import heapq
import json
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from tidegate.domain import relevance
from tidegate.domain.fact import Fact, FactOrigin
from tidegate.store import rows
from tidegate.store.tx import Reads

NEWEST = 400  # places that are read of the list of each word
CANDIDATES = 120  # of them, the facts that are read and ranked
VALUABLE = 40
TOGETHER = 4  # words that are looked for in one fact, the rarest
RANGE = 1 << 32  # numbers of an agent


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for in an agent's memory."""

    agent: str
    text: str
    now: int
    limit: int
    #: what the text means to a model
    model: str = ""
    vector: bytes = b""
    with_outside: bool = True


def numbers(agent: int) -> range:
    """Return the numbers that the facts of an agent have."""
    return range(agent * RANGE, (agent + 1) * RANGE)


def search(reads: Reads, question: Question) -> list[Fact]:
    """Return what answers a question, best first."""
    row = reads.one("fact_agent", name=question.agent)
    if row is None:
        return []
    place = numbers(row[0])
    rarity = {}
    found: defaultdict[int, float] = defaultdict(float)
    for term in relevance.terms(question.text):
        hits = _with(reads, [term], place)
        rarity[term] = _rarity(reads, question.agent, hits, place)
        for number in hits:
            found[number] += rarity[term]
    for number in _with(reads, sorted(rarity, key=lambda term: -rarity[term])[:TOGETHER], place):
        found[number] += sum(rarity.values())
    chosen = heapq.nlargest(CANDIDATES, found, key=lambda number: (found[number], number))
    candidates = {fact.number: fact for fact in _read(reads, question, chosen)}
    for fact in worthiest(reads, question.agent, question.now, VALUABLE):
        candidates.setdefault(fact.number, fact)
    rankings = [relevance.by_words(list(candidates.values()), rarity, question.now)]
    if question.vector:
        rankings.append(_near(reads, question, place))
    return relevance.fused(rankings)[: question.limit]


def worthiest(reads: Reads, agent: str, now: int, limit: int) -> list[Fact]:
    """Return the most valuable facts of an agent that do not come from outside."""
    found = reads.all("facts_worthiest", agent=agent, now=now, limit=limit)
    return [rows.fact(row) for row in found]


def page(reads: Reads, agent: str | None, now: int, before: int, limit: int) -> list[Fact]:
    """Return one page of facts, highest number first."""
    if agent is None:
        return [rows.fact(row) for row in reads.all("facts_page", now=now, before=before, limit=limit)]
    row = reads.one("fact_agent", name=agent)
    if row is None:
        return []
    place = numbers(row[0])
    end = min(before, place.stop)
    found = reads.all("facts_page_of_agent", first=place.start, before=end, now=now, limit=limit)
    return [rows.fact(row) for row in found]


def _with(reads: Reads, words: Sequence[str], place: range) -> list[int]:
    """Return the numbers of the newest facts that have all of the words."""
    if not words:
        return []
    match = " AND ".join(f'"{word}"' for word in words)  # they have letters and digits alone
    found = reads.all("facts_with", words=match, first=place.start, end=place.stop, limit=NEWEST)
    return [number for (number,) in found]


def _rarity(reads: Reads, agent: str, hits: Sequence[int], place: range) -> float:
    """Return what a word counts for; how many facts have a common one is told by how close its newest ones lie."""
    held = reads.one("facts_held", agent=agent)
    total = held[0] if held else 0
    if len(hits) < NEWEST:
        return relevance.rarity(len(hits), total)
    row = reads.one("fact_number", first=place.start, end=place.stop)
    newest = row[0] - 1 if row else hits[0]
    share = NEWEST / max(NEWEST, newest - hits[-1] + 1)
    return relevance.rarity(round(share * total), total)


def _near(reads: Reads, question: Question, place: range) -> list[Fact]:
    """Return the facts whose meaning is nearest."""
    nearest = reads.all(
        "facts_near",
        first=place.start,
        end=place.stop,
        model=question.model,
        vector=question.vector,
        limit=max(question.limit, VALUABLE),
    )
    found = {int(number): float(distance) for number, distance in nearest if distance is not None}
    facts = _read(reads, question, list(found))
    return relevance.by_meaning(((fact, found[fact.number]) for fact in facts), question.now)


def _read(reads: Reads, question: Question, wanted: Sequence[int]) -> list[Fact]:
    found = reads.all("facts_numbered", numbers=json.dumps(list(wanted)), now=question.now)
    facts = [rows.fact(row) for row in found]
    return [fact for fact in facts if question.with_outside or fact.origin is not FactOrigin.OUTSIDE]
