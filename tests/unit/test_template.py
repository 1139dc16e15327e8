import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import template
from tidegate.errors import TooLarge

DOCUMENT = {
    "title": "a {body} of {{work}}",
    "count": 3,
    "ok": True,
    "none": None,
    "user": {"name": "Ann", "tags": ["x", {"deep": "y"}]},
    "__class__": "just a key",
}


def filled(text: str, document: object = DOCUMENT) -> str:
    """Fill a template."""
    return template.fill(template.parse(text), document, "WHOLE", lambda value: f"<{value}>", 1_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("see {body}.", "see <WHOLE>."),
        ("{title}", "<a {body} of {{work}}>"),
        ("{user.name}, {count}, {ok}", "<Ann>, <3>, <true>"),
        ("{user.tags.1.deep}{user.tags.0}", "<y><x>"),
        ("{user.tags}", '<["x",{"deep":"y"}]>'),
        ("{{title}} {{{title}}}", "{title} {<a {body} of {{work}}>}"),
        ("{none}{missing}{user.missing.deep}{title.name}", "<><><><>"),
        ("{user.tags.2}{user.tags.-1}{user.tags.00}", "<><><x>"),
        ("{__class__}{user.__class__}{count.real}", "<just a key><><>"),
    ],
)
def test_filling(text: str, expected: str) -> None:
    """Values stand in their places, quoted; what is not there is empty; values are never read as templates."""
    assert filled(text) == expected


@pytest.mark.parametrize(
    "text",
    ["{", "}", "a { b", "{}", "{ title }", "{title!r}", "{title:>10}", "{user[name]}", "{user..name}", "{a.}",
     "{user.name()}", "{{{", "{ä}", "{a" + ".a" * 16 + "}", "{a}" * 65, "x" * 16_001],
)  # fmt: skip
def test_what_is_no_template(text: str) -> None:
    """No formats, no conversions, no calls, no lone braces, no more than fits."""
    with pytest.raises(ValueError, match=r"\w"):
        template.parse(text)


@given(st.text(max_size=200), st.recursive(st.none() | st.text() | st.integers(), st.lists))
def test_any_text_is_a_template_or_is_refused(text: str, document: object) -> None:
    """Nothing but a ValueError comes of a strange template, and nothing at all of a strange document."""
    try:
        parts = template.parse(text)
    except ValueError:
        return
    template.fill(parts, document, "", str, 1 << 20)


@given(st.text(max_size=200))
def test_braces_written_twice_are_text(text: str) -> None:
    """Every text can be written as a template."""
    assert filled(text.replace("{", "{{").replace("}", "}}")) == text


def test_a_value_in_many_places_is_made_no_more_often_than_there_is_room() -> None:
    """The text is measured before the next value is written into it."""
    made: list[int] = []

    def quote(value: str) -> str:
        made.append(len(value))
        return value

    parts = template.parse("{body}" * template.MAX_FIELDS)
    with pytest.raises(TooLarge):
        template.fill(parts, {}, "x" * 1_000, quote, 2_500)
    assert [1_000] * 3 == made
    assert "x" * 64_000 == template.fill(parts, {}, "x" * 1_000, quote, 64_000)
