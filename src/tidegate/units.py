"""Durations, sizes and money as people write them: ``"30m"``, ``"36h"``, ``"never"``, ``"2GB"``, ``2.50``.

Reading and printing are inverse for every value that can be written.
"""

import re

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

_DURATIONS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_SIZES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_LONGEST_MS = 36_500 * DAY_MS


def duration_ms(text: str) -> int:
    """Read a duration such as ``"0s"``, ``"30m"``, ``"36h"`` or ``"30d"`` as milliseconds.

    Raises:
        ValueError: It is no duration, or longer than a century.
    """
    match = re.fullmatch(r"(\d{1,15})(ms|s|m|h|d)", text)
    if not match:
        raise ValueError(f'{text!r} is no duration; write for example "30s", "45m", "36h" or "30d"')
    value = int(match[1]) * _DURATIONS[match[2]]
    if value > _LONGEST_MS:
        raise ValueError(f"{text!r} is longer than a century")
    return value


def size_bytes(text: str) -> int:
    """Read a size such as ``"64KB"`` or ``"2GB"``, in powers of 1,024, as bytes.

    Raises:
        ValueError: It is no size.
    """
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,3})?) ?(B|KB|MB|GB|TB)", text)
    if not match:
        raise ValueError(f'{text!r} is no size; write for example "512MB" or "2GB"')
    return int(float(match[1]) * _SIZES[match[2]])


def money_micros(value: object) -> int:
    """Read a number of dollars such as 5, 2.5 or ``"2.50"`` as micro-dollars.

    Raises:
        ValueError: It is none, or too much to be meant.
    """
    text = "" if isinstance(value, bool) else str(value)
    if not re.fullmatch(r"\d{1,9}(\.\d{1,18})?", text):
        raise ValueError(
            "expected a number of dollars, such as 5 or 2.50; write it without sign and currency"
        )
    whole, _, part = text.partition(".")
    return int(whole) * 1_000_000 + int(f"{part:0<6}"[:6])


def print_money(micros: float) -> str:
    """Print micro-dollars for people: ``"6.40"``, and with four places below ten cents."""
    return f"{micros / 1_000_000:.{4 if 0 < abs(micros) < 100_000 else 2}f}"


def print_duration(ms: int) -> str:
    """Print a duration in the largest unit that divides it, as ``duration_ms`` reads it."""
    if ms == 0:
        return "0s"
    unit = next(name for name in ("d", "h", "m", "s", "ms") if ms % _DURATIONS[name] == 0)
    return f"{ms // _DURATIONS[unit]}{unit}"


def exact_size(count: int) -> str:
    """Print a number of bytes in the largest unit that divides it, as ``size_bytes`` reads it."""
    if count == 0:
        return "0B"
    unit = next(name for name in ("TB", "GB", "MB", "KB", "B") if count % _SIZES[name] == 0)
    return f"{count // _SIZES[unit]}{unit}"


def print_size(count: float) -> str:
    """Print a number of bytes for people, with one decimal above 1 KB."""
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if abs(size) < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def print_span(ms: int) -> str:
    """Print a span of time for people: ``"8 min"``, ``"3 h"``, ``"12 d"``."""
    steps = ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s"))
    unit, name = next(((size, name) for size, name in steps if abs(ms) >= size), (SECOND_MS, "s"))
    return f"{round(ms / unit)} {name}"
