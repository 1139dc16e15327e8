import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import Receiver, Turn
from tidegate import signature
from tidegate.bounded import Registry
from tidegate.clock import DAY_MS, HOUR_MS, SECOND_MS, ManualClock
from tidegate.domain.outbox import Delivery, DeliveryState
from tidegate.domain.policy import DEFAULTS
from tidegate.egress.address import Rules, rule
from tidegate.egress.client import Egress
from tidegate.egress.request import Limits
from tidegate.runtime import outbox
from tidegate.runtime.hops import Hops
from tidegate.runtime.outbox import Postman, Target, retry_after_ms
from tidegate.signature import Signed
from tidegate.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

KEYS = [b"k" * 24, b"n" * 32]


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


@dataclass
class Post:
    """A store, its postman and a clock."""

    store: SqliteStore
    postman: Postman
    clock: ManualClock

    async def put(self, target: str = "pager", data: object = "hello") -> str:
        """Put something into the outbox."""
        name = await self.store.outbox.put(target, "test.said", data)
        assert name is not None
        return name

    async def only(self) -> Delivery:
        """Return the only delivery that is left."""
        ((_, delivery),) = await self.store.outbox.page(state=None, before=1 << 60, limit=10)
        return delivery

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return not sum(self.store.tallies().outbox.values())

    def until_due(self, delivery: Delivery) -> None:
        """Let the time pass until it is tried again."""
        self.clock.advance(delivery.due_at - self.clock.now())


@asynccontextmanager
async def post(folder: Path, *, allow: Sequence[str] = ("127.0.0.1",), **urls: str) -> AsyncIterator[Post]:
    """Open a store with a postman for some targets; nothing is sent until somebody says so."""
    clock = ManualClock()
    store = await SqliteStore.open(folder, clock, DEFAULTS, Registry())
    targets = {name: Target(url=url, secrets=KEYS) for name, url in urls.items()}
    postman = Postman(
        store, Egress(Rules(allow=[rule(one) for one in allow])), targets, clock, Hops(Registry())
    )
    store.listen(postman.on_commit)
    try:
        yield Post(store, postman, clock)
    finally:
        await store.close()


async def test_a_delivery_is_signed_and_gone(tmp_path: Path) -> None:
    """It arrives as JSON with the three headers, signed with every secret, and nothing is left of it."""
    with Receiver() as receiver:
        async with post(tmp_path, pager=receiver.url) as one:
            name = await one.put()
            assert await one.postman.deliver("pager")
            assert not await one.postman.deliver("pager")
            assert one.is_empty
            now_s = one.clock.now() // SECOND_MS
    (delivered,) = receiver.delivered
    headers = delivered.headers
    signed = Signed(
        id=headers["webhook-id"],
        timestamp=headers["webhook-timestamp"],
        signature=headers["webhook-signature"],
    )
    assert (signed.id, signed.timestamp, headers["content-type"]) == (name, str(now_s), "application/json")
    for key in KEYS:
        signature.verify([key], signed, delivered.body, now_s)


@pytest.mark.parametrize(
    ("turn", "error"),
    [
        (Turn(status=500), "answered 500"),
        (Turn(status=404), "answered 404"),
        (Turn(status=302, headers={"Location": "http://127.0.0.1:1/elsewhere"}), "answered 302"),
        (Turn(status=307, headers={"Location": "http://169.254.169.254/"}), "answered 307"),
        (Turn(how="cut"), "does not speak HTTP properly"),
    ],
)
async def test_a_failure_is_tried_again(tmp_path: Path, turn: Turn, error: str) -> None:
    """The same id and bytes come again, signed anew; a redirect leads nowhere."""
    with Receiver([turn]) as receiver:
        async with post(tmp_path, pager=receiver.url) as one:
            await one.put()
            await one.postman.deliver("pager")
            left = await one.only()
            assert error in left.error
            assert left.attempts == 1
            assert not await one.postman.deliver("pager")
            one.until_due(left)
            assert await one.postman.deliver("pager")
            assert one.is_empty
    first, second = receiver.delivered
    assert (first.id, first.body) == (second.id, second.body)
    assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


