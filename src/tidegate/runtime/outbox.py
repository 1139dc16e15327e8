"""Sends what lies in the outbox: signed, past the guard of `egress`, until it has arrived or is given up.

Each target has a task of its own and gets one delivery at a time, what has been due longest first; a delivery that
failed waits for its next date and others go past it, so that one bad message holds nobody up. After a failure the whole
target rests for a while, longer with each further one. A crash between sending and writing that down sends again, with
the same id and the same bytes: a receiver that remembers ids sees each delivery once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec

from tidegate import log, signature
from tidegate.clock import DAY_MS, MINUTE_MS, SECOND_MS, Clock
from tidegate.domain.outbox import Attempt, DeliveryState, Letter, Reply
from tidegate.egress.address import AddressRefused
from tidegate.egress.client import Answer, Egress
from tidegate.egress.request import Limits, Request
from tidegate.egress.unreachable import Unreachable
from tidegate.egress.url import UrlRefused
from tidegate.faults import Area, Faults
from tidegate.runtime.bell import ring_or
from tidegate.runtime.hops import HEADER, Hops
from tidegate.store.port import Store
from tidegate.store.tx import Effects

AT_ONCE = 8  # over all targets; each holds one body
LIMITS = Limits(seconds=20.0, connect_s=10.0, silent_s=20.0, max_bytes=64 << 10)
POLL_MS = MINUTE_MS  # a safety net, and what notices a clock that was set
FIRST_REST_MS = 1 * SECOND_MS
LONGEST_REST_MS = 5 * MINUTE_MS
MAX_RETRY_AFTER_MS = DAY_MS

_SUCCESS = range(200, 300)
_log = log.get("outbox")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody outside who is told."""

    url: str
    secrets: Sequence[bytes]


class Postman:
    """Brings what lies in the outbox to its targets."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it takes to send
        self,
        store: Store,
        egress: Egress,
        targets: Mapping[str, Target],
        clock: Clock,
        hops: Hops,
        faults: Faults | None = None,
    ) -> None:
        self._outbox = store.outbox
        self._faults = faults or Faults(clock)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._rounds = {
            name: _Round(name, target, egress, clock, hops, self._faults) for name, target in targets.items()
        }
        self._clock = clock

    @property
    def is_wanted(self) -> bool:
        """Whether there is anybody to send to."""
        return bool(self._rounds)

    async def serve(self) -> None:
        """Send for ever."""
        async with asyncio.TaskGroup() as tasks:
            for one in self._rounds.values():
                tasks.create_task(self._serve(one))

    def on_commit(self, effects: Effects) -> None:
        """Look when there is something new."""
        for name in effects.posted:
            if name in self._rounds:
                self._rounds[name].bell.set()

    async def deliver(self, target: str) -> bool:
        """Try what has been due longest for a target, unless that rests; say whether there was anything."""
        one = self._rounds[target]
        now = self._clock.now()
        if one.rests_until > now:
            return False
        async with self._turns:
            letter = await self._outbox.due(target, now)
            if letter is None:
                return False
            attempt = await one.send(letter)
        settled = await self._outbox.settle(letter.delivery.id, attempt)
        if settled is not None and settled.state is DeliveryState.DEAD:
            _log.warning("delivery_dead", target=target, delivery=settled.id, error=settled.error)
        return True

    async def _serve(self, one: "_Round") -> None:
        while True:
            one.bell.clear()
            with self._faults.turn(Area.OUTBOX, one.name) as turn:  # what was sent is sent again
                while await self.deliver(one.name):
                    pass
                turn.done()
                await ring_or(one.bell, await self._wait_ms(one) / 1_000)
            await turn.rest()

    async def _wait_ms(self, one: "_Round") -> int:
        """Return how long nothing will be to do for a target."""
        now = self._clock.now()
        due_at = await self._outbox.next_due(one.name)
        if due_at is None:
            return POLL_MS
        return min(POLL_MS, max(0, due_at - now, one.rests_until - now))


class _Round:
    """The way to one target."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it takes to send
        self, name: str, target: Target, egress: Egress, clock: Clock, hops: Hops, faults: Faults
    ) -> None:
        self.name = name
        self._hops = hops
        self.bell = asyncio.Event()
        #: nothing is sent before; forgotten with the process, since each delivery has a date of its own
        self.rests_until = 0
        self._failures = 0
        self._target = target
        self._egress = egress
        self._clock = clock
        self._faults = faults

    async def send(self, letter: Letter) -> Attempt:
        """Try one delivery, and let the target rest if it fails."""
        attempt = await self._tried(letter)
        if attempt.reply is Reply.FAILED:
            rest_ms = min(LONGEST_REST_MS, FIRST_REST_MS << min(self._failures, 16))
            self.rests_until = self._clock.now() + max(rest_ms, attempt.wait_ms)
            self._failures += 1
        else:
            self._failures = self.rests_until = 0
        return attempt

    async def _tried(self, letter: Letter) -> Attempt:
        now = self._clock.now()
        signed = signature.sign(self._target.secrets, letter.delivery.id, now // SECOND_MS, letter.body)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": signed.id,
            "webhook-timestamp": signed.timestamp,
            "webhook-signature": signed.signature,
            HEADER: str(self._hops.after(letter.body)),
        }
        request = Request(url=self._target.url, method="POST", headers=headers, body=letter.body)
        try:
            return judged(await self._egress.send(request, LIMITS), now)
        except (AddressRefused, UrlRefused, Unreachable) as error:
            return Attempt(reply=Reply.FAILED, error=error.message)
        except Exception as error:  # noqa: BLE001 - the wall of an attempt: a receiver must not take the gateway down
            self._faults.count(Area.OUTBOX, error, self.name)
            return Attempt(reply=Reply.FAILED, error=f"internal error: {type(error).__name__}")


def judged(answer: Answer, now: int) -> Attempt:
    """Say what an answer means: 2xx is taken, 410 and 508 end it, all else is tried again; no redirect is followed."""
    if answer.status in _SUCCESS:
        return Attempt(reply=Reply.TAKEN)
    error = f"answered {answer.status}"
    if answer.status in {HTTPStatus.GONE, HTTPStatus.LOOP_DETECTED}:
        return Attempt(reply=Reply.GONE, error=error)
    wait_ms = 0
    if answer.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        wait_ms = retry_after_ms(answer.headers.get("retry-after", ""), now)
    return Attempt(reply=Reply.FAILED, error=error, wait_ms=wait_ms)


def retry_after_ms(text: str, now: int) -> int:
    """Read a Retry-After header, seconds or a date; what is neither is 0, and a day is the most.

    Source: RFC 9110, section 10.2.3.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal():
        wait_ms = int(text[:9]) * SECOND_MS
    else:
        try:
            wait_ms = int(parsedate_to_datetime(text).timestamp() * 1_000) - now
        except (ValueError, OverflowError, OSError):
            wait_ms = 0
    return min(MAX_RETRY_AFTER_MS, max(0, wait_ms))
