from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.clock import DAY_MS, HOUR_MS
from tidegate.domain.night import following

BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str) -> int:
    """Return an instant that is written in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("after", "minutes", "expected"),
    [
        ("2026-11-21T12:00", 210, "2026-11-22T02:30"),
        ("2026-11-21T01:00", 210, "2026-11-21T02:30"),
        ("2026-11-21T02:30", 210, "2026-11-22T02:30"),
        ("2026-11-21T23:30", 0, "2026-11-22T23:00"),
        ("2026-03-28T12:00", 150, "2026-03-29T01:30"),  # 02:30 is left out that night
        ("2026-10-24T12:00", 150, "2026-10-25T00:30"),  # 02:30 comes twice
        ("2026-10-25T00:30", 150, "2026-10-26T01:30"),
    ],
)
def test_the_next_night(after: str, minutes: int, expected: str) -> None:
    """The next time that the clock on the wall shows it, each night once, whatever is done to the clock."""
    assert ms(expected) == following(ms(after), minutes, BERLIN)


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 1_439))
def test_there_is_one_every_day(after: int, minutes: int) -> None:
    """The next one is always ahead, and never more than a day and the change of the clock away."""
    found = following(after, minutes, BERLIN)
    assert after < found <= after + DAY_MS + HOUR_MS
