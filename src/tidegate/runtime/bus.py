"""Who hears what: events to subscribers, bounded, and a word to those that are too slow.

Durable events (entries, runs that wait or have ended) come from the store's effects after their commit; pieces of an
answer in the making come from the runner. A subscriber that does not keep up is told once that it lagged and then reads
on from the store: nothing waits for it and nothing is kept for it.

Subscribers are woken a few at a time, with rests between, and first whoever waits for an answer: a thousand that look
on at one conversation do not keep its next message waiting.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from tidegate.bounded import Registry
from tidegate.domain.entry import Entry
from tidegate.domain.run import Run
from tidegate.errors import LimitReached
from tidegate.ids import RunId, SessionId
from tidegate.store.tx import Effects

MAX_EVENTS = 256  # a subscriber
MAX_EVENT_BYTES = 256 << 10  # a subscriber
MAX_BYTES = 32 << 20  # all of them
MAX_SUBSCRIBERS = 20_000
SLOW_EVENTS = 32  # waiting for a subscriber: it does not keep up
SLOW_BYTES = 64 << 10
EVENT_BYTES = 512  # what one takes beside its text
WAKES = 16  # in one turn of the loop
REST_S = 0.002  # between two such turns; what comes meanwhile is heard together


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer that is still being made; its entry will replace it."""

    run: RunId
    #: how many characters of the answer came before
    at: int = 0
    text: str


class Lagged(msgspec.Struct, frozen=True):
    """The subscriber was too slow; what came meanwhile is in the store."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """There will be no more events: the session is gone or has another key, the gateway stops, or one was too slow."""

    reason: str


Event = Entry | Run | Piece | Lagged | Ended


class Subscription:
    """The events of one session from now on."""

    def __init__(self, ring: Callable[["Subscription"], None], *, is_first: bool = False) -> None:
        #: whether it is woken before those that only look on
        self.is_first = is_first
        self.bytes = 0
        self._events: deque[Event] = deque()
        self._ring = ring
        self._is_rung = False
        self._wake = asyncio.Event()

    def put(self, event: Event) -> None:
        """Add an event; above the bounds everything waiting is replaced by one `Lagged`."""
        if len(self._events) >= MAX_EVENTS or self.bytes + _size(event) > MAX_EVENT_BYTES:
            self.lag()
        self._add(event)

    def lag(self) -> None:
        """Let go of what waits for it, and tell it so."""
        self._events.clear()
        self.bytes = 0
        self._add(Lagged())

    @property
    def is_slow(self) -> bool:
        """Whether much waits for it."""
        return len(self._events) >= SLOW_EVENTS or self.bytes >= SLOW_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits for it."""
        return not self._events

    def cut(self) -> None:
        """Let go of what waits for it, and tell it that there will be no more."""
        self._events.clear()
        self.bytes = 0
        self._add(Ended(reason="slow"))

    def wake(self) -> None:
        """Let whoever waits for it go on."""
        self._is_rung = False
        self._wake.set()

    async def get(self) -> Event:
        """Wait for the next event."""
        while not self._events:
            self._wake.clear()
            await self._wake.wait()
        event = self._events.popleft()
        self.bytes -= _size(event)
        return event

    def _add(self, event: Event) -> None:
        self._events.append(event)
        self.bytes += _size(event)
        if not self._is_rung:
            self._is_rung = True
            self._ring(self)


