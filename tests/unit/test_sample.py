from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain.sample import COARSE, FINE, MIDDLE, Fold, Range, Sample, Slot, Thin

NOW = 1_800_000_000_000


def sample(elapsed_ms: int, **values: int) -> Sample:
    """Return a sample of the first boot."""
    return Sample(at=NOW + elapsed_ms, boot=1, elapsed_ms=elapsed_ms, values=values)


def slot(number: int, at: int, boot: int = 1, **values: Range) -> Slot:
    """Return a slot."""
    return Slot(step_ms=FINE.step_ms, number=number, at=at, boot=boot, values=values)


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


@given(st.lists(st.integers(0, 10**6), max_size=30), st.randoms())
def test_instants_never_step_back(instants: list[int], chance: Random) -> None:
    """Slots come by number; one from before a step back is shown as not later than what came after it."""
    thin = Thin(1)
    numbers = list(range(len(instants)))
    chance.shuffle(numbers)
    for number in numbers:
        thin.add(slot(number, instants[number]))
    ordered = thin.in_order()

    assert list(range(len(instants))) == [one.number for one in ordered]
    assert all(before.at <= after.at for before, after in pairwise(ordered))
    assert all(one.at <= instants[one.number] for one in ordered)
    assert instants[-1:] == [one.at for one in ordered][-1:]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=50),
    st.lists(st.integers(1, 50), max_size=3),
    st.integers(1, 60),
    st.randoms(),
)
def test_thin_keeps_the_extremes(
    values: list[tuple[int, int]], starts: list[int], size: int, chance: Random
) -> None:
    """Fewer slots, in whatever order they came, tell the same least, most and last of each boot; none mixes two."""
    boots = [sum(start <= index for start in starts) for index in range(len(values))]
    slots = [
        slot(index, index, boots[index], x=Range(min(pair), max(pair), pair[0]))
        for index, pair in enumerate(values)
    ]
    thin = Thin(size)
    for one in chance.sample(slots, len(slots)):
        thin.add(one)
    joined = thin.in_order()

    assert len(joined) <= -(-len(slots) // size) + len(set(boots))
    for boot in set(boots):
        assert extremes(slots, boot) == extremes(joined, boot)


def extremes(slots: list[Slot], boot: int) -> tuple[int, int, int]:
    """Return least, most and last of one boot."""
    ranges = [one.values["x"] for one in slots if one.boot == boot]
    return min(one.low for one in ranges), max(one.high for one in ranges), ranges[-1].last


def test_the_later_version_of_a_slot_counts() -> None:
    """A slot in the making that was written before is overtaken by what it is now."""
    thin = Thin(1)
    for last in (3, 9):
        thin.add(slot(4, last, x=Range(1, last, last)))

    assert [{"x": Range(1, 9, 9)}] == [one.values for one in thin.in_order()]
