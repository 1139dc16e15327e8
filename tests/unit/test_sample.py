from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain.sample import COARSE, FINE, MIDDLE, Fold, Point, Range, Sample, Slot, in_order, thinned

NOW = 1_800_000_000_000


def sample(elapsed_ms: int, **values: int) -> Sample:
    """Return a sample of the first boot."""
    return Sample(at=NOW + elapsed_ms, boot=1, elapsed_ms=elapsed_ms, values=values)


def slot(number: int, at: int) -> Slot:
    """Return an empty slot."""
    return Slot(step_ms=FINE.step_ms, number=number, at=at, boot=1, values={})


def test_rings_hold_what_is_promised() -> None:
    """An hour of ten seconds, a day of minutes, 90 days of ten minutes."""
    assert [HOUR_MS, DAY_MS, 90 * DAY_MS] == [ring.span_ms for ring in (FINE, MIDDLE, COARSE)]
    assert [360, 1_440, 12_960] == [ring.slots for ring in (FINE, MIDDLE, COARSE)]


def test_a_slot_has_least_most_and_last() -> None:
    """The samples of a minute become one slot, closed by the first sample after it; its instant is the last one's."""
    fold = Fold(MIDDLE, 7)
    closed = [fold.take(sample(at, x=value)) for at, value in ((0, 5), (10_000, 9), (50_000, 2), (60_000, 4))]

    assert [None, None, None] == closed[:3]
    assert closed[3] is not None
    assert (7, NOW + 50_000, {"x": Range(2, 9, 2)}) == (closed[3].number, closed[3].at, closed[3].values)
    assert fold.open is not None
    assert (8, {"x": Range(4, 4, 4)}) == (fold.open.number, fold.open.values)


def test_a_series_may_come_and_go() -> None:
    """A series that is measured in one sample of a stretch alone is in its slot."""
    fold = Fold(MIDDLE, 0)
    fold.take(sample(0, x=5))
    fold.take(sample(10_000, y=3))

    assert fold.open is not None
    assert {"x": Range(5, 5, 5), "y": Range(3, 3, 3)} == fold.open.values


@given(st.lists(st.integers(0, 40 * MINUTE_MS), min_size=1, max_size=60), st.integers(-DAY_MS, DAY_MS))
def test_numbers_count_up_whatever_the_clock_says(gaps: list[int], step: int) -> None:
    """Numbers rise one by one, through sleep and steps of the wall clock, and no sample is in no slot."""
    fold = Fold(COARSE, 3)
    slots, elapsed = [], 0
    for index, gap in enumerate(gaps):
        elapsed += gap
        taken = Sample(at=NOW + elapsed + step * (index % 2), boot=1, elapsed_ms=elapsed, values={"x": index})
        closed = fold.take(taken)
        slots += [closed] if closed else []
    assert fold.open is not None
    slots.append(fold.open)

    assert list(range(3, 3 + len(slots))) == [one.number for one in slots]
    ranges = [one.values["x"] for one in slots]
    assert list(range(len(gaps))) == [x for one in ranges for x in range(one.low, one.high + 1)]


@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_instants_never_step_back(instants: list[int]) -> None:
    """Slots come by number; one from before a step back is shown as not later than what came after it."""
    slots = [slot(number, at) for number, at in enumerate(instants)]
    ordered = in_order(slots[::-1])

    assert list(range(len(slots))) == [one.number for one in ordered]
    assert all(before.at <= after.at for before, after in pairwise(ordered))
    assert all(one.at <= instants[one.number] for one in ordered)
    assert instants[-1:] == [one.at for one in ordered][-1:]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=50),
    st.lists(st.integers(1, 50), max_size=3),
    st.integers(1, 60),
)
def test_thinned_keeps_the_extremes(values: list[tuple[int, int]], starts: list[int], limit: int) -> None:
    """Fewer points tell the same least, most and last of each boot; no point mixes two boots."""
    boots = [sum(start <= index for start in starts) for index in range(len(values))]
    points = [
        Point(index, boots[index], Range(min(pair), max(pair), pair[0])) for index, pair in enumerate(values)
    ]
    thin = thinned(points, limit)

    assert len(thin) <= limit + len(set(boots))
    for boot in set(boots):
        whole, kept = (
            [one.range for one in some if one.boot == boot and one.range] for some in (points, thin)
        )
        assert (min(one.low for one in whole), max(one.high for one in whole), whole[-1].last) == (
            min(one.low for one in kept),
            max(one.high for one in kept),
            kept[-1].last,
        )
