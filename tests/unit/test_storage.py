import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.session import PolicyName
from tidegate.domain.storage import Group, floor, marks, usual_limit

MB = 1 << 20
GB = 1 << 30


@pytest.mark.parametrize(
    ("free", "own", "limit"),
    [
        (100 * GB, 0, 10 * GB),
        (8 * GB, 0, 4 * GB),
        (6 * GB, 2 * GB, 4 * GB),
        (0, 2 * GB, GB),
        (64 * MB, 0, 32 * MB),
    ],
)
def test_usual_limit(free: int, own: int, limit: int) -> None:
    """Half of what there is for the state, what it has already counted in, and 10 GB at most."""
    assert limit == usual_limit(free, own)


@pytest.mark.parametrize(
    ("disk", "left"), [(64 * MB, 64 * MB // 20), (GB, GB // 20), (2 * GB, 64 * MB), (GB << 10, 64 * MB)]
)
def test_floor(disk: int, left: int) -> None:
    """A twentieth of a small disk is left to people, 64 MB of a large one."""
    assert left == floor(disk)


@given(st.integers(1 << 20, 1 << 50))
def test_marks_rise(limit: int) -> None:
    """The marks of any limit are apart and in order."""
    found = marks(limit)
    assert 0 < found.low < found.high < found.last < found.limit == limit


def test_no_conversation_gives_way() -> None:
    """The order is the documented one; neither a chat nor a session that a client has named stands in it."""
    order = ["api", "hook", "cron_ok", "subagent", "cron_failed"]
    assert order == [group.label for group in Group]
    assert {PolicyName.API, PolicyName.HOOK, PolicyName.CRON, PolicyName.SUBAGENT} == {
        one.policy for one in Group
    }
