"""The outbox: what somebody outside is to be told, kept in the transaction of its cause until it has arrived.

It is bounded in rows and bytes, in all and for each target. When it is full, what was given up makes room; if that is
not enough the new delivery is refused and counted, and its cause goes on: what cannot be told must not keep anything
from happening. Nothing pending is dropped for something newer.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec

from tidegate.clock import DAY_MS, iso
from tidegate.domain import outbox as rules
from tidegate.domain.outbox import MAX_AGE_MS, MAX_ERROR_CHARS, Attempt, Delivery, DeliveryState, Letter
from tidegate.ids import DeliveryId, ulid
from tidegate.store import rows
from tidegate.store.tx import Read, Tx, Write

MAX_ROWS = 10_000
MAX_BYTES = 64 << 20
MAX_OF_TARGET = 2_000
MAX_BODY_BYTES = 256 << 10
EVENT_SHARE = 2  # of all this, events may take one half, so that the answers of jobs find room beside them
KEEP_DEAD_MS = 7 * DAY_MS


def put(tx: Tx, target: str, kind: str, data: object, *, share: int = 1) -> DeliveryId | None:
    """Have *data*, which JSON can hold, sent to a webhook; None if there is no room for it, or it is too large.

    There is room as long as the outbox is filled to less than one *share*-th of its bounds.

    What is sent is ``{"type": kind, "timestamp": now, "data": data}``, the very same bytes at each attempt.
    """
    body = msgspec.json.encode({"type": kind, "timestamp": iso(tx.now), "data": data})
    if not _has_room(tx, target, len(body), share):
        tx.run("outbox_refused")
        return None
    name = DeliveryId(f"msg_{ulid(tx.now)}")
    tx.run(
        "outbox_born",
        id=name,
        target=target,
        kind=kind,
        now=tx.now,
        expires_at=tx.now + MAX_AGE_MS,
        body=body,
    )
    tx.effects.posted.add(target)
    return name


def settle(tx: Tx, name: DeliveryId, attempt: Attempt) -> Delivery | None:
    """Write down how an attempt went; None once the delivery has arrived, or is not there any more."""
    row = tx.one("outbox_by_id", id=name)
    if row is None:
        return None
    delivery = rows.delivery(row)
    fate = rules.fate(delivery, attempt, tx.now)
    if fate.state is None:
        tx.run("outbox_delivered", id=name)
        return None
    is_dead = fate.state is DeliveryState.DEAD
    tx.run(
        "outbox_tried",
        id=name,
        state=fate.state,
        error=attempt.error[:MAX_ERROR_CHARS],
        due_at=fate.due_at,
        expires_at=tx.now + KEEP_DEAD_MS if is_dead else delivery.created_at + MAX_AGE_MS,
    )
    row = tx.one("outbox_by_id", id=name)
    return rows.delivery(row) if row else None


def expire(tx: Tx) -> int:
    """Give up a slice of what is too old and forget a slice of what was given up; say how many rows that were."""
    given_up = tx.run(
        "outbox_given_up", now=tx.now, forget_at=tx.now + KEEP_DEAD_MS, error="nobody could send it in time"
    )
    return given_up + tx.run("outbox_forgotten", now=tx.now)


def letter(row: rows.Row) -> Letter:
    """Read a row of ``outbox``, with what is sent."""
    return Letter(number=int(row[0]), delivery=rows.delivery(row), body=bytes(row[10]))


class Outbox:
    """The outbox of a store, for those who stand outside of a transaction."""

    def __init__(
        self, write: Write, read: Read, readable: Callable[[Sequence[rows.Row]], Awaitable[Sequence[Letter]]]
    ) -> None:
        self._write = write
        self._read = read
        #: reads rows, and puts aside those that cannot be
        self._readable = readable

    async def put(self, target: str, kind: str, data: object, *, share: int = 1) -> DeliveryId | None:
        """Have *data* sent to a webhook, durably; None if there is no room for it."""
        return await self._write(partial(put, target=target, kind=kind, data=data, share=share))

    async def due(self, target: str, now: int) -> Letter | None:
        """Return what has been due longest for a target."""
        while row := await self._read(lambda reads: reads.one("outbox_due", target=target, now=now)):
            if letters := await self._readable([row]):
                return letters[0]
        return None

    async def next_due(self, target: str) -> int | None:
        """Return when a target is to be tried next."""
        row = await self._read(lambda reads: reads.one("outbox_next_due", target=target))
        return row[0] if row else None

    async def settle(self, delivery: DeliveryId, attempt: Attempt) -> Delivery | None:
        """Write down how an attempt went: arrived and gone, tried again later, or given up and kept for 7 days."""
        return await self._write(partial(settle, name=delivery, attempt=attempt))

    async def page(
        self, *, state: DeliveryState | None, before: int, limit: int
    ) -> list[tuple[int, Delivery]]:
        """Return one page of deliveries with their numbers, newest first."""
        found = await self._read(
            lambda reads: reads.all("outbox_page", state=state, before=before, limit=limit)
        )
        return [(letter.number, letter.delivery) for letter in await self._readable(found)]


def _has_room(tx: Tx, target: str, size: int, share: int) -> bool:
    if size > MAX_BODY_BYTES:
        return False
    of_target = tx.one("outbox_of_target", target=target)
    if of_target and of_target[0] >= MAX_OF_TARGET // share:
        return False
    while True:
        count, total = tx.one("outbox_held") or (0, 0)
        if count < MAX_ROWS // share and total + size <= MAX_BYTES // share:
            return True
        if not tx.run("outbox_dead_dropped"):
            return False
