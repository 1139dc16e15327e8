import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.clock import ManualClock
from tidegate.domain.doubt import CALM_MS, STEP_MS, ClockDoubt


def watched(clock: ManualClock) -> ClockDoubt:
    """Return somebody who has just looked at the clock."""
    return ClockDoubt(clock.now(), clock.monotonic())


def look(doubt: ClockDoubt, clock: ManualClock) -> bool:
    """Look at the clock and say whether deleting is held."""
    return doubt.look(clock.now(), clock.monotonic())


@given(st.lists(st.integers(0, 10 * CALM_MS)))
def test_time_that_only_passes_is_trusted(spans_ms: list[int]) -> None:
    """However much time passes on both clocks, nothing is held."""
    clock = ManualClock()
    doubt = watched(clock)
    for span_ms in spans_ms:
        clock.advance(span_ms)
        assert not look(doubt, clock)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_holds_for_an_hour(sign: int) -> None:
    """More than five minutes apart, either way: deletes are held until the clocks have agreed for an hour."""
    clock = ManualClock()
    doubt = watched(clock)
    clock.step(sign * STEP_MS)
    assert not look(doubt, clock)
    clock.step(sign)
    assert look(doubt, clock)
    clock.advance(CALM_MS - 1)
    assert look(doubt, clock)
    clock.advance(1)
    assert not look(doubt, clock)


def test_small_steps_add_up() -> None:
    """A clock that is moved a little again and again is doubted once that adds up."""
    clock = ManualClock()
    doubt = watched(clock)
    clock.step(STEP_MS)
    assert not look(doubt, clock)
    clock.step(STEP_MS)
    assert look(doubt, clock)


def test_another_step_starts_the_hour_anew() -> None:
    """While the clock is doubted, a further step prolongs that."""
    clock = ManualClock()
    doubt = watched(clock)
    clock.step(2 * STEP_MS)
    assert look(doubt, clock)
    clock.advance(CALM_MS - 1)
    clock.step(-2 * STEP_MS)
    assert look(doubt, clock)
    clock.advance(CALM_MS - 1)
    assert look(doubt, clock)
    clock.advance(1)
    assert not look(doubt, clock)


def test_a_person_knows_better() -> None:
    """A confirmed clock is trusted at once, and watched as before."""
    clock = ManualClock()
    doubt = watched(clock)
    clock.step(2 * STEP_MS)
    assert look(doubt, clock)
    doubt.confirm()
    assert not look(doubt, clock)
    clock.step(2 * STEP_MS)
    assert look(doubt, clock)
