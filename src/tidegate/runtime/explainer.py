"""Explains what grew: gathers the gauges then and now, and what weighs most; `domain.explanation` judges.

It costs what a person's question may cost. Sessions are walked from the newest on until the time for that is up; one
walk goes on at a time, and its answer serves all who ask within the next ten seconds.
"""

import asyncio
import heapq
from collections.abc import Mapping

import anyio
import anyio.to_thread
import msgspec

from tidegate.bounded import Registry
from tidegate.clock import SECOND_MS, Clock
from tidegate.domain.explanation import Bounds, Change, Readings, grown
from tidegate.domain.policy import Policies
from tidegate.domain.sample import Slot
from tidegate.domain.weight import TOP, HeavyJob, HeavySession, Table, Weights
from tidegate.runtime.allocator import Allocator
from tidegate.runtime.growth import Growth
from tidegate.store import weight
from tidegate.store.port import Store
from tidegate.store.tally import Tallies
from tidegate.store.weight import Held

FRESH_MS = 10 * SECOND_MS
WALK_MS = 3 * SECOND_MS
MOST_JOBS = 40_000  # names held while sessions are walked, those that have gone included


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """When something was read, by the sample of which ring, in which life of the gateway."""

    at: int
    step_ms: int
    boot: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What grew since when."""

    now: int
    boot: int
    #: None where there is no sample yet
    since: Moment | None
    #: with what the process holds was compared, where it was started anew since
    process_since: Moment | None
    changes: list[Change]
    weights: Weights
    #: what the system's allocator holds free
    free_bytes: int | None
    #: the gauges of memory now
    memory: Mapping[str, int]


class Explainer:
    """Answers what grew."""

    def __init__(
        self, growth: Growth, store: Store, registry: Registry, policies: Policies, clock: Clock
    ) -> None:
        self._growth = growth
        self._store = store
        self._registry = registry
        self._policies = policies
        self._clock = clock
        self._lock = asyncio.Lock()
        self._limiter = anyio.CapacityLimiter(1)
        self._weighed: tuple[int, Weights] | None = None

    async def explain(self, since_ms: int) -> Explanation:
        """Return what grew in the last while, as far back as there are samples."""
        growth, now = self._growth, await self._growth.sampler.look()
        slot = await growth.before(self._clock.now() - since_ms)
        is_of_now = slot is None or slot.boot == growth.boot
        started = None if is_of_now else await growth.oldest(of_this_life=True)
        readings = Readings(_last(slot), _last(slot if is_of_now else started), now)
        counts = {place: count for place, (count, _) in self._store.tallies().sessions.items()}
        return Explanation(
            now=self._clock.now(),
            boot=growth.boot,
            since=_moment(slot),
            process_since=_moment(started),
            changes=[]
            if slot is None
            else grown(readings, Bounds(self._policies, counts, list(self._registry))),
            weights=await self.weights(),
            free_bytes=await anyio.to_thread.run_sync(Allocator().free_bytes, limiter=self._limiter),
            memory={name: now[name] for name in now if name in MEMORY},
        )

    async def weights(self) -> Weights:
        """Return what weighs most, as it was at most ten seconds ago."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._weighed is None or now - self._weighed[0] >= FRESH_MS:
                self._weighed = self._clock.monotonic(), await self._weigh()
            return self._weighed[1]

    async def _weigh(self) -> Weights:
        scales, until = self._store.weight, self._clock.monotonic() + WALK_MS
        heaviest: list[HeavySession] = []
        jobs: dict[str, Held] = {}
        before, looked_at, is_all = weight.NEWEST, 0, False
        while not is_all and self._clock.monotonic() < until:
            page = await scales.page(before)
            heaviest = heapq.nlargest(TOP, [*heaviest, *page.sessions], key=lambda session: session.bytes)
            jobs = _added(jobs, page.jobs)
            before, looked_at, is_all = page.oldest, looked_at + page.looked_at, page.looked_at < weight.PAGE
        return Weights(
            sessions=heaviest,
            jobs=[await self._job(name, jobs[name]) for name in _largest(jobs, TOP)],
            skills=await scales.skills(),
            tables=await scales.tables() or _counted(self._store.tallies()),
            looked_at=looked_at,
            is_all=is_all,
        )

    async def _job(self, name: str, held: Held) -> HeavyJob:
        firings = await self._store.weight.firings(name)
        return HeavyJob(name=name, sessions=held.sessions, bytes=held.bytes, firings=firings)


#: gauges that are told as they are now, whether they grew or not
MEMORY = frozenset({"rss_bytes", "anonymous_bytes", "python_heap_bytes", "native_gap_bytes", "sqlite_bytes"})


def _added(jobs: dict[str, Held], more: Mapping[str, Held]) -> dict[str, Held]:
    """Add what was found; of very many the lightest are forgotten."""
    for name, found in more.items():
        held = jobs.get(name, Held(0, 0))
        jobs[name] = Held(held.sessions + found.sessions, held.bytes + found.bytes)
    return {name: jobs[name] for name in _largest(jobs, MOST_JOBS)} if len(jobs) > MOST_JOBS else jobs


def _largest(jobs: Mapping[str, Held], count: int) -> list[str]:
    return heapq.nlargest(count, jobs, key=lambda name: (jobs[name].bytes, name))


def _counted(tallies: Tallies) -> list[Table]:
    """Return the tables whose rows are counted anyway."""
    rows = {
        "sessions": sum(count for count, _ in tallies.sessions.values()),
        "runs": sum(tallies.runs.values()),
        "segments": tallies.segments,
        "blobs": tallies.blobs,
        "snapshots": tallies.snapshots,
        "receipts": tallies.receipts,
        "approvals": sum(tallies.approvals.values()),
        "jobs": sum((*tallies.jobs.values(), *tallies.paused_jobs.values())),
        "firings": sum(tallies.firings.values()),
        "outbox": sum(tallies.outbox.values()),
        "facts": sum(count for count, _ in tallies.facts.values()),
    }
    largest = sorted(rows, key=lambda name: (-rows[name], name))
    return [Table(name=name, rows=rows[name], bytes=None) for name in largest]


def _last(slot: Slot | None) -> Mapping[str, int]:
    return {} if slot is None else {name: found.last for name, found in slot.values.items()}


def _moment(slot: Slot | None) -> Moment | None:
    return None if slot is None else Moment(at=slot.at, step_ms=slot.step_ms, boot=slot.boot)
