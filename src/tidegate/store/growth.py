"""The rings of samples in the store: a row a slot, overwritten in place, with whole numbers in a few hundred bytes.

A body is three lists in the order of the series' places: the least values, how far the most are above them, and how far
the last ones; mostly zeros, a byte each.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import msgspec

from tidegate.domain.sample import RINGS, Range, Ring, Slot
from tidegate.store.rows import Row
from tidegate.store.tx import Read, Reads, Tx, Write

MAX_SERIES = 512
SERIES_BYTES = 5  # about what a series takes in a slot
PAGE = 1_000  # slots read at a time

_Body = tuple[list[int | None], list[int | None], list[int | None]]
_SIZES = {ring.step_ms: ring.slots for ring in RINGS}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


class Samples:
    """The rings of samples of a store, for those who stand outside of a transaction."""

    def __init__(self, write: Write, read: Read) -> None:
        self._write = write
        self._read = read

    async def keep(self, slots: Sequence[Slot]) -> None:
        """Write slots, each in its place; the rings never have more of them than `domain.sample` says."""
        size = sum(len(slot.values) for slot in slots) * SERIES_BYTES
        await self._write(partial(keep, slots=slots), size=size, is_background=True)

    async def following(self) -> Mapping[int, int]:
        """Return the number of the next slot of each ring, by its step."""
        return await self._read(following)

    async def names(self) -> list[str]:
        """Return every series that was ever kept, `MAX_SERIES` at most."""
        return list(await self._read(known))

    async def page(self, ring: Ring, first: int, names: Collection[str]) -> list[Slot]:
        """Return up to `PAGE` slots of a ring from a place on, with the series of these names, in no order."""
        return await self._read(partial(page, ring=ring, first=first, names=names))

    async def until(self, ring: Ring, at: int) -> Slot | None:
        """Return the newest slot of a ring that is not later than an instant, with every series."""
        return await self._read(partial(until, ring=ring, at=at))

    async def first(self, ring: Ring, boot: int | None) -> Slot | None:
        """Return the oldest slot of a ring, of one life of the gateway or of any, with every series."""
        return await self._read(partial(first, ring=ring, boot=boot))


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
