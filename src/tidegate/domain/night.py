"""When the next night's work is due: once a day, when the clock on the wall shows a certain time."""

from datetime import datetime, time, timedelta, tzinfo


def following(after: int, minutes: int, zone: tzinfo | None = None) -> int:
    """Return the first instant after *after* (ms) at which it is *minutes* past midnight.

    In a zone of its own, by default that of the machine. Where a change of the clock leaves that time out, it is the
    instant that it would have been; where it comes twice, the first one counts.
    """
    today = datetime.fromtimestamp(after / 1_000, zone).date()
    at = time(minutes // 60, minutes % 60, tzinfo=zone)
    days = (datetime.combine(today + timedelta(days=number), at) for number in range(3))
    instants = (int(day.timestamp() * 1_000) for day in days)
    return next(instant for instant in instants if instant > after)
