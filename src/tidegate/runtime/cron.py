"""Carries out the instants of jobs when they come.

It wakes at the earliest date, and often enough to notice a clock that was put forward. What fires is decided by
`domain/job` and settled by the store, in slices; this only brings the two together, so that a thousand jobs of one
second, or ten thousand after a day, delay nobody else.
"""

import asyncio
from collections.abc import Sequence

from tidegate import log
from tidegate.clock import MINUTE_MS, Clock
from tidegate.domain import job as rules
from tidegate.domain.job import Job, Plan
from tidegate.domain.run import Lane
from tidegate.errors import Stopping, StoreBroken, Unavailable
from tidegate.faults import Area, Faults, words
from tidegate.runtime.bell import ring_or
from tidegate.runtime.intake import Intake
from tidegate.store.admission import Shot
from tidegate.store.port import Store
from tidegate.store.tx import Effects

PAGE = 50  # jobs planned and written at a time
LOOK_S = 30.0  # a clock that is put forward is noticed within this
ROOM_S = 5.0  # between two tries to find room, unless a run ends earlier
BREATH_S = 0.05  # in a full house, so that a few runs end before the next try
REST_S = 1.0  # after a round that came to nothing

_log = log.get("cron")


class Cron:
    """Fires jobs."""

    def __init__(self, store: Store, intake: Intake, clock: Clock, faults: Faults | None = None) -> None:
        self._store = store
        self._intake = intake
        self._clock = clock
        self._faults = faults or Faults(clock)
        #: between two looks at the clock, if nothing else wakes it
        self.look_s = LOOK_S
        self._bell = asyncio.Event()
        intake.guard.listen(self._bell.set)
        self._is_full = False
        #: since when somebody has been there, by the wall clock, and when that was last true
        self._attended_since = clock.now()
        self._attended_at = clock.now()

    async def serve(self) -> None:
        """Fire jobs until the gateway stops."""
        while True:
            self._bell.clear()
            with self._faults.turn(Area.JOBS) as turn:
                try:
                    await self.fire_due()
                except Stopping:
                    await asyncio.Event().wait()  # until it is cancelled, soon
                turn.done()
                await self._until_due()
            await turn.rest()

    def on_commit(self, effects: Effects) -> None:
        """Look again when dates have changed, or when there may be room again."""
        if effects.is_about_jobs or (self._is_full and any(run.lane is Lane.CRON for run in effects.closed)):
            self._bell.set()

    async def fire_due(self) -> int:
        """Carry out what has come, page after page, as far as there is room; say how many jobs that were.

        While no job may be fired nothing is planned, so that what comes late is made up for or missed as the job wants.
        """
        self._attend()
        if self._intake.guard.stops_jobs:
            self._is_full = True
            return 0
        # after a full house there is room for a few at first, and what is planned in vain costs time
        size = 1 if self._is_full else PAGE
        self._is_full, with_isolated, done = False, True, 0
        until = self._clock.now()
        while page := await self._store.jobs_due(until, size, with_isolated=with_isolated):
            size = min(PAGE, 2 * size)
            shots = await self._fire(page)
            done += shots.count(Shot.DONE)
            full = [job for job, shot in zip(page, shots, strict=True) if shot is Shot.FULL]
            if full:
                self._is_full, with_isolated = True, False
            if any(not rules.is_isolated(job.definition) for job in full):
                break
            if Shot.DONE not in shots and not full:
                await asyncio.sleep(REST_S)  # all of them have changed while they were planned
        return done

    async def _fire(self, page: Sequence[Job]) -> list[Shot]:
        """Plan and fire jobs together; where that fails, one by one, so that what fails is put aside alone."""
        try:
            return await self._intake.fire([(job, await self._planned(job)) for job in page])
        except (Stopping, Unavailable, StoreBroken):
            raise
        except Exception:  # noqa: BLE001 - a wall stands around each of them below
            return [await self._fire_alone(job) for job in page]

    async def _fire_alone(self, job: Job) -> Shot:
        with self._faults.wall(Area.JOBS, job.name) as wall:
            return (await self._intake.fire([(job, await self._planned(job))]))[0]
        if wall.error is not None:
            await self._store.set_aside_job(job.name, words(wall.error))
        return Shot.LOST

    async def _planned(self, job: Job) -> Plan:
        """Make a plan; others get their turn in between, since looking through a year of dates takes its time."""
        await asyncio.sleep(0)
        return rules.plan(job, self._clock.now(), self._attended_since)

    def _attend(self) -> None:
        """Notice that nobody was there: the machine slept, or its clock was put forward."""
        now = self._clock.now()
        if now - self._attended_at > self.look_s * 1_000 + MINUTE_MS:
            self._attended_since = now
        self._attended_since = min(self._attended_since, now)
        self._attended_at = now

    async def _until_due(self) -> None:
        """Sleep until the earliest date or a change."""
        if self._is_full:
            await ring_or(self._bell, ROOM_S)
            await asyncio.sleep(BREATH_S)
            return
        wakes_at = self._store.next_firing()
        left_s = self.look_s if wakes_at is None else (wakes_at - self._clock.now()) / 1_000
        if left_s > 0:
            await ring_or(self._bell, min(left_s, self.look_s))
