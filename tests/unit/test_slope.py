import random

from tidegate.domain.slope import Z_95, median, slope, slopes


def test_a_line_has_its_slope() -> None:
    """Points on a line have its slope, and there is no doubt about it."""
    assert (2.5, 2.5, 2.5) == slope([(x, 7 + 2.5 * x) for x in range(8)], Z_95)


def test_a_wild_point_does_not_turn_it() -> None:
    """One point far away moves the median of many slopes a little."""
    points = [(float(x), 2.0 * x) for x in range(20)]
    points[7] = (7.0, 1e6)
    assert 2.0 == slope(points, Z_95).value


def test_the_interval_holds_the_truth() -> None:
    """It does so about 19 times out of 20."""
    chance = random.Random(3)
    held = 0
    for _ in range(400):
        found = slope([(x, x + chance.gauss(0, 5)) for x in range(12)], Z_95)
        held += found.low <= 1 <= found.high
    assert 0.92 < held / 400


def test_points_above_one_another_have_no_slope() -> None:
    """Two values at one place say nothing about how steep it is."""
    assert [1.0, 2.0] == sorted(slopes([(0.0, 0.0), (0.0, 1.0), (1.0, 2.0)]))


def test_the_median_is_in_the_middle() -> None:
    """Of an even number of values it is between the two in the middle."""
    assert (2, 2.5) == (median([3, 1, 2]), median([4, 1, 2, 3]))
