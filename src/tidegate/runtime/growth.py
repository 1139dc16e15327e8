"""Watches how the gateway grows: a sample every ten seconds, three rings in the store, a trend.

Time is counted by the monotonic clock; the wall clock only labels what was seen. Slots are written once a minute, in
the background, those in the making too: a crash costs a minute. What cannot be written waits for the next minute, up to
a bound. A sample that fails takes nothing down but itself.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from tidegate import log
from tidegate.bounded import Registry
from tidegate.clock import Clock
from tidegate.domain import trend
from tidegate.domain.sample import COARSE, FINE, RINGS, Fold, Point, Ring, Sample, Slot, Thin
from tidegate.domain.trend import Verdict
from tidegate.errors import TidegateError
from tidegate.faults import Area, Faults
from tidegate.runtime import process
from tidegate.runtime.sampler import Sampler
from tidegate.runtime.trends import NEEDS_MS, Trends
from tidegate.store import growth as kept
from tidegate.store.port import Store

FLUSH_SAMPLES = 6
MAX_PENDING = 512  # closed slots that could not be written yet; above an hour, the oldest go
OVERALL = ("anonymous_bytes", "rss_bytes")  # the first one that the system tells

_log = log.get("growth")


def limited() -> str:
    """Return the series that the limit of memory is about."""
    return OVERALL[0] if process.memory().anonymous is not None else OVERALL[1]


class Growth:
    """The instruments of one life of a gateway."""

    def __init__(  # noqa: PLR0913, PLR0917 - the last two are optional
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        boot: int,
        faults: Faults | None = None,
        limits: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        #: what only passes (a soak) is watched, but not written
        self.is_kept = True
        self.boot = boot
        self.trends = Trends(limits)
        self.sampler = Sampler(store, registry)
        self.latest: Sample | None = None
        self._store = store
        self._clock = clock
        self._faults = faults or Faults(clock)
        self._started_ms = clock.monotonic()
        self._pending: deque[Slot] = deque(maxlen=MAX_PENDING)
        self._folds: list[Fold] = []
        self._taken = 0
        self._is_well = True
        registry.add(
            "growth_pending",
            lambda: len(self._pending),
            MAX_PENDING,
            when_full="the oldest samples are not kept",
        )

    @property
    def uptime_ms(self) -> int:
        """How long this life has lasted."""
        return self._clock.monotonic() - self._started_ms

    async def serve(self) -> None:
        """Sample for ever; a turn that was missed, because the machine slept, is not made up for."""
        while True:
            with self._faults.turn(Area.GROWTH) as turn:
                await self.tick()
            await turn.rest()
            await asyncio.sleep((FINE.step_ms - self.uptime_ms % FINE.step_ms) / 1_000)

    async def tick(self) -> None:
        """Take one sample, and write once a minute."""
        values = await self.sampler.read()
        sample = Sample(at=self._clock.now(), boot=self.boot, elapsed_ms=self.uptime_ms, values=values)
        self.latest = sample
        if not self._folds:
            self._folds = [Fold(ring, number) for ring, number in await self._following()]
        for fold in self._folds:
            stretch = fold.stretch
            closed = fold.take(sample)
            if closed is not None:
                self._pending.append(closed)
                if fold.ring is COARSE:
                    self.trends.close(stretch, closed.values)
        self._taken += 1
        if self._taken % FLUSH_SAMPLES == 0:
            await self.flush()

    async def flush(self) -> None:
        """Write what was sampled, with the slots in the making; nothing if the store takes nothing now."""
        if not self.is_kept:
            self._pending.clear()
            return
        closed = list(self._pending)
        try:
            await self._store.samples.keep([*closed, *self._open()])
        except TidegateError as error:
            self._complain("samples_not_written", error)
            return
        self._is_well = True
        for _ in closed:
            self._pending.popleft()

    async def close(self) -> None:
        """Take a last sample, since what came after the one before would never be counted, and write."""
        try:
            await self.tick()
        except TidegateError as error:
            self._complain("sample_failed", error)
        await self.flush()

    async def history(self, ring: Ring, names: Sequence[str], limit: int) -> dict[str, list[Point]]:
        """Return the points of some series in a ring, oldest first, up to the last sample; about *limit* of each.

        The ring is read page by page, so that no reader is held for long, and is never held whole.
        """
        fresh = self._fresh(ring)
        count = min(ring.slots, 1 + max((slot.number for slot in fresh), default=ring.slots))
        thin = Thin(-(-count // limit))
        for first in range(0, count, kept.PAGE):
            for slot in await self._store.samples.page(ring, first, names):
                thin.add(slot)
        for slot in fresh:
            thin.add(slot)
        since = self._clock.now() - ring.span_ms
        slots = [slot for slot in thin.in_order() if slot.at >= since]
        return {name: [Point(slot.at, slot.boot, slot.values.get(name)) for slot in slots] for name in names}

    async def slots(self, ring: Ring, names: Sequence[str], since: int) -> list[Slot]:
        """Return the slots of a ring since an instant, in order, the one in the making included."""
        found = Thin(1)
        for first in range(0, ring.slots, kept.PAGE):
            page = await self._store.samples.page(ring, first, names)
            for slot in page:
                if slot.at >= since:
                    found.add(slot)
        for slot in self._fresh(ring):
            if slot.at >= since:
                found.add(slot)
        return found.in_order()

    async def before(self, at: int) -> Slot | None:
        """Return the newest slot up to an instant, of the finest ring that has one; before all of them the oldest."""
        for ring in RINGS:
            kept = await self._store.samples.until(ring, at)
            found = [slot for slot in self._fresh(ring) if slot.at <= at]
            newest = max([*found, *([kept] if kept else [])], key=lambda slot: slot.number, default=None)
            if newest is not None:
                return newest
        return await self.oldest(of_this_life=False)

    async def oldest(self, *, of_this_life: bool) -> Slot | None:
        """Return the oldest slot of all rings."""
        boot = self.boot if of_this_life else None
        found = [slot for ring in RINGS for slot in self._fresh(ring)]
        for ring in RINGS:
            kept = await self._store.samples.first(ring, boot)
            found += [kept] if kept else []
        # of two that end together the shorter one says more of their beginning
        return min(found, key=lambda slot: (slot.at, slot.step_ms), default=None)

    async def names(self) -> list[str]:
        """Return every series that there is, or was."""
        latest = self.latest.values if self.latest else {}
        return sorted({*(await self._store.samples.names()), *latest})

    # The trend ------------------------------------------------------------------------------------------------------

    @property
    def overall(self) -> str:
        """The series that the verdict on the whole gateway is about."""
        values = self.latest.values if self.latest else {}
        return next((name for name in OVERALL if name in values), OVERALL[-1])

    @property
    def first_answer_at(self) -> int | None:
        """When there will be a verdict; None once there can be one."""
        left_ms = NEEDS_MS + FINE.step_ms - self.uptime_ms
        return self._clock.now() + left_ms if left_ms > 0 else None

    def told(self, name: str) -> str:
        """Say the verdict on a series in a few words."""
        at = self.first_answer_at
        first = "" if at is None else f"{datetime.fromtimestamp(at / 1_000).astimezone():%H:%M}"
        return trend.told(self.verdict(name), is_bytes=name.endswith("_bytes"), first=first)

    def verdict(self, name: str) -> Verdict:
        """Return the verdict on a series."""
        return self.trends.of(name)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _complain(self, event: str, error: TidegateError) -> None:
        """Tell what went wrong, once until it goes well again."""
        if self._is_well:
            _log.warning(event, error=str(error))
        self._is_well = False

    def _fresh(self, ring: Ring) -> list[Slot]:
        """Return the slots of a ring that are newer than what was written of them."""
        return [slot for slot in [*self._pending, *self._open()] if slot.step_ms == ring.step_ms]

    def _open(self) -> list[Slot]:
        return [fold.open for fold in self._folds if fold.open is not None]

    async def _following(self) -> list[tuple[Ring, int]]:
        numbers = await self._store.samples.following()
        return [(ring, numbers[ring.step_ms]) for ring in RINGS]