class Bus:
    """The subscribers of each session; a session without one has no place here."""

    def __init__(self, registry: Registry) -> None:
        self._subscribers: dict[SessionId, list[Subscription]] = {}
        self._is_closed = False
        self._count = 0
        self._rung: deque[Subscription] = deque()
        #: bytes that were handed out since it was looked how many wait
        self._since_look = 0
        registry.add("subscribers", lambda: self._count, MAX_SUBSCRIBERS, when_full="a stream is refused")
        registry.add(
            "subscriber_bytes",
            self._bytes,
            MAX_BYTES,
            when_full="those that do not keep up read on from the store",
            is_bytes=True,
        )

    @contextmanager
    def subscribe(self, session: SessionId, *, is_first: bool = False) -> Iterator[Subscription]:
        """Hear a session's events from now on; *is_first* is for whoever waits for an answer.

        Raises:
            LimitReached: There are 20,000 subscribers.
        """
        if self._count >= MAX_SUBSCRIBERS:
            raise LimitReached(f"{self._count} streams are open", retry_after_s=10)
        subscription = Subscription(self._ring, is_first=is_first)
        if self._is_closed:
            subscription.put(Ended(reason="stopping"))
        self._subscribers.setdefault(session, []).append(subscription)
        self._count += 1
        try:
            yield subscription
        finally:
            self._count -= 1
            self._subscribers[session].remove(subscription)
            if not self._subscribers[session]:
                del self._subscribers[session]

    def publish(self, session: SessionId, event: Event) -> None:
        """Hand an event to everyone who hears the session."""
        hearing = self._subscribers.get(session, ())
        for subscription in hearing:
            subscription.put(event)
        self._since_look += len(hearing) * _size(event)
        if self._since_look > MAX_BYTES // 4:
            self._make_room()

    def on_commit(self, effects: Effects) -> None:
        """Pass on what a commit has made durable: entries first, then runs that wait or have ended."""
        try:
            self._pass_on(effects)
        except Exception:
            # whoever hears one of these sessions reads from the store what it has not heard
            runs = (*effects.waiting, *effects.closed)
            for session in {*(entry.session for entry in effects.entries), *(run.session for run in runs)}:
                self.publish(session, Lagged())
            raise

    def _pass_on(self, effects: Effects) -> None:
        for entry in effects.entries:
            self.publish(entry.session, entry)
        for run in (*effects.waiting, *effects.closed):
            self.publish(run.session, run)
        for session in effects.gone:
            self.publish(session, Ended(reason="deleted"))
        for session in effects.renamed:
            self.publish(session, Ended(reason="renamed"))

    def cut_slow(self) -> int:
        """Cut off the subscribers that do not keep up, and say how many they are; they can come again."""
        slow = [subscription for subscription in self._all() if subscription.is_slow]
        for subscription in slow:
            subscription.cut()
        return len(slow)

    def close(self) -> None:
        """Tell every subscriber, those to come included, that the gateway stops."""
        self._is_closed = True
        for session in self._subscribers:
            self.publish(session, Ended(reason="stopping"))

    def _all(self) -> Iterator[Subscription]:
        return (one for subscriptions in self._subscribers.values() for one in subscriptions)

    def _bytes(self) -> int:
        return sum(subscription.bytes for subscription in self._all())

    def _make_room(self) -> None:
        """Let those lag for which most waits, until no more waits than may."""
        self._since_look = 0
        waiting = self._bytes()
        if waiting <= MAX_BYTES // 2:
            return
        for subscription in sorted(self._all(), key=lambda one: one.bytes, reverse=True):
            waiting -= subscription.bytes
            subscription.lag()
            if waiting <= MAX_BYTES // 4:
                return

    def _ring(self, subscription: Subscription) -> None:
        if not self._rung:
            asyncio.get_running_loop().call_soon(self._wake_some)
        if subscription.is_first:
            self._rung.appendleft(subscription)
        else:
            self._rung.append(subscription)

    def _wake_some(self) -> None:
        for _ in range(min(WAKES, len(self._rung))):
            self._rung.popleft().wake()
        if self._rung:
            asyncio.get_running_loop().call_later(REST_S, self._wake_some)


def _size(event: Event) -> int:
    """Return about how many bytes an event takes."""
    match event:
        case Entry():
            return EVENT_BYTES + len(event.body.text)
        case Piece():
            return EVENT_BYTES + len(event.text)
        case _:
            return EVENT_BYTES
