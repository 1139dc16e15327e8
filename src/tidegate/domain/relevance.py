"""Which of some facts answer a question best: by their words, by their meaning where that is known, by their worth.

Words are ranked as BM25 does, over the candidates; how rare a word is has been looked up among all facts. Several
rankings are fused by reciprocal rank, which needs no common scale. In each of them a score is weighted by what the fact
is worth now.

Sources: Robertson and Zaragoza, The Probabilistic Relevance Framework (2009); Cormack, Clarke and Büttcher, Reciprocal
Rank Fusion (2009).
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tidegate.domain.fact import Fact

MAX_QUERY_CHARS = 2_000
MAX_TERMS = 12
MAX_TERM_CHARS = 64
SATURATION, LENGTH_SHARE = 1.2, 0.75  # k1 and b
USUAL_TERMS = 16  # of a fact: what is longer counts less
RANK_OFFSET = 60

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """Return the words of a text as they are compared: small letters without marks."""
    if text.isascii():
        return _WORD.findall(text.lower())
    plain = unicodedata.normalize("NFKD", text).casefold()
    return _WORD.findall("".join(char for char in plain if not unicodedata.combining(char)))


def terms(text: str) -> list[str]:
    """Return the different words of a question, as they stand in it; of very many the longest, which say most.

    They are left as they are written: the index folds them in the way in which it has folded those of the facts.
    """
    written = (word for word in _written(text[:MAX_QUERY_CHARS]) if len(word) <= MAX_TERM_CHARS)
    found = list({word.casefold(): word for word in written}.values())
    if len(found) <= MAX_TERMS:
        return found
    longest = set(sorted(found, key=len, reverse=True)[:MAX_TERMS])
    return [word for word in found if word in longest]


def _written(text: str) -> list[str]:
    """Return the words as the index cuts them, or several together that it cuts: it knows an older Unicode."""
    if text.isascii():
        return _WORD.findall(text)
    cut = "".join(char if _is_inside(char) else " " for char in text)
    return [word for word in cut.split() if _WORD.search(word)]


def _is_inside(char: str) -> bool:
    """Whether a character may be inside of a word; for the index one that it does not know is, and some marks are."""
    known = unicodedata.ucd_3_2_0.category(char)
    return known[0] in "LN" or known in {"Cn", "Co"} or char.isalnum() or "\u0300" <= char <= "\u036f"


def by_words(facts: Sequence[Fact], rarity: Mapping[str, float], now: int) -> list[Fact]:
    """Return the facts that have any of the words, best first; *rarity* is what each word counts for."""
    weights = {word: weight for term, weight in rarity.items() for word in words(term)}
    return _ranked(((fact, _score(fact, weights)) for fact in facts), now)


def by_meaning(facts: Iterable[tuple[Fact, float]], now: int) -> list[Fact]:
    """Return facts, given with how far each lies from the question (0 to 2), best first; from 1 on none."""
    return _ranked(((fact, 1 - distance) for fact, distance in facts), now)


def rarity(found: int, of: int) -> float:
    """Return what a word counts for that *found* of all facts have."""
    return math.log(1 + max(0.0, of - found + 0.5) / (found + 0.5))


def fused(rankings: Sequence[Sequence[Fact]]) -> list[Fact]:
    """Return the facts of several rankings, each once, best first; among equals the first ranking has its way."""
    scores: defaultdict[int, float] = defaultdict(float)
    facts: dict[int, Fact] = {}
    for ranking in rankings:
        for rank, fact in enumerate(ranking, 1):
            facts[fact.number] = fact
            scores[fact.number] += 1 / (RANK_OFFSET + rank)
    return [facts[number] for number in sorted(facts, key=lambda number: -scores[number])]


def _ranked(scored: Iterable[tuple[Fact, float]], now: int) -> list[Fact]:
    """Sort by score, in which what is worth nothing any more counts half; without a score a fact is no answer."""
    weighted = [(score * (1 + fact.merit(now)) / 2, fact) for fact, score in scored if score > 0]
    return [fact for _, fact in sorted(weighted, key=lambda pair: (-pair[0], -pair[1].number))]


def _score(fact: Fact, weights: Mapping[str, float]) -> float:
    said = words(f"{fact.text} {fact.entity} {fact.key} {fact.value}")
    counts = Counter(word for word in said if word in weights)
    length = 1 - LENGTH_SHARE + LENGTH_SHARE * len(said) / USUAL_TERMS
    return sum(
        weights[word] * count * (SATURATION + 1) / (count + SATURATION * length)
        for word, count in counts.items()
    )
