import json

import pytest

from house import House
from tidegate.clock import DAY_MS, SECOND_MS, iso
from tidegate.domain.outbox import MAX_AGE_MS, Attempt, Delivery, DeliveryState, Reply
from tidegate.ids import DeliveryId
from tidegate.store import outbox
from tidegate.store.outbox import KEEP_DEAD_MS, MAX_BODY_BYTES, MAX_OF_TARGET, MAX_ROWS

pytestmark = pytest.mark.anyio

FAILED = Attempt(reply=Reply.FAILED, error="answered 500")
GONE = Attempt(reply=Reply.GONE, error="answered 410")
TAKEN = Attempt(reply=Reply.TAKEN)


async def put(house: House, target: str = "pager", data: object = "hello") -> DeliveryId:
    """Put something into the outbox that there is room for."""
    name = await house.store.outbox.put(target, "test.said", data)
    assert name is not None
    return name


async def page(house: House, state: DeliveryState | None = None) -> list[Delivery]:
    """Return what lies in the outbox, newest first."""
    found = await house.store.outbox.page(state=state, before=1 << 60, limit=1_000)
    return [delivery for _, delivery in found]


def counts(house: House) -> tuple[int, int, int]:
    """Return how many are pending and dead, and how many were refused."""
    tallies = house.store.tallies()
    return tallies.outbox[DeliveryState.PENDING], tallies.outbox[DeliveryState.DEAD], tallies.outbox_refused


async def test_what_is_put_is_due_at_once(house: House) -> None:
    """It says what, when and of which kind, is told to listeners, and is the same after a crash."""
    name = await put(house, data={"ok": True})
    assert house.heard[-1].posted == {"pager"}
    letter = await house.store.outbox.due("pager", house.clock.now())
    assert letter is not None
    assert letter.delivery.id == name
    expected = {"type": "test.said", "timestamp": iso(house.clock.now()), "data": {"ok": True}}
    assert json.loads(letter.body) == expected
    await house.crash()
    assert await house.store.outbox.due("pager", house.clock.now()) == letter
    assert await house.store.outbox.due("other", house.clock.now()) is None


async def test_the_one_due_longest_comes_first(house: House) -> None:
    """A delivery that failed lets others go past until its date."""
    first, second = await put(house), await put(house)
    settled = await house.store.outbox.settle(first, FAILED)
    assert settled is not None
    assert (settled.attempts, settled.error) == (1, "answered 500")
    letter = await house.store.outbox.due("pager", house.clock.now())
    assert letter is not None
    assert letter.delivery.id == second
    await house.store.outbox.settle(second, TAKEN)
    assert await house.store.outbox.due("pager", house.clock.now()) is None
    assert await house.store.outbox.next_due("pager") == settled.due_at
    house.clock.advance(settled.due_at - house.clock.now())
    again = await house.store.outbox.due("pager", house.clock.now())
    assert again is not None
    assert again.delivery == settled


async def test_what_has_arrived_is_gone(house: House) -> None:
    """Nothing is left of it, and settling it again is no error."""
    name = await put(house)
    assert await house.store.outbox.settle(name, TAKEN) is None
    assert (await page(house), counts(house)) == ([], (0, 0, 0))
    assert await house.store.outbox.settle(name, FAILED) is None


async def test_what_is_dead_is_kept_for_a_week(house: House) -> None:
    """It says why, is not tried again, and is forgotten after seven days."""
    name = await put(house)
    settled = await house.store.outbox.settle(name, GONE)
    assert settled is not None
    assert (settled.state, settled.error) == (DeliveryState.DEAD, "answered 410")
    assert await house.store.outbox.next_due("pager") is None
    house.clock.advance(KEEP_DEAD_MS - 1)
    assert await house.store.tidy() == 0
    assert await page(house, DeliveryState.DEAD) == [settled]
    house.clock.advance(1)
    assert await house.store.tidy() == 1
    assert counts(house) == (0, 0, 0)


async def test_what_nobody_sends_is_given_up(house: House) -> None:
    """After three days it is dead, whether its target is configured or not; its last error stays."""
    silent, failed = await put(house, "nobody"), await put(house)
    await house.store.outbox.settle(failed, FAILED)
    house.clock.advance(MAX_AGE_MS)
    assert await house.store.tidy() == 2
    errors = {delivery.id: delivery.error for delivery in await page(house, DeliveryState.DEAD)}
    assert errors == {silent: "nobody could send it in time", failed: "answered 500"}
    house.clock.advance(7 * DAY_MS)
    assert await house.store.tidy() == 2


async def test_a_full_outbox_refuses(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dead makes room; what is pending stays, and what is new is refused and counted."""
    monkeypatch.setattr(outbox, "MAX_ROWS", 3)
    dead = await put(house)
    await house.store.outbox.settle(dead, GONE)
    names = [await put(house, f"t{number}") for number in range(3)]
    assert counts(house) == (3, 0, 0)
    assert await house.store.outbox.put("t9", "test.said", "late") is None
    assert counts(house) == (3, 0, 1)
    assert [delivery.id for delivery in await page(house)] == names[::-1]
    await house.crash()
    assert counts(house) == (3, 0, 1)


async def test_bytes_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One delivery has a size, and so have all of them together."""
    assert await house.store.outbox.put("pager", "test.said", "x" * MAX_BODY_BYTES) is None
    monkeypatch.setattr(outbox, "MAX_BYTES", 2_000)
    results = [await house.store.outbox.put("pager", "test.said", "x" * 500) for _ in range(10)]
    assert [result is not None for result in results] == [True] * 3 + [False] * 7
    assert counts(house) == (3, 0, 8)


async def test_one_target_cannot_take_all(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that takes nothing leaves room for the others."""
    monkeypatch.setattr(outbox, "MAX_OF_TARGET", 2)
    results = [await house.store.outbox.put("slow", "test.said", number) for number in range(5)]
    assert [result is not None for result in results] == [True, True, False, False, False]
    await put(house, "other")
    assert MAX_OF_TARGET < MAX_ROWS


async def test_a_long_error_is_cut(house: House) -> None:
    """What a receiver says of itself cannot grow."""
    name = await put(house)
    settled = await house.store.outbox.settle(name, Attempt(reply=Reply.FAILED, error="x" * 10_000))
    assert settled is not None
    assert len(settled.error) == 300
    assert settled.due_at > house.clock.now() + SECOND_MS
