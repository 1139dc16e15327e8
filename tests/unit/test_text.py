import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli.text import folded, literal, plain


@given(text=st.text(st.characters(codec=None)))
def test_plain_keeps_lines_and_nothing_that_steers(text: str) -> None:
    """No control character but the ends of lines and tabs comes through; every other character does."""
    shown = plain(text)
    assert len(shown) == len(text)
    assert [one for one in shown if unicodedata.category(one) in {"Cc", "Cs"} and one not in "\n\t"] == []
    assert all(one in {"�", said} for one, said in zip(shown, text, strict=True))


@given(text=st.text(st.characters(codec=None)))
def test_nothing_hides_in_a_literal_text(text: str) -> None:
    """Each character of the result can be seen, and what could be seen before is unchanged."""
    shown = literal(text)
    assert shown == "" or shown.isprintable()
    if text.isprintable():
        assert shown == text


@given(text=st.text(), limit=st.integers(1, 40))
def test_folded(text: str, limit: int) -> None:
    """The start of a text is one line, not longer than asked for."""
    assert len(folded(text, limit)) <= limit
    assert "\n" not in folded(text, limit)
