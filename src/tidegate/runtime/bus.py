"""Who hears what: events to subscribers, bounded, and a word to those that are too slow.

Durable events (entries, runs that wait or have ended) come from the store's effects after their commit; pieces of an
answer in the making come from the runner. A subscriber that does not keep up is told once that it lagged and then reads
on from the store: nothing waits for it and nothing is kept for it.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from tidegate.bounded import Registry
from tidegate.domain.entry import Entry
from tidegate.domain.run import Run
from tidegate.errors import LimitReached
from tidegate.ids import RunId, SessionId
from tidegate.store.tx import Effects

MAX_EVENTS = 256  # a subscriber
MAX_SUBSCRIBERS = 20_000
SLOW_EVENTS = 32  # waiting for a subscriber: it does not keep up


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

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._wake = asyncio.Event()

    def put(self, event: Event) -> None:
        """Add an event; above the bound everything waiting is replaced by one `Lagged`."""
        if len(self._events) >= MAX_EVENTS:
            self._events.clear()
            self._events.append(Lagged())
        self._events.append(event)
        self._wake.set()

    @property
    def is_slow(self) -> bool:
        """Whether much waits for it."""
        return len(self._events) >= SLOW_EVENTS

    def cut(self) -> None:
        """Let go of what waits for it, and tell it that there will be no more."""
        self._events.clear()
        self.put(Ended(reason="slow"))

    async def get(self) -> Event:
        """Wait for the next event."""
        while not self._events:
            self._wake.clear()
            await self._wake.wait()
        return self._events.popleft()


class Bus:
    """The subscribers of each session; a session without one has no place here."""

    def __init__(self, registry: Registry) -> None:
        self._subscribers: dict[SessionId, list[Subscription]] = {}
        self._is_closed = False
        self._count = 0
        registry.add("subscribers", lambda: self._count, MAX_SUBSCRIBERS, when_full="a stream is refused")

    @contextmanager
    def subscribe(self, session: SessionId) -> Iterator[Subscription]:
        """Hear a session's events from now on.

        Raises:
            LimitReached: There are 20,000 subscribers.
        """
        if self._count >= MAX_SUBSCRIBERS:
            raise LimitReached(f"{self._count} streams are open", retry_after_s=10)
        subscription = Subscription()
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
        for subscription in self._subscribers.get(session, ()):
            subscription.put(event)

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
        held = (one for subscriptions in self._subscribers.values() for one in subscriptions)
        slow = [subscription for subscription in held if subscription.is_slow]
        for subscription in slow:
            subscription.cut()
        return len(slow)

    def close(self) -> None:
        """Tell every subscriber, those to come included, that the gateway stops."""
        self._is_closed = True
        for session in self._subscribers:
            self.publish(session, Ended(reason="stopping"))
