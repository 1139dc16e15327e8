import pytest

from house import House
from tidegate.clock import DAY_MS
from tidegate.domain.session import Outcome, PolicyName
from tidegate.errors import AlreadyDone, KeyReused, ReceiptsFull
from tidegate.store import runs
from work import archive, claim, delete, offer, receipt, texts, work

pytestmark = pytest.mark.anyio


async def test_the_same_work_twice(house: House) -> None:
    """With a known receipt nothing is done: the earlier run comes back, and says that it is a repetition."""
    admission = offer(key="k", receipt=receipt("r"))
    first = await house.store.admit(admission)
    house.clock.advance(1_000)
    again = await house.store.admit(admission)
    assert (again.run, again.session, again.is_repeat) == (first.run, first.session, True)
    claimed = await claim(house.store)
    await house.store.finish(claimed.run.lease, Outcome.OK)
    assert (await house.store.admit(admission)).run.outcome is Outcome.OK
    assert await texts(house.store, first) == ["hello"]
    assert house.store.tallies().receipts == 1


async def test_without_a_key_it_is_still_the_same(house: House) -> None:
    """A receipt alone finds the session of its own that the first request made."""
    admission = offer(PolicyName.API, receipt=receipt("r"))
    first = await house.store.admit(admission)
    assert (await house.store.admit(admission)).session.key == first.session.key


async def test_a_repetition_is_no_restore(house: House) -> None:
    """A repetition leaves an archived conversation archived."""
    admission = offer(key="k", receipt=receipt("r"))
    session = await archive(house.store, await work(house.store, admission))
    assert (await house.store.admit(admission)).is_repeat
    assert house.store.session("k") == session


async def test_the_same_key_for_other_work(house: House) -> None:
    """A receipt with another body is refused, whatever has become of the first one."""
    first = await house.store.admit(offer(key="k", receipt=receipt("r", "one")))
    with pytest.raises(KeyReused):
        await house.store.admit(offer(key="k", receipt=receipt("r", "two")))
    await house.store.cancel_run(first.run.id)
    await delete(house.store, first.session)
    with pytest.raises(KeyReused):
        await house.store.admit(offer(key="k", receipt=receipt("r", "two")))


async def test_scopes_are_apart(house: House) -> None:
    """The same key in another scope is another promise."""
    one = await house.store.admit(offer(key="k", receipt=receipt("r", scope="a")))
    other = await house.store.admit(offer(key="k", receipt=receipt("r", scope="b")))
    assert one.run.id != other.run.id


async def test_done_and_gone(house: House) -> None:
    """Once the session is deleted, a repetition is refused and never becomes a second run."""
    admission = offer(key="k", receipt=receipt("r"))
    await delete(house.store, await work(house.store, admission))
    with pytest.raises(AlreadyDone):
        await house.store.admit(admission)
    assert house.store.session("k") is None


async def test_a_promise_outlives_a_crash(house: House) -> None:
    """A receipt is as durable as its run."""
    admission = offer(key="k", receipt=receipt("r"))
    first = await house.store.admit(admission)
    await house.crash()
    assert (await house.store.admit(admission)).run.id == first.run.id


async def test_a_promise_holds_for_a_day(house: House) -> None:
    """A receipt expires after 24 hours, not before; the same key is then free for other work."""
    first = await house.store.admit(offer(key="k", receipt=receipt("r", "one")))
    house.clock.advance(DAY_MS - 1)
    assert (await house.store.admit(offer(key="k", receipt=receipt("r", "one")))).is_repeat
    house.clock.advance(1)
    second = await house.store.admit(offer(key="k", receipt=receipt("r", "two")))
    assert second.run.id != first.run.id
    assert (await house.store.admit(offer(key="k", receipt=receipt("r", "two")))).run.id == second.run.id
    assert house.store.tallies().receipts == 1


async def test_expired_promises_are_forgotten(house: House) -> None:
    """Tidying removes what has expired, slice by slice, and nothing else."""
    await house.store.admit(offer(key="k", receipt=receipt("old")))
    house.clock.advance(DAY_MS)
    await house.store.admit(offer(key="k", receipt=receipt("new")))
    assert [await house.store.tidy(), await house.store.tidy()] == [1, 0]
    assert house.store.tallies().receipts == 1


async def test_no_receipt_no_row(house: House) -> None:
    """Work without a receipt writes none."""
    await house.store.admit(offer(key="k"))
    assert house.store.tallies().receipts == 0


async def test_so_many_promises(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound work with a new receipt is refused and nothing is written; a known one is found."""
    monkeypatch.setattr(runs, "MAX_RECEIPTS", 1)
    await house.store.admit(offer(key="k", receipt=receipt("a")))
    with pytest.raises(ReceiptsFull):
        await house.store.admit(offer(key="new", receipt=receipt("b")))
    assert house.store.session("new") is None
    assert (await house.store.admit(offer(key="k", receipt=receipt("a")))).is_repeat
