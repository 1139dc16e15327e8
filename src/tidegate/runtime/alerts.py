"""Tells the owner when something is wrong: by a webhook, in a chat, or both; once an episode.

What cannot be told now, because the disk is full or the outbox has no room, is counted and tried again at the next
look; until it was told, it counts as not told. What was told is remembered in the store, with what tells it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from tidegate import log
from tidegate.bounded import Registry
from tidegate.clock import MINUTE_MS, Clock
from tidegate.domain.alert import MAX_OPEN, WEEK_MS, Alert, AlertEvent, News, Owner, Record, news
from tidegate.domain.level import Level
from tidegate.faults import Area, Faults
from tidegate.runtime.alarms import Alarms
from tidegate.runtime.bell import ring_or
from tidegate.store.port import Store

LOOK_S = 30.0
FIRST_COUNT_MS = 5 * MINUTE_MS  # after a start the sweep makes up for what came due meanwhile
COUNT_MS = 10 * MINUTE_MS  # between two looks at what is dear to find out

_log = log.get("alerts")


class Alerts:
    """The voice of one gateway; without an owner it only logs."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that a voice needs
        self,
        store: Store,
        alarms: Alarms,
        owner: Owner,
        clock: Clock,
        registry: Registry,
        faults: Faults | None = None,
        weekly: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        #: since the start: told by event, and tries that failed
        self.told = dict.fromkeys(AlertEvent, 0)
        self.failed = 0
        #: how many are wrong now that there is no room to tell
        self.untold = 0
        #: tells how a week was, in a line; None where nobody has asked for it
        self._weekly = weekly
        self._store = store
        self._alarms = alarms
        self._owner = owner
        self._faults = faults or Faults(clock)
        self._clock = clock
        self._record: Record | None = None
        self._counts_ms = clock.monotonic() + FIRST_COUNT_MS
        self._bell = asyncio.Event()
        #: the keys of what is logged and could not be told yet
        self._logged: set[str] = set()
        registry.add(
            "alerts_open",
            lambda: len(self._record.open) if self._record else 0,
            MAX_OPEN,
            when_full="new ones are counted, and not told",
        )

    async def serve(self) -> None:
        """Look for ever."""
        while True:
            self._bell.clear()
            await self.look()
            await ring_or(self._bell, LOOK_S)

    def ring(self) -> None:
        """Look soon."""
        self._bell.set()

    async def look(self) -> None:
        """Look once, and tell what is new; what goes wrong with that is logged, counted and tried again."""
        with self._faults.turn(Area.ALERTS) as turn:
            record = self._record or await self._remembered()
            found = news(record, await self._alarms.look(counts=self._is_time_to_count()), self._clock.now())
            self._record, self.untold = found.before, found.dropped
            found = await self._with_summary(found)
            if found.alerts:
                await self._tell(found)
        self.failed += turn.error is not None

    def report(self) -> dict[str, object]:
        """Return how it stands: what is wrong now, how many were told since the start, and what stands in the way."""
        return {
            "open": sorted(self._record.open) if self._record else [],
            "told": sum(self.told.values()),
            "failed": self.failed,
            "untold": self.untold,
        }

    def _is_time_to_count(self) -> bool:
        is_time = self._clock.monotonic() >= self._counts_ms
        if is_time:
            self._counts_ms = self._clock.monotonic() + COUNT_MS
        return is_time

    async def _remembered(self) -> Record:
        record = await self._store.alerts.record()
        return record or Record(summed_at=self._clock.now())

    async def _with_summary(self, found: News) -> News:
        """Add the summary of a week, if it is time."""
        now = self._clock.now()
        if self._weekly is None or now - min(found.before.summed_at, now) < WEEK_MS:
            return found
        alert = Alert(event=AlertEvent.SUMMARY, level=Level.NORMAL, text=await self._weekly())
        after = msgspec.structs.replace(found.after, summed_at=now)
        return found._replace(alerts=[*found.alerts, alert], after=after)

    async def _tell(self, found: News) -> None:
        """Tell, and only then take it as told."""
        keys = {alert.key for alert in found.alerts}
        for alert in found.alerts:
            if alert.key not in self._logged:
                _log.warning("alert", about=alert.event, level=alert.level, text=alert.text)
        self._logged = keys
        if self._owner.is_there:
            await self._store.alerts.tell(self._owner, found.alerts, found.after)
        self._record, self._logged = found.after, set()
        for alert in found.alerts:
            self.told[alert.event] += 1
