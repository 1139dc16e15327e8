from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from tidegate.bucket import Bucket
from tidegate.clock import MINUTE_MS


def test_a_minute_at_once_and_then_evenly() -> None:
    """What a minute allows may come at once; then one comes free after another."""
    bucket = Bucket(60, now=5)
    assert [bucket.take(5) for _ in range(60)] == [0] * 60
    assert bucket.take(5) == 1_000
    assert bucket.take(1_004) == 1
    assert bucket.take(1_005) == 0
    assert bucket.take(1_005) == 1_000


@given(
    per_minute=st.integers(1, 5_000), gaps=st.lists(st.integers(0, 3 * MINUTE_MS), min_size=1, max_size=100)
)
def test_never_more_than_the_rate(per_minute: int, gaps: list[int]) -> None:
    """Over any time no more is given than a full bucket and what has flowed in; a wait that is told is enough."""
    bucket, given_out = Bucket(per_minute, now=0), 0
    for now in accumulate(gaps):
        wait_ms = bucket.take(now)
        given_out += wait_ms == 0
        assert given_out <= per_minute + now * per_minute / MINUTE_MS
        assert 0 <= wait_ms <= MINUTE_MS
    at = sum(gaps)
    while wait_ms := bucket.take(at):
        assert bucket.take(at + wait_ms - 1) > 0
        at += wait_ms


def test_a_clock_that_steps_back_gives_nothing() -> None:
    """An earlier instant is no time that has passed."""
    bucket = Bucket(1, now=100)
    assert bucket.take(100) == 0
    assert bucket.take(0) == MINUTE_MS
    assert bucket.take(100) == MINUTE_MS
