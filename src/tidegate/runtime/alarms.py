"""What is wrong with the gateway at this moment, by each of its instruments, each in a fixed sentence."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType

import msgspec

from tidegate.bounded import OLDEST_GOES, Registry
from tidegate.clock import DAY_MS, MINUTE_MS, Clock
from tidegate.domain.alert import Alert, AlertEvent
from tidegate.domain.level import Level
from tidegate.domain.trend import Shape
from tidegate.faults import Area, Faults
from tidegate.runtime.growth import Growth
from tidegate.runtime.guard import Guard, Reason
from tidegate.runtime.nightly import Nightly
from tidegate.runtime.spend import Spend

LATE_BACKUP_MS = 2 * DAY_MS
FULL_MS = 5 * MINUTE_MS  # a container that is full for so long is worth a word
#: of these it is their way to be full
_MAY_BE_FULL = (OLDEST_GOES, "runs wait")

_SHORT: Mapping[tuple[Reason, Level], tuple[str, str]] = MappingProxyType(
    {
        (Reason.MEMORY, Level.TIGHT): (
            "memory is short: caches are shed, and new sessions but chats may be refused",
            "[limits] memory",
        ),
        (Reason.MEMORY, Level.CRITICAL): (
            "memory is nearly used up: work in the background waits, and new sessions but chats are refused",
            "[limits] memory",
        ),
        (Reason.DISK, Level.TIGHT): (
            "the disk is short: finished sessions go early, and work in the background may wait",
            "[limits] disk",
        ),
        (Reason.DISK, Level.CRITICAL): (
            "the disk is nearly used up: work in the background waits, and messages may be refused",
            "[limits] disk",
        ),
    }
)


class Instruments(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked."""

    guard: Guard
    spend: Spend
    growth: Growth
    nightly: Nightly
    registry: Registry
    clock: Clock
    faults: Faults
    #: sessions that are overdue, and orphans by type
    overdue: Callable[[], Awaitable[int]]
    orphans: Callable[[], Awaitable[Mapping[str, int]]]


class Alarms:
    """Asks all instruments."""

    def __init__(self, instruments: Instruments) -> None:
        self._of = instruments
        #: since when containers have been full; never more than there are
        self._full: dict[str, int] = {}
        self._counted_last: list[Alert] = []
        self._parts: Mapping[str, Callable[[], Iterator[Alert]]] = {
            "levels": self._levels,
            "money": self._money,
            "trend": self._trend,
            "backup": self._backup,
            "bounds": self._bounds,
            "stuck": self._stuck,
        }

    async def look(self, *, counts: bool) -> list[Alert]:
        """Return all that is wrong; what is dear to find out is as it was when that was counted last."""
        wall = partial(self._of.faults.wall, Area.ALERTS)
        if counts:
            with wall("counted"):
                self._counted_last = [alert async for alert in self._counted()]
        found: list[Alert] = []
        for name, part in self._parts.items():
            with wall(name):  # one instrument that fails does not keep the others from being heard
                found += part()
        return [*found, *self._counted_last]

    def _levels(self) -> Iterator[Alert]:
        for (reason, level), (text, setting) in _SHORT.items():
            if self._of.guard.level(reason) is level:
                yield Alert(event=AlertEvent(reason.value), level=level, text=text, setting=setting)

    def _money(self) -> Iterator[Alert]:
        for kind, name, one in self._of.spend.accounts():
            if one.level is Level.NORMAL:
                continue
            whose = f"{kind} {name}" if kind else "the gateway"
            setting = {"": "[limits] spend", "agent": f"[agents.{name}] spend"}.get(kind, "spend of the job")
            what = "at the limit its work in the background will wait"
            if one.level is Level.CRITICAL:
                what = "its work in the background waits for the next day, and chats go on"
            yield Alert(
                event=AlertEvent.SPEND,
                level=one.level,
                text=f"{whose} has spent {one.told} today (UTC); {what}",
                setting=setting,
                subject=f"{kind} {name}".strip(),
                period=self._of.spend.day,
            )

    def _trend(self) -> Iterator[Alert]:
        growth = self._of.growth
        if growth.verdict(growth.overall).shape is Shape.GROWING:
            yield Alert(
                event=AlertEvent.TREND,
                level=Level.TIGHT,
                text=f"memory is {growth.told(growth.overall)}; `tidegate growth explain` says what grew",
            )

    def _backup(self) -> Iterator[Alert]:
        report, last = self._of.nightly.report(), self._of.nightly.last
        if not report["enabled"]:
            return
        setting = "[backup] folder"
        if report["failure"] is not None:
            text = (
                "the nightly backup has failed; `tidegate status` says why, and it is tried again every hour"
            )
            yield Alert(event=AlertEvent.BACKUP, level=Level.TIGHT, text=text, setting=setting)
        elif self._of.clock.now() - last.at > LATE_BACKUP_MS:
            text = "there has been no nightly backup for two days"
            yield Alert(event=AlertEvent.BACKUP, level=Level.TIGHT, text=text, setting=setting)

    def _bounds(self) -> Iterator[Alert]:
        now = self._of.clock.monotonic()
        full = [
            gauge
            for gauge in self._of.registry
            if gauge.entries >= gauge.limit > 0 and gauge.when_full not in _MAY_BE_FULL
        ]
        self._full = {gauge.name: self._full.get(gauge.name, now) for gauge in full}
        for gauge in full:
            if now - self._full[gauge.name] >= FULL_MS:
                yield Alert(
                    event=AlertEvent.CONTAINER,
                    level=Level.TIGHT,
                    text=f"{gauge.name} is full ({gauge.limit:,}): {gauge.when_full or 'nothing more is taken'}",
                    subject=gauge.name,
                )

    def _stuck(self) -> Iterator[Alert]:
        for part in self._of.faults.stuck():
            text = f"{part} has not been able to work for five minutes, and goes on trying; `tidegate status` says why"
            yield Alert(event=AlertEvent.FAULTS, level=Level.CRITICAL, text=text, subject=part)

    async def _counted(self) -> AsyncIterator[Alert]:
        overdue = await self._of.overdue()
        if overdue:
            text = f"{overdue:,} sessions are overdue: they should have been moved more than two minutes ago"
            yield Alert(event=AlertEvent.OVERDUE, level=Level.TIGHT, text=text)
        orphans = sum((await self._of.orphans()).values())
        if orphans:
            text = f"{orphans:,} things in the store have lost their owner; `tidegate doctor` names them"
            yield Alert(event=AlertEvent.ORPHANS, level=Level.TIGHT, text=text)
