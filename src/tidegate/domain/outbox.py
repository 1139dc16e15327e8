"""What is to be sent to somebody outside, and when it is tried again: pure rules over one delivery."""

from enum import StrEnum
from typing import assert_never
from zlib import crc32

import msgspec

from tidegate.clock import DAY_MS, HOUR_MS, SECOND_MS
from tidegate.ids import DeliveryId

MAX_ATTEMPTS = 20
MAX_AGE_MS = 3 * DAY_MS
FIRST_RETRY_MS = 5 * SECOND_MS
LONGEST_RETRY_MS = 8 * HOUR_MS
GROWTH = 3  # 5 s, 15 s, 45 s, 2 min, 7 min, 20 min, 1 h, 3 h, 8 h and every 8 h
JITTER = 0.2  # each wait is up to this much shorter or longer
MAX_ERROR_CHARS = 300


class DeliveryState(StrEnum):
    """Whether a delivery is still tried; one that has arrived is gone."""

    PENDING = "pending"
    DEAD = "dead"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one target; its id and its bytes are the same at each attempt."""

    id: DeliveryId
    target: str
    #: what it is about, as in ``run.finished``
    kind: str
    state: DeliveryState
    attempts: int
    #: what went wrong with the last attempt
    error: str
    created_at: int
    #: when it is tried next
    due_at: int
    bytes: int


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery with what is sent."""

    #: in the order of deliveries
    number: int
    delivery: Delivery
    body: bytes


class Reply(StrEnum):
    """What an attempt has shown."""

    TAKEN = "taken"
    #: not this time
    FAILED = "failed"
    #: the target wants none of it, ever
    GONE = "gone"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt went; *wait_ms* is what the target has asked for."""

    reply: Reply
    error: str = ""
    wait_ms: int = 0


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a delivery: it is tried again at *due_at*, has arrived, or is given up."""

    state: DeliveryState | None
    due_at: int


def fate(delivery: Delivery, attempt: Attempt, now: int) -> Fate:
    """Say what becomes of a delivery after one more attempt; None as a state is that it has arrived."""
    match attempt.reply:
        case Reply.TAKEN:
            return Fate(state=None, due_at=now)
        case Reply.GONE:
            return Fate(state=DeliveryState.DEAD, due_at=now)
        case Reply.FAILED:
            due_at = now + max(attempt.wait_ms, retry_ms(delivery))
            is_over = delivery.attempts + 1 >= MAX_ATTEMPTS or due_at >= delivery.created_at + MAX_AGE_MS
            return Fate(state=DeliveryState.DEAD if is_over else DeliveryState.PENDING, due_at=due_at)
        case _:
            assert_never(attempt.reply)


def retry_ms(delivery: Delivery) -> int:
    """Return how long to wait after one more failure; the jitter is the delivery's own, so that it can be foretold."""
    step = min(LONGEST_RETRY_MS, FIRST_RETRY_MS * GROWTH ** min(delivery.attempts, MAX_ATTEMPTS))
    chance = crc32(f"{delivery.id}:{delivery.attempts}".encode()) / 0xFFFF_FFFF
    return int(step * (1 - JITTER + 2 * JITTER * chance))
