import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from house import House
from remembering import EVERYTHING, found, keep, listed, note, said
from tidegate.clock import DAY_MS, SECOND_MS
from tidegate.domain.fact import HALF_LIFE_MS, FactOrigin, Kept, Note
from tidegate.domain.run import Usage
from tidegate.errors import FactNotFound, FactRefused
from tidegate.store import facts
from tidegate.store.facts import FactRules, Flushed
from tidegate.store.recall import Question
from work import delete, offer, work

pytestmark = pytest.mark.anyio


def held(house: House, agent: str = "main") -> tuple[int, int]:
    """Return how many facts an agent has by the count that is kept, and their bytes."""
    return house.store.tallies().facts.get(agent, (0, 0))


async def test_what_is_remembered_is_found(house: House) -> None:
    """By any of its words, whatever their case and marks, in its text, entity, key and value, also after a crash."""
    kept = await house.store.facts.remember("main", note("Café Zürich opens at 8", "Anna", "likes", "tea"))
    assert (Kept.NEW, "", 1) == (kept.kept, kept.before, held(house)[0])
    await house.crash()
    for question in ("cafe", "ZÜRICH?", "what does anna drink", "likes", "tea"):
        assert [kept.fact.text] == await found(house, question)
    assert [] == await found(house, "coffee")
    assert [kept.fact] == await house.store.facts.page("main", house.clock.now(), EVERYTHING, 10)


async def test_the_same_is_remembered_once(house: House) -> None:
    """Case, width and blanks make no other fact; saying it again makes it more important, never less."""
    first = await keep(house, "The cat is called Tom")
    house.clock.advance(DAY_MS)
    again = await house.store.facts.remember("main", Note(text=" the  CAT is called tom ", importance=8))
    assert (Kept.KNOWN, first.id, first.text, 8) == (
        again.kept,
        again.fact.id,
        again.fact.text,
        again.fact.importance,
    )
    assert (house.clock.now(), 1) == (again.fact.used_at, held(house)[0])
    assert (
        8 == (await house.store.facts.remember("main", Note(text=first.text, importance=2))).fact.importance
    )


async def test_a_property_has_one_value(house: House) -> None:
    """A new value takes the place of the old one, under the same id, whatever the case of entity and key."""
    old = await house.store.facts.remember("main", note("", "Anna", "phone", "111"))
    assert "Anna phone: 111" == old.fact.text
    house.clock.advance(SECOND_MS)
    new = await house.store.facts.remember("main", note("", "anna", "Phone", "222"))
    assert (Kept.REPLACED, old.fact.id, "Anna phone: 111") == (new.kept, new.fact.id, new.before)
    assert (old.fact.created_at, house.clock.now()) == (new.fact.created_at, new.fact.updated_at)
    assert ([], ["anna Phone: 222"]) == (await found(house, "111"), await found(house, "222"))
    assert 1 == held(house)[0]


async def test_one_text_and_one_property_meet(house: House) -> None:
    """A note that repeats one fact and replaces another leaves one of them, and the counts are right."""
    await keep(house, "Anna phone: 222")
    await house.store.facts.remember("main", note("", "Anna", "phone", "111"))
    merged = await house.store.facts.remember("main", note("", "Anna", "phone", "222"))
    assert Kept.REPLACED is merged.kept
    assert ["Anna phone: 222"] == await listed(house)
    assert (1, len("Anna phone: 222" + "Anna" + "phone" + "222")) == held(house)
    named = await house.store.facts.remember("main", note("Bob is tall", "Bob", "size"))
    assert named == await house.store.facts.remember("main", note("bob is tall")) or named.fact.key == "size"


async def test_agents_know_nothing_of_each_other(house: House) -> None:
    """The same text is a fact of each; neither finds, lists nor loses the other's."""
    house.store.facts.rules = FactRules(most=2)
    await keep(house, "shared secret", "main")
    await keep(house, "shared secret", "other")
    for number in range(5):
        await keep(house, f"other shared {number}", "other")
    assert ["shared secret"] == await found(house, "shared")
    assert (["shared secret"], 2) == (await listed(house), len(await listed(house, "other")))
    assert 3 == len(await listed(house, None))
    assert [] == await found(house, "shared", "nobody")


