"""What a cron expression means: five fields, or a name such as ``@daily``, read in a time zone as Debian's cron does.

Where the clock is put forward, an instant at a fixed time that is skipped comes right after the gap; where it is put
back, one that is repeated comes the first time only. An expression whose minute or hour begins with ``*`` follows real
time instead: every hour has its instants, the repeated one twice, the skipped one never.

Source: cron(8) of Debian, "Local time changes like those caused by Daylight Saving Time".
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING

from tidegate.clock import DAY_MS, SECOND_MS

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

MAX_EXPRESSION_CHARS = 256
WEEKS = 52  # that an average is taken over
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "@hourly": "0 * * * *",
        "@daily": "0 0 * * *",
        "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@yearly": "0 0 1 1 *",
    }
)
_LATEST_YEAR = 2500  # beyond, calendars are not worth asking


def instants(expression: str, timezone: str, after: int) -> Iterator[int]:
    """Yield the instants of an expression after another instant, in order, for the next 50 years.

    Raises:
        ValueError: The expression or the zone is none; see `check`.
    """
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - 50 ms that most commands need not wait for

    start = datetime.fromtimestamp(after // SECOND_MS, UTC).astimezone(zone(timezone))
    if start.year > _LATEST_YEAR:
        return
    try:
        for found in CronSim(_fields(expression), start):
            at = int(found.timestamp()) * SECOND_MS
            # from within the second pass of a repeated hour, what lies in the first one is found again
            if at > after:
                yield at
                after = at
    except CronSimError as error:
        raise ValueError(f"{expression[:80]!r}: {str(error).lower()}; {_HINT}") from None


def per_day(expression: str, after: int) -> float:
    """Return how often an expression comes in a day: its times a day, on those days of 52 weeks that it names.

    Raises:
        ValueError: The expression is none; see `check`.
    """
    return _average(" ".join(_fields(expression).split()), after // DAY_MS)


def check(expression: str, timezone: str) -> None:
    """Refuse what cannot be used.

    Raises:
        ValueError: It has no five fields, a field is out of range, it never comes, or there is no such zone; what to
            do about it stands after a semicolon.
    """
    zone(timezone)
    if next(instants(expression, timezone, _YEAR_2000), None) is None:
        raise ValueError(f"{expression[:80]!r} never comes; look at its day and its month")


@lru_cache(maxsize=64)
def zone(name: str) -> "ZoneInfo":
    """Return a time zone of the IANA database: the system's, else that of the package tzdata.

    Raises:
        ValueError: There is none of this name.
    """
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - 15 ms that most commands need not wait for

    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        raise ValueError(f"there is no time zone {name[:80]!r}; {_meant(name[:80])}") from None


def _meant(name: str) -> str:
    """Return a hint at the zone that was meant: one that is spelled like it, or the zone of a city."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a slip needs it
    from zoneinfo import available_timezones  # noqa: PLC0415

    zones = {zone.lower(): zone for zone in sorted(available_timezones())}
    cities = {zone.rpartition("/")[2]: zone for zone in zones}
    typed = name.strip().replace(" ", "_").lower()
    for known in (zones, {city: zones[zone] for city, zone in cities.items()}):
        close = get_close_matches(typed, known, 1, _ALIKE)
        if close:
            return f"did you mean {known[close[0]]!r}?"
    return 'write for example "UTC" or "Europe/Berlin"'


_HINT = 'write five fields such as "0 9 * * 1-5", or one of ' + ", ".join(NAMES)
_ALIKE = 0.8  # below that a word is another word rather than a slip
_YEAR_2000 = 946_684_800_000


@lru_cache(maxsize=256)
def _average(fields: str, day: int) -> float:
    minute, hour, *named = fields.split()
    times = _count(f"{minute} {hour} * * *", day, 1)
    return times * _count(f"0 0 {' '.join(named)}", day, 7 * WEEKS) / (7 * WEEKS)


def _count(expression: str, day: int, days: int) -> int:
    """Count the instants of some days since the epoch."""
    end = (day + days) * DAY_MS
    return sum(1 for _ in takewhile(lambda at: at < end, instants(expression, "UTC", day * DAY_MS - 1)))


def _fields(expression: str) -> str:
    """Return the five fields; the library would take six, the first one seconds."""
    fields = NAMES.get(expression.strip().lower(), expression)
    if len(fields) > MAX_EXPRESSION_CHARS or len(fields.split()) != 5 or not fields.isascii():
        raise ValueError(f"{expression[:80]!r} is no cron expression; {_HINT}")
    return fields
