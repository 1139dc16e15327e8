"""What is measured of a gateway, and the slots in which it is kept: least, most and last of a stretch of time.

The rings are bounded by construction. A slot's place follows from its number, and numbers only count up, whatever the
clock on the wall does: a step back overwrites nothing that is younger than what would have gone anyway.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS


class Ring(NamedTuple):
    """How long a slot lasts, and how many there are."""

    step_ms: int
    slots: int

    @property
    def span_ms(self) -> int:
        """How much time the ring holds."""
        return self.step_ms * self.slots


FINE = Ring(10 * SECOND_MS, HOUR_MS // (10 * SECOND_MS))
MIDDLE = Ring(MINUTE_MS, DAY_MS // MINUTE_MS)
COARSE = Ring(10 * MINUTE_MS, 90 * DAY_MS // (10 * MINUTE_MS))
RINGS = (FINE, MIDDLE, COARSE)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of every gauge: numbers by the names of their series."""

    at: int
    #: which start of the gateway it belongs to, and how long after it
    boot: int
    elapsed_ms: int
    #: names end in `_bytes`, in `_us`, or count something
    values: Mapping[str, int]


class Range(NamedTuple):
    """What a series was in one slot."""

    low: int
    high: int
    last: int


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time of one ring; `at` is the instant of its last sample."""

    step_ms: int
    number: int
    at: int
    boot: int
    values: Mapping[str, Range]


class Fold:
    """Folds samples into the slots of one ring; stretches are cut by the time since the start, not by the wall."""

    def __init__(self, ring: Ring, number: int) -> None:
        self.ring = ring
        #: which stretch since the start is open
        self.stretch = -1
        self._number = number - 1
        self._slot: Slot | None = None

    @property
    def open(self) -> Slot | None:
        """The slot in the making."""
        return self._slot

    def take(self, sample: Sample) -> Slot | None:
        """Add a sample; return the slot that it closes by beginning the next one."""
        stretch = sample.elapsed_ms // self.ring.step_ms
        closed = None
        if self._slot is None or stretch != self.stretch:
            closed = self._slot
            self.stretch = stretch
            self._number += 1
            ranges = {name: Range(value, value, value) for name, value in sample.values.items()}
        else:
            ranges = dict(self._slot.values)
            for name, value in sample.values.items():
                low, high, _ = ranges.get(name, (value, value, value))
                ranges[name] = Range(min(low, value), max(high, value), value)
        self._slot = Slot(
            step_ms=self.ring.step_ms, number=self._number, at=sample.at, boot=sample.boot, values=ranges
        )
        return closed


class Point(NamedTuple):
    """A series in one slot: when that was, in which boot, and what it was; None where it was not measured."""

    at: int
    boot: int
    range: Range | None


class Thin:
    """Slots of one ring, of which neighbours in one boot are joined as they come, so that few are held at a time."""

    def __init__(self, size: int) -> None:
        #: how many neighbours are joined
        self._size = max(1, size)
        self._slots: dict[tuple[int, int], Slot] = {}

    def add(self, slot: Slot) -> None:
        """Take a slot, in any order; of the same slot the later version is taken last."""
        place = slot.number // self._size, slot.boot
        held = self._slots.get(place)
        self._slots[place] = (
            slot if held is None else _joined(*sorted((held, slot), key=lambda one: one.number))
        )

    def in_order(self) -> list[Slot]:
        """Return what has come of it by number, with instants that never step back.

        Where the wall clock was set back, what it had told before is shown as not later than what came after.
        """
        ordered = sorted(self._slots.values(), key=lambda slot: slot.number)
        latest = ordered[-1].at if ordered else 0
        for index in range(len(ordered) - 1, -1, -1):
            latest = min(latest, ordered[index].at)
            if latest != ordered[index].at:
                ordered[index] = msgspec.structs.replace(ordered[index], at=latest)
        return ordered


def _joined(before: Slot, after: Slot) -> Slot:
    """Return one slot for two."""
    values = dict(before.values)
    for name, found in after.values.items():
        other = values.get(name, found)
        values[name] = Range(min(other.low, found.low), max(other.high, found.high), found.last)
    return msgspec.structs.replace(after, values=values)