async def test_the_least_valuable_makes_room(house: House) -> None:
    """Importance counts, and fades by half a month without use; a new fact is never the one that goes."""
    house.store.facts.rules = FactRules(most=3)
    await keep(house, "old but vital", importance=10)
    useful = await keep(house, "old and useful", importance=2)
    await keep(house, "old and idle", importance=2)
    house.clock.advance(HALF_LIFE_MS)
    await house.store.facts.use([useful.id])
    await keep(house, "new", importance=1)
    assert ["new", "old and useful", "old but vital"] == await listed(house)
    await keep(house, "newer", importance=1)
    assert ["newer", "old and useful", "old but vital"] == await listed(house)


async def test_facts_level_off(house: House) -> None:
    """However many are remembered, an agent has as many as it may, and so has the index."""
    house.store.facts.rules = FactRules(most=50)
    levels = []
    for start in range(0, 300, 100):
        for number in range(start, start + 100):
            await keep(house, f"fact number {number}")
        levels.append((held(house)[0], len(await found(house, "number", limit=1_000))))
    assert [(50, 50)] * 3 == levels


async def test_a_lowered_limit_is_met_by_the_sweep(house: House) -> None:
    """What an agent has above it goes in slices, the least valuable first."""
    for number in range(12):
        await keep(house, f"fact {number}", importance=1 + number % 10)
    house.store.facts.rules = FactRules(most=3)
    assert 9 == await house.store.tidy()
    assert 0 == await house.store.tidy()
    assert ["fact 9", "fact 8", "fact 7"] == await listed(house)


async def test_what_expires_is_not_told_and_goes(house: House) -> None:
    """From its date on a fact is neither found nor listed, and the sweep takes it away."""
    until = house.clock.now() + DAY_MS
    await house.store.facts.remember("main", Note(text="parked on level 3", expires_at=until))
    assert 1 == len(await found(house, "parked"))
    house.clock.advance(DAY_MS)
    assert ([], []) == (await found(house, "parked"), await listed(house))
    assert (1, 1, 0) == (held(house)[0], await house.store.tidy(), await house.store.tidy())
    assert (0, 0) == held(house)


async def test_forgetting(house: House) -> None:
    """A fact goes with its words and comes back as it was; a second time there is none."""
    fact = await keep(house, "forget me")
    assert fact == await house.store.facts.forget(fact.id)
    assert ([], (0, 0)) == (await found(house, "forget"), held(house))
    with pytest.raises(FactNotFound):
        await house.store.facts.forget(fact.id)


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_a_session_goes(house: House, monkeypatch: pytest.MonkeyPatch, *, is_forgotten: bool) -> None:
    """What it has said stays without a source, or goes along, in slices; facts of other sessions are left alone."""
    monkeypatch.setattr(facts, "SLICE", 2)
    house.store.facts.rules = FactRules(go_with_session=is_forgotten)
    session = await work(house.store, offer(key="going"))
    other = (await house.store.admit(offer(key="staying"))).session
    for number in range(5):
        await said(house.store, f"going {number}", session.id)
    stays = (await said(house.store, "staying", other.id)).fact
    await delete(house.store, session)
    left = await house.store.facts.page("main", house.clock.now(), EVERYTHING, 10)
    assert (0 if is_forgotten else 5) == len([fact for fact in left if fact.source is None])
    assert [stays] == [fact for fact in left if fact.source is not None]
    assert 0 == sum((await house.store.orphans()).values())


async def test_what_comes_from_outside_changes_nothing(house: House) -> None:
    """It is kept beside the rest; it replaces and removes only what came from outside as well."""
    outside = FactOrigin.OUTSIDE
    trusted = await house.store.facts.remember("main", note("", "bank", "account", "111"))
    poison = msgspec.structs.replace(note("", "bank", "account", "666"), origin=outside)
    with pytest.raises(FactRefused):
        await house.store.facts.remember("main", poison)
    with pytest.raises(FactRefused):
        await house.store.facts.forget(trusted.fact.id, is_outside=True)
    repeated = msgspec.structs.replace(note("", "bank", "account", "111"), origin=outside)
    assert trusted.fact == (await house.store.facts.remember("main", repeated)).fact
    fresh = (await said(house.store, "from a hook", None, outside)).fact
    assert ["bank account: 111"] == [
        fact.text for fact in await house.store.facts.worthiest("main", house.clock.now(), 10)
    ]
    question = Question(agent="main", text="hook", now=house.clock.now(), limit=9, with_outside=False)
    assert [] == await house.store.facts.search(question)
    assert FactOrigin.AGENT is (await said(house.store, "from a hook", None)).fact.origin
    assert fresh.id == (await house.store.facts.forget(fresh.id)).id


