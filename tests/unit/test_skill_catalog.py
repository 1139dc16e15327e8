from hypothesis import given
from hypothesis import strategies as st

from tidegate.agent.skills.catalog import tell

NAMES = st.from_regex("[a-z]{1,20}", fullmatch=True)
SKILLS = {"b": "Does b.", "a": "Does a.", "c": "Does c."}


def lines(max_bytes: int) -> list[str]:
    """Return what is told below the introduction."""
    return tell(SKILLS, max_bytes).splitlines()[1:]


def test_nothing_is_told_of_nothing() -> None:
    """Without skills there is no catalog."""
    assert tell({}, 1_000) == ""


def test_sorted_with_descriptions() -> None:
    """Skills are told by name, each with its description, below how one is read."""
    assert "`skill`" in tell(SKILLS, 1_000)
    assert lines(1_000) == ["- a: Does a.", "- b: Does b.", "- c: Does c."]


def test_less_and_less() -> None:
    """With less room the last descriptions go, then all, then the last names."""
    assert lines(33) == ["- a: Does a.", "- b: Does b.", "- c"]
    assert lines(15) == ["- a", "- b", "- c"]
    assert lines(2) == ["- 3 in all"]
    many = {f"s{number:03}": "x" for number in range(100)}
    assert tell(many, 60).splitlines()[1:] == [*(f"- s{number:03}" for number in range(6)), "- and 94 more"]


@given(
    st.dictionaries(st.from_regex("[a-z]{1,20}", fullmatch=True), st.text(max_size=50), max_size=30),
    st.integers(0, 2_000),
)
def test_the_budget_holds(skills: dict[str, str], max_bytes: int) -> None:
    """Below the introduction there are never more bytes than there may be, but for one short line."""
    told = tell(skills, max_bytes).partition("\n")[2]
    assert len(told.encode()) <= max(max_bytes, 20)
