from itertools import pairwise

from msgspec.structs import replace

from tidegate.clock import DAY_MS, HOUR_MS, SECOND_MS
from tidegate.domain import outbox
from tidegate.domain.outbox import MAX_AGE_MS, MAX_ATTEMPTS, Attempt, Delivery, DeliveryState, Reply
from tidegate.ids import DeliveryId

NOW = 1_800_000_000_000
FAILED = Attempt(reply=Reply.FAILED, error="answered 500")


def delivery(number: int = 0) -> Delivery:
    """Return a delivery that was never tried."""
    return Delivery(
        id=DeliveryId(f"msg_{number}"),
        target="pager",
        kind="run.finished",
        state=DeliveryState.PENDING,
        attempts=0,
        error="",
        created_at=NOW,
        due_at=NOW,
        bytes=10,
    )


def test_a_target_that_never_answers() -> None:
    """Attempts come after 5 s, then ever more rarely, at least every 10 hours, and end within three days."""
    one, now, waits = delivery(), NOW, []
    while (fate := outbox.fate(one, FAILED, now)).state is DeliveryState.PENDING:
        waits.append(fate.due_at - now)
        now = fate.due_at
        one = replace(one, attempts=one.attempts + 1, due_at=now)
    assert 4 * SECOND_MS <= waits[0] <= 6 * SECOND_MS
    assert all(one * 1.9 < other for one, other in pairwise(waits[:8]))
    assert max(waits) < 10 * HOUR_MS
    assert DAY_MS < now - NOW < MAX_AGE_MS
    assert 10 < len(waits) < MAX_ATTEMPTS


def test_jitter_spreads_what_failed_together() -> None:
    """Deliveries that fail at the same instant come back at different ones, up to a fifth earlier or later."""
    dates = [outbox.retry_ms(delivery(number)) for number in range(1_000)]
    assert len(set(dates)) > 500
    assert 4 * SECOND_MS <= min(dates) < 4.1 * SECOND_MS
    assert 5.9 * SECOND_MS < max(dates) <= 6 * SECOND_MS


def test_what_a_target_asks_for() -> None:
    """It may ask for more time, never for less; an answer ends it, gone gives it up."""
    asked = replace(FAILED, wait_ms=HOUR_MS)
    assert outbox.fate(delivery(), asked, NOW).due_at == NOW + HOUR_MS
    assert outbox.fate(delivery(), replace(FAILED, wait_ms=1), NOW).due_at >= NOW + 4 * SECOND_MS
    assert outbox.fate(delivery(), Attempt(reply=Reply.TAKEN), NOW).state is None
    assert outbox.fate(delivery(), Attempt(reply=Reply.GONE), NOW).state is DeliveryState.DEAD


def test_the_last_attempt() -> None:
    """After 20 attempts it is given up, however young."""
    last = replace(delivery(), attempts=MAX_ATTEMPTS - 1)
    assert outbox.fate(last, FAILED, NOW).state is DeliveryState.DEAD