async def test_outside_makes_room_first(house: House) -> None:
    """However much comes from outside and however important it says it is, no more than one place is lost to it."""
    house.store.facts.rules = FactRules(most=4)
    for number in range(4):
        await keep(house, f"mine {number}", importance=1)
    for number in range(9):
        note_ = Note(text=f"outside {number}", importance=10, origin=FactOrigin.OUTSIDE)
        await house.store.facts.remember("main", note_)
    assert ["outside 8", "mine 3", "mine 2", "mine 1"] == await listed(house)
    await keep(house, "mine again", importance=1)
    assert ["mine again", "mine 3", "mine 2", "mine 1"] == await listed(house)


async def test_a_flush_is_taken_once(house: House) -> None:
    """What was found up to an entry is kept once, with what it cost; a session that has gone is passed over."""
    session = (await house.store.admit(offer(key="talk"))).session
    flushed = Flushed(
        session=session.id,
        through=10,
        agent="main",
        notes=[Note(text="likes tea"), Note(text="likes tea ")],
        model="offline",
        usage=Usage(input_tokens=5, output_tokens=2),
    )
    assert 0 == await house.store.facts.flushed_through(session.id)
    assert [1, 0] == [await house.store.facts.flush(flushed) for _ in range(2)]
    assert 10 == await house.store.facts.flushed_through(session.id)
    later = msgspec.structs.replace(flushed, through=20, notes=[Note(text="likes cake")])
    assert 1 == await house.store.facts.flush(later)
    assert 0 == await house.store.facts.flush(msgspec.structs.replace(later, session="gone", through=30))
    assert ["likes cake", "likes tea"] == await listed(house)


HOSTILE = [
    '"', '""" AND OR NOT', "NEAR(a b)", "a* b^ -c :d {e}", "text: x", "'; DROP TABLE facts; --", "a\0b\0c",
    "👩‍👩‍👧 family 🐈", "100% _ \\", "select(*)", "\u202eright", "ﬁ ligature", "ß straße", "İstanbul", "你好 世界",
    "a" * 3_000, "word " * 2_000, "x" * 1_000_000, "\ud7ff\ue000", "-" * 5_000, "AND", "_", "",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_any_question_is_answered(house: House, text: str) -> None:
    """No text is taken for a language of its own, however it looks and however long it is."""
    kept = text[:2_000]
    if kept.strip():
        assert kept == (await keep(house, kept)).text
        assert [kept] == await listed(house)
    await keep(house, "something else entirely")
    assert len(await found(house, text)) <= 2
    assert 0 == sum((await house.store.orphans()).values())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(text=st.text(max_size=300), question=st.text(max_size=300))
async def test_texts_come_back_as_they_were(house: House, text: str, question: str) -> None:
    """Whatever a fact says, it is kept to the letter, and whatever is asked gets an answer."""
    if text.strip():
        fact = (await house.store.facts.remember("main", Note(text=text))).fact
        assert fact == await house.store.facts.forget(fact.id)
        assert text == fact.text
    await found(house, question)
    assert [] == await listed(house)


async def test_a_common_word_is_answered_from_few_facts(house: House) -> None:
    """Of a word that all facts have, the valuable and the new are found; a rare word is found however old."""
    house.store.facts.rules = FactRules(most=5_000)
    vital = await keep(house, "common vital thing", importance=10)
    rare = await keep(house, "common zebra thing", importance=1)
    for number in range(1_500):
        await keep(house, f"common filler {number}", importance=2)
    assert [rare.text] == (await found(house, "zebra"))[:1]
    assert [rare.text] == (await found(house, "the common zebra"))[:1]
    answers = await found(house, "common", limit=50)
    assert vital.text in answers[:1]
    assert 50 == len(answers)


async def test_words_of_any_script_are_found(house: House) -> None:
    """Letters that the index folds in its own way, lone marks, new signs: each word is found as it is written."""
    texts = ("İstanbul", "n\u0303andu", "\N{LATIN SMALL LIGATURE FI}ancée", "ß", "\U0001f98afox", "a\ue000b")
    for text in texts:
        await keep(house, text)
    assert [[text] for text in texts] == [await found(house, text) for text in texts]
