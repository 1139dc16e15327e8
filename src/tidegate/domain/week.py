"""How a gateway was lately, in one line. Pure."""

from collections.abc import Sequence

import msgspec

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain.sample import Slot
from tidegate.units import print_money, print_size

LOOKS_BACK_MS = 7 * DAY_MS


class Week(msgspec.Struct, frozen=True, kw_only=True):
    """What a line tells; *span_ms* is how far it looks back, less where it has not been watched for so long."""

    uptime_ms: int
    span_ms: int
    came: int
    went: int
    memory_bytes: int
    trend: str
    micros: int
    unpriced: int

    @property
    def line(self) -> str:
        """The line."""
        moved = f"{self.came:,} sessions came and {self.went:,} went"
        if self.came == self.went:
            moved = f"{self.came:,} sessions came and went"
        unpriced = f" and {self.unpriced:,} answers without a price" if self.unpriced else ""
        return (
            f"{_up(self.uptime_ms)} up, {moved} in {_up(self.span_ms)}, {print_size(self.memory_bytes)}, {self.trend}, "
            f"{print_money(self.micros)} dollars{unpriced}"
        )


def passed(slots: Sequence[Slot], name: str, since: int) -> int:
    """Return by how much a series that counts from the start of each life has risen since an instant.

    A life of which nothing is seen from before the instant is taken as one that began after it, where its first slot
    did; else what it had counted until then is left out.
    """
    total, boot, before = 0, None, 0
    for slot in slots:
        found = slot.values.get(name)
        if found is None:
            continue
        if slot.boot != boot:
            is_cut = boot is None and slot.at - slot.step_ms < since
            boot, before = slot.boot, found.low if is_cut else 0
        total += max(0, found.last - before)
        before = found.last
    return total


def _up(ms: int) -> str:
    for unit, size in (("days", DAY_MS), ("hours", HOUR_MS), ("minutes", MINUTE_MS)):
        if ms >= size:
            count = ms // size
            return f"{count} {unit if count > 1 else unit[:-1]}"
    return "less than a minute"