@pytest.mark.parametrize(
    "raw",
    [
        b"\0\xff" * 500,
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 999999 ??\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\n" + b"X-Much: " + b"x" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000,
        b"HTTP/1.1 503 Later\r\nRetry-After: \xe4\xf6\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=range(11),
)
async def test_no_answer_does_harm(tmp_path: Path, raw: bytes) -> None:
    """Whatever a receiver says instead of an answer, the delivery is tried again and the postman lives."""
    with Receiver([Turn(raw=raw)]) as receiver:
        async with post(tmp_path, pager=receiver.url) as one:
            await one.put()
            assert await one.postman.deliver("pager")
            left = await one.only()
            assert left.state is DeliveryState.PENDING
            assert left.error
            assert "internal" not in left.error
            one.until_due(left)
            await one.postman.deliver("pager")
            assert one.is_empty


async def test_a_slow_receiver_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never answers costs its time limit, not the gateway's patience."""
    monkeypatch.setattr(outbox, "LIMITS", Limits(seconds=0.2))
    with Receiver([Turn(how="hang")]) as receiver:
        async with post(tmp_path, pager=receiver.url) as one:
            await one.put()
            await one.postman.deliver("pager")
            assert (await one.only()).error == "there was no whole answer within 0.2 s"


async def test_gone_is_dead(tmp_path: Path) -> None:
    """410 says that nothing is wanted there, so the delivery is given up at once."""
    with Receiver([Turn(status=410)]) as receiver:
        async with post(tmp_path, pager=receiver.url) as one:
            await one.put()
            await one.postman.deliver("pager")
            assert (await one.only()).state is DeliveryState.DEAD
            one.clock.advance(DAY_MS)
            assert not await one.postman.deliver("pager")
    assert len(receiver.delivered) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(tmp_path: Path, status: int) -> None:
    """Nothing at all is sent to a target before the time that it asks for."""
    with Receiver([Turn(status=status, headers={"Retry-After": "3600"})]) as receiver:
        async with post(tmp_path, pager=receiver.url) as one:
            await one.put()
            await one.put(data="another")
            await one.postman.deliver("pager")
            one.clock.advance(HOUR_MS - 1)
            assert not await one.postman.deliver("pager")
            one.clock.advance(1)
            assert await one.postman.deliver("pager")
            assert await one.postman.deliver("pager")
            assert one.is_empty


async def test_one_bad_message_holds_nobody_up(tmp_path: Path) -> None:
    """What is put after it goes past it, once the target has rested."""
    with Receiver([Turn(status=500)]) as receiver:
        async with post(tmp_path, pager=receiver.url) as one:
            bad, good = await one.put(data="bad"), await one.put(data="good")
            await one.postman.deliver("pager")
            assert not await one.postman.deliver("pager")
            one.clock.advance(outbox.FIRST_REST_MS)
            assert await one.postman.deliver("pager")
            assert (await one.only()).id == bad
    assert [delivered.id for delivered in receiver.delivered] == [bad, good]


async def test_a_private_address_is_not_talked_to(tmp_path: Path) -> None:
    """What is not opened in the configuration is not reached, whoever wrote the URL."""
    with Receiver() as receiver:
        async with post(tmp_path, allow=(), pager=receiver.url) as one:
            await one.put()
            await one.postman.deliver("pager")
            assert "not public" in (await one.only()).error
    assert receiver.delivered == []


async def test_the_service_hears_of_what_is_put(tmp_path: Path) -> None:
    """A commit wakes it; a target that hangs does not keep another one waiting."""
    with Receiver([Turn(how="hang")]) as slow, Receiver() as quick:
        async with post(tmp_path, slow=slow.url, quick=quick.url) as one, asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(one.postman.serve())
            await one.put("slow")
            await anyio.to_thread.run_sync(slow.wait)
            names = [await one.put("quick", number) for number in range(5)]
            for _ in names:
                await anyio.to_thread.run_sync(quick.wait)
            assert [delivered.id for delivered in quick.delivered] == names
            serving.cancel()
    assert len(slow.delivered) == 1


NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0), ("0", 0), ("120", 120_000), (" 5 ", 5_000), ("-5", 0), ("1.5", 0), ("soon", 0),
        ("9" * 400, DAY_MS), ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        (format_datetime(datetime.fromtimestamp(NOW / 1_000 + 60, UTC), usegmt=True), 60_000),
        (format_datetime(datetime.fromtimestamp(NOW / 1_000 + 10**7, UTC), usegmt=True), DAY_MS),
    ],
)  # fmt: skip
def test_retry_after(text: str, expected: int) -> None:
    """Seconds or a date; nothing else, nothing negative, a day at most."""
    assert retry_after_ms(text, NOW) == expected


@given(st.text(max_size=60))
def test_no_header_of_an_answer_does_harm(text: str) -> None:
    """Whatever a receiver says, it is a time from nothing to a day."""
    assert 0 <= retry_after_ms(text, NOW) <= DAY_MS
