"""What the owner is told when something is wrong, and when: once an episode. Pure.

An episode begins when something is short or broken, and is over once it has not been for a while; within it people are
told again only if it gets worse. So what hovers around a mark tells once.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, day
from tidegate.domain.level import Level

QUIET_MS = 10 * MINUTE_MS  # after which an episode is over
MAX_OPEN = 200  # episodes at a time; more are not told
MAX_A_DAY = 50
WEEK_MS = 7 * DAY_MS


class AlertEvent(StrEnum):
    """What an alert is about, a closed set."""

    MEMORY = "memory"
    DISK = "disk"
    SPEND = "spend"
    TREND = "trend"
    OVERDUE = "overdue"
    ORPHANS = "orphans"
    BACKUP = "backup"
    CONTAINER = "container"
    FAULTS = "faults"
    SUMMARY = "summary"


#: how long at least lies between two episodes of the same thing
_APART_MS: Mapping[AlertEvent, int] = MappingProxyType(
    {
        **dict.fromkeys(AlertEvent, HOUR_MS),
        AlertEvent.TREND: DAY_MS,
        AlertEvent.CONTAINER: DAY_MS,
    }
)


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told: a webhook, a chat, or both."""

    webhook: str = ""
    chat: str = ""
    #: whose chat it is, where there is none yet
    agent: str = ""

    @property
    def is_there(self) -> bool:
        """Whether there is anybody."""
        return bool(self.webhook or self.chat)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong; it holds no text of a session."""

    event: AlertEvent
    level: Level
    #: one sentence
    text: str
    #: the setting that would change it, as ``[SECTION] key``; empty where there is none
    setting: str = ""
    #: what of its kind it is about, such as an agent, a job or a container
    subject: str = ""
    #: what keeps an episode apart from others of the same subject, such as a day
    period: str = ""

    @property
    def key(self) -> str:
        """The name of its episode."""
        return f"{self.event}/{self.subject}/{self.period}"


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was told of an episode that is not over."""

    event: AlertEvent
    level: Level
    at: int
    #: since when it has not been so any more; forgotten with the process
    quiet_at: int | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What was told so far."""

    open: Mapping[str, Told] = {}
    #: how many on this day, in UTC
    day: str = ""
    count: int = 0
    #: when the last summary of a week was told, or the first one begins to be waited for
    summed_at: int = 0


class News(NamedTuple):
    """What is to be told now, the record until it is and once it is, and how many there is no room for."""

    alerts: Sequence[Alert]
    before: Record
    after: Record
    dropped: int


def news(record: Record, found: Sequence[Alert], now: int) -> News:
    """Say what is to be told of all that is wrong now."""
    today = day(now)
    count = record.count if record.day == today else 0
    there = {alert.key: alert for alert in found}
    left = {
        key: told
        for key, known in record.open.items()
        if (told := _followed(known, key in there, now)) is not None
    }
    before = msgspec.structs.replace(record, open=dict(left), day=today, count=count)
    fresh: list[Alert] = []
    dropped = 0
    for key, alert in there.items():
        known = left.get(key)
        if known is not None and alert.level.rank <= known.level.rank:
            continue
        if count >= MAX_A_DAY or (known is None and len(left) >= MAX_OPEN):
            dropped += 1
            continue
        fresh.append(alert)
        left[key] = Told(event=alert.event, level=alert.level, at=now)
        count += 1
    return News(fresh, before, msgspec.structs.replace(before, open=left, count=count), dropped)


def _followed(told: Told, is_there: bool, now: int) -> Told | None:  # noqa: FBT001 - a fact beside its time
    """Return what is known of an episode; None once it is over."""
    if is_there:
        return msgspec.structs.replace(told, quiet_at=None)
    at = min(told.at, now)  # the clock may have been set back
    quiet_at = now if told.quiet_at is None else min(told.quiet_at, now)
    if now - quiet_at >= QUIET_MS and now - at >= _APART_MS[told.event]:
        return None
    return msgspec.structs.replace(told, at=at, quiet_at=quiet_at)
