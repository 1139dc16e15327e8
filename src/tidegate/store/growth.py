"""The rings of samples in the store: a row a slot, overwritten in place, with whole numbers in a few hundred bytes.

A body is three lists in the order of the series' places: the least values, how far the most are above them, and how far
the last ones; mostly zeros, a byte each.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from tidegate.domain.sample import RINGS, Range, Ring, Slot
from tidegate.store.rows import Row
from tidegate.store.tx import Reads, Tx

MAX_SERIES = 512
PAGE = 1_000  # slots read at a time

_Body = tuple[list[int | None], list[int | None], list[int | None]]
_SIZES = {ring.step_ms: ring.slots for ring in RINGS}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


def keep(tx: Tx, slots: Sequence[Slot]) -> None:
    """Write slots, each in its place; a series above the bound of their number is left out."""
    places = _places(tx, {name for slot in slots for name in slot.values})
    for slot in slots:
        tx.run(
            "growth_kept",
            step_ms=slot.step_ms,
            slot=slot.number % _SIZES[slot.step_ms],
            number=slot.number,
            at=slot.at,
            boot=slot.boot,
            body=_packed(slot.values, places),
        )


def following(reads: Reads) -> Mapping[int, int]:
    """Return the number of the next slot of each ring, by its step."""
    newest = {int(row[0]): int(row[1]) for row in reads.all("growth_newest")}
    return {ring.step_ms: newest.get(ring.step_ms, -1) + 1 for ring in RINGS}


def page(reads: Reads, ring: Ring, first: int, names: Collection[str]) -> list[Slot]:
    """Return the slots of a ring from a place on, `PAGE` of them, with some series each, in no order.

    A slot that cannot be read is left out: an instrument that breaks must break nothing else.
    """
    places = {name: place for name, place in known(reads).items() if name in names}
    rows = reads.all("growth_slots", step_ms=ring.step_ms, first=first, end=first + PAGE)
    return [slot for row in rows if (slot := _slot(row, ring, places)) is not None]


def until(reads: Reads, ring: Ring, at: int) -> Slot | None:
    """Return the newest slot of a ring that is not later than an instant, with every series."""
    row = reads.one("growth_until", step_ms=ring.step_ms, until=at)
    return None if row is None else _slot(row, ring, known(reads))


def first(reads: Reads, ring: Ring, boot: int | None) -> Slot | None:
    """Return the oldest slot of a ring, of one life of the gateway or of any, with every series."""
    row = reads.one("growth_first", step_ms=ring.step_ms, boot=boot)
    return None if row is None else _slot(row, ring, known(reads))


def known(reads: Reads) -> dict[str, int]:
    """Return every series that was ever kept, with its place."""
    return {str(row[0]): int(row[1]) for row in reads.all("growth_series")}


def _places(tx: Tx, names: Collection[str]) -> dict[str, int]:
    places = known(tx)
    for name in sorted(set(names) - places.keys())[: MAX_SERIES - len(places)]:
        tx.run("growth_series_born", id=len(places), name=name)
        places[name] = len(places)
    return places


def _packed(values: Mapping[str, Range], places: Mapping[str, int]) -> bytes:
    lists: _Body = ([], [], [])
    for name in places:
        found = values.get(name)
        row = (
            (None, None, None)
            if found is None
            else (found.low, found.high - found.low, found.last - found.low)
        )
        for one, value in zip(lists, row, strict=True):
            one.append(value)
    return _encode(lists)


def _slot(row: Row, ring: Ring, places: Mapping[str, int]) -> Slot | None:
    try:
        columns = _decode(row[3])
    except msgspec.DecodeError:
        return None
    values = {}
    for name, place in places.items():
        low, above, last = (column[place] if place < len(column) else None for column in columns)
        if low is not None and above is not None and last is not None:
            values[name] = Range(low, low + above, low + last)
    return Slot(step_ms=ring.step_ms, number=row[0], at=row[1], boot=row[2], values=values)
