"""Brings together what a forecast rests on: a configuration, what a store holds, what came, what the process takes.

What a run takes, and the process beside it, are figures of `bench/`; what was set in `bounded` containers is what they
can hold.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import anyio
import anyio.to_thread
import msgspec

from tidegate.agent.measure import BYTES_PER_TOKEN
from tidegate.clock import Clock
from tidegate.config import Config
from tidegate.config.source import sources
from tidegate.domain import arrival
from tidegate.domain.arrival import Basis, Observed, Rate, Rates
from tidegate.domain.forecast import Ground, Limits, Outlook, outlook
from tidegate.domain.policy import policies
from tidegate.domain.sample import COARSE
from tidegate.domain.session import PolicyName
from tidegate.domain.survey import Survey
from tidegate.runtime import allowance, bus, library, process
from tidegate.runtime.growth import Growth
from tidegate.store import connection, quota, sqlite, writer
from tidegate.store.port import Store

IDLE_BYTES = 44 << 20  # bench/idle.py
LIBRARY_BYTES = 64 << 20  # of the clients of models, once: bench/runs.py
STREAM_BYTES = 14 << 10  # an open one that nothing happens on
RUN_BYTES = 160 << 10  # a run beside its prompt: bench/runs.py,
PROMPTS = 2.5  # and how often it holds that: as objects, and as the body of its request


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known beside the configuration."""

    now: int
    limits: Limits
    survey: Survey = Survey()
    observed: Observed = Observed()
    #: of the gateway that runs
    memory_bytes: int | None = None
    #: what came, came under another configuration, so that its jobs say nothing
    is_other: bool = False


class Forecaster:
    """Foretells what becomes of a running gateway."""

    def __init__(self, store: Store, growth: Growth, config: Config, limits: Limits, clock: Clock) -> None:
        self._store = store
        self._growth = growth
        self._config = config
        self._limits = limits
        self._clock = clock
        self._limiter = anyio.CapacityLimiter(1)

    async def outlook(self, asked: Rates, scale: float) -> Outlook:
        """Return what comes of *scale* times as much; *asked* are rates that somebody wants instead of those known."""
        known = await self._known()
        # the schedules of a thousand jobs take a while
        return await anyio.to_thread.run_sync(
            lambda: outlook(ground(self._config, known, asked), scale), limiter=self._limiter
        )

    async def _known(self) -> Known:
        now = self._clock.now()
        slots = await self._growth.slots(COARSE, arrival.SERIES, now - arrival.LOOKS_BACK_MS)
        memory = process.memory()
        return Known(
            now=now,
            limits=self._limits,
            survey=await self._store.survey(now),
            observed=arrival.observed(slots),
            memory_bytes=memory.rss if memory.anonymous is None else memory.anonymous,
        )


def ground(config: Config, known: Known, asked: Rates = MappingProxyType({})) -> Ground:
    """Return what a forecast of a configuration rests on."""
    survey, runs = known.survey, config.runs
    jobs = [arrival.scheduled(job, known.now) for job in (*config.jobs, *survey.jobs)]
    return Ground(
        policies=policies(config.lifecycle, config.approvals.expire_after_ms),
        rates=_rates(config, known, jobs) | dict(asked),
        jobs=[job for job in jobs if job],
        finished=survey.finished,
        sizes={name: survey.size(name) for name in PolicyName},
        stored=survey.stored,
        base_bytes=survey.base_bytes,
        disk_bytes=survey.live_bytes,
        memory=_memory(config),
        spare=_spare(),
        run_bytes=RUN_BYTES + round(PROMPTS * _largest_prompt(config)),
        slots=runs.slots + runs.cron_slots + runs.subagent_slots,
        memory_bytes=known.memory_bytes,
        limits=known.limits,
        observed_ms=known.observed.span_ms,
    )


def _rates(config: Config, known: Known, jobs: Sequence[float]) -> dict[PolicyName, Rate]:
    measured = dict(arrival.measured(known.observed))
    if known.is_other:
        measured.pop(PolicyName.CRON, None)
    by_schedule = {PolicyName.CRON: Rate(per_day=sum(jobs), basis=Basis.SCHEDULED)}
    return {**arrival.assumed(config), **by_schedule, **measured}


def _memory(config: Config) -> Mapping[str, int]:
    """Return what is always there once caches are full."""
    is_remote = not all(
        source.is_offline for agent in config.agents.values() for source in sources(config, agent)
    )
    pages = connection.CACHE_KIB + (1 + sqlite.READERS) * connection.READER_CACHE_KIB
    return {
        "idle": IDLE_BYTES,
        **({"libraries of models": LIBRARY_BYTES} if is_remote else {}),
        "caches": (pages << 10) + sqlite.CACHE_BYTES + library.CACHE_BYTES,
    }


def _spare() -> Mapping[str, int]:
    """Return what more there may be at worst."""
    return {
        "writes that wait": 2 * writer.MAX_BYTES,
        f"{bus.MAX_SUBSCRIBERS:,} streams": bus.MAX_SUBSCRIBERS * STREAM_BYTES,
    }


def _largest_prompt(config: Config) -> int:
    """Return the bytes of the largest prompt that an agent may send."""
    rooms = (
        min(one.window - one.reserve for one in sources(config, agent)) for agent in config.agents.values()
    )
    return max(rooms) * BYTES_PER_TOKEN


# Limits that nobody has set ------------------------------------------------------------------------------------------


def limits(config: Config, folder: Path) -> Limits:
    """Return what was set, else what the machine suggests to a gateway on a folder, which need not be there."""
    there = next((place for place in (folder, *folder.parents) if place.is_dir()), folder)
    return Limits(
        disk_bytes=quota.look_up(there, config.limits.disk_bytes),
        memory_bytes=allowance.limit_bytes(config.limits.memory_bytes),
    )
