import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.level import Level, step

MARKS = (0.7, 0.8, 0.9)
SLACK = 0.05


@pytest.mark.parametrize(
    ("shares", "steps"),
    [
        ([0.0, 0.69, 0.70, 0.79, 0.80, 0.90, 2.0], [0, 0, 1, 1, 2, 3, 3]),
        ([0.95, 0.86, 0.84, 0.76, 0.74, 0.66, 0.64], [3, 3, 2, 2, 1, 1, 0]),
        ([0.95, 0.1], [3, 0]),
        ([0.71, 0.69, 0.71, 0.66, 0.69], [1, 1, 1, 1, 1]),
    ],
)
def test_steps_up_at_once_and_down_late(shares: list[float], steps: list[int]) -> None:
    """A mark is passed when it is reached, and left only five points below."""
    found, before = [], 0
    for share in shares:
        before = step(before, share, MARKS, SLACK)
        found.append(before)

    assert steps == found


@given(st.lists(st.floats(min_value=0, max_value=3), max_size=50))
def test_never_below_what_is_reached(shares: list[float]) -> None:
    """The step is at least what the share has reached, and above it by as much as the slack allows only."""
    before = 0
    for share in shares:
        before = step(before, share, MARKS, SLACK)
        assert sum(share >= mark for mark in MARKS) <= before <= sum(share >= mark - SLACK for mark in MARKS)


@given(st.sampled_from(range(3)), st.lists(st.floats(min_value=-0.049, max_value=0.049), max_size=20))
def test_noise_within_the_slack_changes_nothing(number: int, noise: list[float]) -> None:
    """Once a mark is passed, noise around it that is smaller than the slack never leaves it."""
    before = number + 1
    for part in noise:
        before = step(before, MARKS[number] + part, MARKS, SLACK)
        assert number + 1 == before


def test_ranks_are_numbers_for_graphs() -> None:
    """The levels count from 0."""
    assert [0, 1, 2] == [level.rank for level in Level]
