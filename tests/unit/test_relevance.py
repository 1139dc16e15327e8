import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.clock import DAY_MS
from tidegate.domain.fact import HALF_LIFE_MS, Fact, FactOrigin, Note, worth
from tidegate.domain.relevance import (
    MAX_TERMS,
    by_meaning,
    by_words,
    fused,
    rarity,
    terms,
    words,
)
from tidegate.ids import FactId

NOW = 400 * DAY_MS


def fact(number: int, text: str, importance: int = 5, age_ms: int = 0) -> Fact:
    """Return a fact."""
    return Fact(
        number=number,
        id=FactId(str(number)),
        agent="main",
        text=text,
        entity="",
        key="",
        value="",
        category="",
        importance=importance,
        origin=FactOrigin.AGENT,
        source=None,
        created_at=NOW - age_ms,
        updated_at=NOW - age_ms,
        used_at=NOW - age_ms,
        expires_at=None,
    )


def test_words_are_compared_without_case_and_marks() -> None:
    """What the index takes for the same word is the same here."""
    assert ["cafe", "in", "zurich", "8", "strasse"] == words("CAFÉ in Zürich_8, Straße!")


def test_terms_end_where_the_index_ends_them() -> None:
    """Whatever character stands between two letters, the index cuts there if a term does, and finds every term."""
    connection = apsw.Connection(":memory:")
    tokenizer = connection.fts5_tokenizer("unicode61", ["remove_diacritics", "2"])

    def tokens(text: str) -> int:
        found = list(tokenizer(text.encode(), apsw.FTS5_TOKENIZE_QUERY, None, include_offsets=False))
        return len(found)

    every = (f"a{chr(code)}b" for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000)
    assert [] == [text for text in every if len(terms(text)) > 1 and tokens(text) == 1]
    said = "\N{LATIN SMALL LIGATURE FI}ancée İstanbul ß straße n\u0303a \U0001f98afox \U0001f408 cat a\ue000b"
    assert [tokens(term) for term in terms(said)] == [1] * 8


def test_terms_of_a_long_question() -> None:
    """Of very many words the longest are looked for, each once, in their order; what is no word is passed over."""
    text = "the the " + " ".join(f"{'w' * (number % 30 + 1)}{number}" for number in range(500)) + "x" * 70
    assert MAX_TERMS == len(terms(text)) == len(set(terms(text)))
    assert ["anna", "AND", "bob"] == terms('"Anna" AND bob* -anna')
    assert [] == terms('"*" -- \0 🐈')


def test_a_rare_word_counts_for_more() -> None:
    """A fact with the rare word comes before those with the common one, however important they are."""
    facts = [fact(1, "common thing", 10), fact(2, "common zebra", 1), fact(3, "nothing of it")]
    found = by_words(facts, {"common": rarity(90_000, 100_000), "zebra": rarity(1, 100_000)}, NOW)
    assert [2, 1] == [one.number for one in found]


def test_among_equals_worth_decides() -> None:
    """Of facts that answer alike the more important and the fresher come first."""
    facts = [fact(1, "tea", 5, HALF_LIFE_MS), fact(2, "tea", 9), fact(3, "tea", 5)]
    assert [2, 3, 1] == [one.number for one in by_words(facts, {"tea": 1.0}, NOW)]
    assert [2, 3, 1] == [one.number for one in by_meaning([(one, 0.2) for one in facts], NOW)]


def test_two_rankings_are_one() -> None:
    """What both find comes first; what one alone finds is not lost; each fact comes once."""
    both, one, other = fact(1, "a"), fact(2, "b"), fact(3, "c")
    assert [both, one, other] == fused([[one, both], [other, both]])
    assert [] == fused([[], []])


@given(st.integers(1, 10), st.integers(1, 10), st.integers(0, NOW), st.integers(0, NOW), st.integers(0, NOW))
def test_worth_keeps_its_order(one: int, other: int, one_at: int, other_at: int, later: int) -> None:
    """The order that is stored is the order of what facts are worth at any later time."""
    now = max(one_at, other_at) + later
    merits = [
        fact(1, "", one, NOW - one_at).merit(now),
        fact(2, "", other, NOW - other_at).merit(now),
    ]
    stored = [worth(one, one_at), worth(other, other_at)]
    if min(merits) > 1e-300 and abs(stored[0] - stored[1]) > 1e-6:
        assert (merits[0] < merits[1]) == (stored[0] < stored[1])


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        (Note(text=" \n"), "there is nothing to remember: text is empty"),
        (Note(text="x", entity="e"), "entity and key belong together"),
        (Note(text="x", key="k"), "entity and key belong together"),
        (Note(text="x", value="v"), "a value needs an entity and a key"),
        (Note(entity="e", key="k"), ""),
    ],
)
def test_what_is_nothing_to_remember(note: Note, problem: str) -> None:
    """Half of a property and an empty text are refused in words."""
    assert problem == note.problem()
