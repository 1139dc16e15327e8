import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tidegate.units import duration_ms, print_duration, print_size, print_span, size_bytes

CENTURY_MS = 36_500 * DAY_MS


@given(st.integers(0, CENTURY_MS))
def test_duration_round_trip(ms: int) -> None:
    """Every duration that can be written is read back as what was printed."""
    assert duration_ms(print_duration(ms)) == ms


@given(st.integers(0, 36_500), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_printing_is_stable(count: int, unit: str) -> None:
    """Printing what was read changes at most the unit, never the value, and does so once."""
    printed = print_duration(duration_ms(f"{count}{unit}"))
    assert print_duration(duration_ms(printed)) == printed


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0s", 0),
        ("250ms", 250),
        ("30s", 30 * SECOND_MS),
        ("45m", 45 * MINUTE_MS),
        ("36h", 36 * HOUR_MS),
        ("30d", 30 * DAY_MS),
    ],
)
def test_duration(text: str, ms: int) -> None:
    """Each unit of time counts for what it says."""
    assert duration_ms(text) == ms


@pytest.mark.parametrize(
    "text", ["", "30", "-1s", "1.5h", "1 h", "1H", "never", "1h30m", "s", "1s\n", "36501d"]
)
def test_no_duration(text: str) -> None:
    """Whatever else is written as a duration is refused."""
    with pytest.raises(ValueError, match=r"no duration|century"):
        duration_ms(text)


@given(st.integers(0, 999_999), st.sampled_from([("B", 0), ("KB", 10), ("MB", 20), ("GB", 30), ("TB", 40)]))
def test_size(count: int, unit: tuple[str, int]) -> None:
    """Sizes count in powers of 1,024, with or without a space."""
    name, power = unit
    assert size_bytes(f"{count}{name}") == size_bytes(f"{count} {name}") == count << power


@pytest.mark.parametrize("text", ["", "2", "-2GB", "2gb", "2 PB", "GB", "1e3MB", "2GB\n"])
def test_no_size(text: str) -> None:
    """Whatever else is written as a size is refused."""
    with pytest.raises(ValueError, match="no size"):
        size_bytes(text)


@given(st.integers(0, 1 << 50))
def test_sizes_for_people(count: int) -> None:
    """A printed size is a number and a unit, and at most 5 % from the truth."""
    number, unit = print_size(count).split()
    power = ("B", "KB", "MB", "GB", "TB").index(unit) * 10
    assert abs(float(number) * (1 << power) - count) <= count / 20


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0 s"), (8 * MINUTE_MS, "8 min"), (3 * HOUR_MS, "3 h"), (12 * DAY_MS, "12 d"), (-90_000, "-2 min")],
)
def test_spans_for_people(ms: int, text: str) -> None:
    """A span is printed in its largest unit."""
    assert print_span(ms) == text
