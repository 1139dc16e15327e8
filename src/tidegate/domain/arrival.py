"""How often sessions of each policy come: measured where a gateway has run, else told by schedules, else assumed. Pure.

The instruments sample how many sessions have been created since the start, by policy. What came in a week is the sum of
the differences between neighbouring slots of one life of the gateway, over the time between these; time at which no
gateway was up counts as neither.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType

import msgspec

from tidegate import cron
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tidegate.config import Config
from tidegate.config.job import Job
from tidegate.domain.job import is_isolated
from tidegate.domain.sample import Slot
from tidegate.domain.session import PolicyName

LOOKS_BACK_MS = 7 * DAY_MS
NEEDS_MS = HOUR_MS  # of a gateway that is up; less tells little
MOST_PER_DAY = 1e9

# What is assumed where nothing is known; `docs/growth.md` has the same table.
CHATS_PER_DAY = 5.0
API_PER_DAY = 60.0 * 24
NAMED_PER_DAY = 10.0
CALLS_PER_HOOK_PER_DAY = 10.0 * 24
SUBAGENTS_PER_DAY = 10.0 * 24

_UNITS = {"s": SECOND_MS, "min": MINUTE_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}


class Basis(StrEnum):
    """Where a rate comes from."""

    MEASURED = "measured"
    SCHEDULED = "scheduled"
    ASKED = "asked"
    ASSUMED = "assumed"


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions come in a day, and how that is known."""

    per_day: float
    basis: Basis


Rates = Mapping[PolicyName, Rate]


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions came while a gateway was watched."""

    span_ms: int = 0
    born: Mapping[PolicyName, int] = MappingProxyType({})

    @property
    def is_enough(self) -> bool:
        """Whether a rate can be told."""
        return self.span_ms >= NEEDS_MS


def series_of(name: PolicyName) -> str:
    """Return the name of the series that counts the sessions of a policy that have been created."""
    return f"born.{name}"


SERIES = tuple(map(series_of, PolicyName))


def observed(slots: Sequence[Slot]) -> Observed:
    """Return what came between the first and the last slot of each boot; *slots* are in order."""
    span_ms = 0
    born = dict.fromkeys(PolicyName, 0)
    known = [slot for slot in slots if slot.values.keys() >= set(SERIES)]
    for before, after in pairwise(known):
        if before.boot != after.boot or after.at <= before.at:
            continue
        span_ms += after.at - before.at
        for name in PolicyName:
            series = series_of(name)
            born[name] += max(0, after.values[series].last - before.values[series].last)
    return Observed(span_ms=span_ms, born=born)


def measured(found: Observed) -> Rates:
    """Return the rates that were observed; none where that was too short."""
    if not found.is_enough:
        return {}
    days = found.span_ms / DAY_MS
    return {name: Rate(per_day=found.born[name] / days, basis=Basis.MEASURED) for name in PolicyName}


def assumed(config: Config) -> Rates:
    """Return what is assumed of a configuration that has not been run."""
    calls = sum(hook.chat is None for hook in config.hooks.values())
    figures = {
        PolicyName.CHAT: CHATS_PER_DAY,
        PolicyName.API: API_PER_DAY,
        PolicyName.API_NAMED: NAMED_PER_DAY,
        PolicyName.HOOK: CALLS_PER_HOOK_PER_DAY * calls,
        PolicyName.SUBAGENT: SUBAGENTS_PER_DAY * (config.subagents.depth > 0),
    }
    return {name: Rate(per_day=per_day, basis=Basis.ASSUMED) for name, per_day in figures.items()}


def scheduled(job: Job, now: int) -> float:
    """Return how many sessions a day a job makes."""
    if job.paused or job.at or not is_isolated(job):
        return 0.0
    if job.every_ms:
        return DAY_MS / job.every_ms
    return cron.per_day(job.cron or "", now)


def read_rates(text: str) -> Rates:
    """Read rates such as ``"api=100/h,chat=5/d"``.

    Raises:
        ValueError: It makes no sense; what to write instead stands after a semicolon.
    """
    return dict(_read_rate(part) for part in text.split(",")) if text else {}


def told_rate(per_day: float) -> str:
    """Print a rate for people: ``"12.5/h"``, ``"3/d"``."""
    if per_day == 0:
        return "0"
    value, unit = (per_day / 24, "h") if per_day >= 24 else (per_day, "d")
    value, unit = (value / 60, "min") if unit == "h" and value >= 600 else (value, unit)
    return f"{value:,.3g}/{unit}" if value < 1_000 else f"{value:,.0f}/{unit}"


def _read_rate(text: str) -> tuple[PolicyName, Rate]:
    match = re.fullmatch(r"\s*([a-z_]{1,20})=(\d{1,12}(?:\.\d{1,6})?)/(s|m|min|h|d)\s*", text, re.ASCII)
    if match is None:
        raise ValueError(f'{text[:80]!r} is no rate; write for example "api=100/h"')
    if match[1] not in set(PolicyName):
        raise ValueError(f"{match[1]!r} is no kind; use {', '.join(PolicyName)}")
    per_day = float(match[2]) * DAY_MS / _UNITS[match[3]]
    if per_day > MOST_PER_DAY:
        raise ValueError(
            f"{text[:80]!r} is more than anything can take; use {MOST_PER_DAY:,.0f} a day at most"
        )
    return PolicyName(match[1]), Rate(per_day=per_day, basis=Basis.ASKED)
