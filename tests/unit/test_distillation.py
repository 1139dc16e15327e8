import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.agent.distillation import MAX_NOTES, lines, notes
from tidegate.domain.fact import FactOrigin

ANSWERS = {
    "lines": "remember: likes tea\n- Remember:  the car is on level 3 \nother words\n2. remember: x",
    "array": '["likes tea", {"text": "the car is on level 3"}, {"text": "x"}]',
    "objects": '{"text": "likes tea"}\n- {"text": "the car is on level 3"},\n{"text": "x"}',
    "fence": '```json\n["likes tea", "the car is on level 3", "x"]\n```',
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_read_leniently(name: str) -> None:
    """Lines, JSON and fences say the same."""
    found = notes(ANSWERS[name])
    assert ["likes tea", "the car is on level 3", "x"] == [note.text for note in found]
    assert {FactOrigin.FLUSH} == {note.origin for note in found}


def test_a_property() -> None:
    """Entity, key and value are taken, what is out of bounds is brought into them, half a property is left out."""
    values = {"text": "t", "entity": "Anna", "key": "tea", "value": "green", "importance": 99, "category": 7}
    (note,) = notes(json.dumps(values))
    assert ("Anna", "tea", "green", 10, "") == (
        note.entity,
        note.key,
        note.value,
        note.importance,
        note.category,
    )
    (half,) = notes('{"text": "t", "entity": "Anna", "value": "v", "importance": true}')
    assert ("", "", "", 5) == (half.entity, half.key, half.value, half.importance)


def test_answers_are_limited_strictly() -> None:
    """However much a model says, few notes come of it, none of them long; chatter and dashes are none."""
    assert MAX_NOTES == len(notes("\n".join(f"remember: {number}" for number in range(1_000))))
    assert 2_000 == len(notes(json.dumps(["x" * 10_000]))[0].text)
    assert [] == notes("x" * 1_000_000)
    for nothing in ("-", "", "I would remember nothing.", "[" * 10_000, '{"text": ""}', "[1, null]", "{"):
        assert [] == notes(nothing)


@given(st.text())
def test_nothing_makes_it_fail(answer: str) -> None:
    """Whatever comes back is read."""
    assert len(notes(answer)) <= MAX_NOTES


def test_lines_of_a_conversation() -> None:
    """What says of itself that it is to be remembered is found; nothing else is."""
    assert "remember: a b\nremember: c" == lines("[user]\nremember: a b\nhello\n[agent]\nREMEMBER: c")
    assert "-" == lines("please remember: not this")
