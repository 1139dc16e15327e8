"""Sums up how the gateway was in the last seven days: what came and went, memory, trend, money."""

from tidegate.clock import DAY_MS, Clock, day
from tidegate.domain.arrival import SERIES, series_of
from tidegate.domain.sample import COARSE, Range, Slot
from tidegate.domain.session import PolicyName
from tidegate.domain.week import LOOKS_BACK_MS, Week, passed
from tidegate.runtime import process
from tidegate.runtime.growth import Growth
from tidegate.runtime.sampler import WENT, went
from tidegate.store.port import Store


class Weeks:
    """Reads the instruments of one gateway."""

    def __init__(self, growth: Growth, store: Store, clock: Clock) -> None:
        self._growth = growth
        self._store = store
        self._clock = clock

    async def read(self) -> Week:
        """Sum up; sessions are counted since ten minutes more than seven days at most, money by days in UTC."""
        now = self._clock.now()
        since = now - LOOKS_BACK_MS
        slots = await self._growth.slots(COARSE, (*SERIES, WENT), since)
        seen = [*(slot for slot in slots if WENT in slot.values), self._present(now)]
        micros, unpriced = await self._store.spending.since(day(now - LOOKS_BACK_MS + DAY_MS))
        first = min(slot.at for slot in seen)
        return Week(
            uptime_ms=self._growth.uptime_ms,
            span_ms=min(LOOKS_BACK_MS, max(now - first, min(self._growth.uptime_ms, LOOKS_BACK_MS))),
            came=sum(passed(seen, name, since) for name in SERIES),
            went=passed(seen, WENT, since),
            memory_bytes=process.memory().rss,
            trend=self._growth.told(self._growth.overall),
            micros=micros,
            unpriced=unpriced,
        )

    def _present(self, now: int) -> Slot:
        """Return what has come and gone in this life up to this moment."""
        counts = {series_of(name): self._store.born.get(name, 0) for name in PolicyName}
        counts[WENT] = went(self._store.transitions)
        values = {name: Range(count, count, count) for name, count in counts.items()}
        return Slot(step_ms=COARSE.step_ms, number=0, at=now, boot=self._growth.boot, values=values)

    async def line(self) -> str:
        """Sum up in a line."""
        return (await self.read()).line
