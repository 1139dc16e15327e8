"""Keeps the process within its memory: the nearer to the limit, the less is kept and the less is taken.

What counts is anonymous memory, which the system cannot take back; resident memory where that is not told. At 70 % of
the limit caches are shed and free pages go back to the system, at 80 % new ephemeral sessions are refused, at 90 %
those who do not keep up are cut off and background runs are parked. A mark is left five points below it. Memory is read
every half second and before anything is taken, so that a crowd is noticed while it comes.

It never restarts the gateway: that would hide a leak.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

import anyio
import anyio.to_thread

from tidegate import log
from tidegate.clock import SECOND_MS, Clock
from tidegate.domain.level import Level, step
from tidegate.faults import Area, Faults
from tidegate.runtime import process
from tidegate.runtime.allocator import Allocator
from tidegate.runtime.bell import ring_or
from tidegate.runtime.guard import Grip, Guard, Hold, Reason
from tidegate.units import print_size

MARKS = (0.70, 0.80, 0.90)
SLACK = 0.05
LOOK_S = 0.5
LOOK_AGAIN_MS = 10  # at the door: this often at most
RELIEF_MS = 5 * SECOND_MS  # between two attempts to give memory back
SETTLE_MS = 2 * SECOND_MS  # after a crowd has gone; what served it takes its turns to end
LARGE_SWEEP = 1_000  # moves, after which free pages go back to the system

_log = log.get("pressure")


class Step(IntEnum):
    """What is done about it; each does what those before do."""

    NOTHING = 0
    SHED = 1
    REFUSE = 2
    PARK = 3

    @property
    def level(self) -> Level:
        """How that is called."""
        return (Level.NORMAL, Level.TIGHT, Level.TIGHT, Level.CRITICAL)[self]

    @property
    def grip(self) -> Grip:
        """What is held back."""
        refused = Grip.BIRTHS if self >= Step.REFUSE else Grip.NOTHING
        return refused | (Grip.BACKGROUND if self >= Step.PARK else Grip.NOTHING)


class Relief(NamedTuple):
    """How others can help."""

    #: each forgets what it can have again
    shed: Sequence[Callable[[], Awaitable[None]]] = ()
    #: cuts off who does not keep up, and says how many that were
    cut: Callable[[], int] = lambda: 0


class Pressure:
    """The memory of one gateway; *read* tells how much it has in bytes."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that pressure needs
        self,
        guard: Guard,
        limit_bytes: int,
        relief: Relief,
        clock: Clock,
        read: Callable[[], int] = process.anonymous_bytes,
        faults: Faults | None = None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        #: how many were cut off since the start
        self.cut = 0
        self._guard = guard
        self._relief = relief
        self._clock = clock
        self._read = read
        self._faults = faults or Faults(clock)
        self._step = Step.NOTHING
        self._looked_ms = -LOOK_AGAIN_MS
        self._relieved_ms = -RELIEF_MS
        self._wants_trim = False
        self._wants_collection = False
        self._crowd_gone_ms = 0
        self._bell = asyncio.Event()
        self._allocator = Allocator()
        self._limiter = anyio.CapacityLimiter(1)
        guard.look = self.glance

    @property
    def step(self) -> Step:
        """What is done about it now."""
        return self._step

    async def serve(self) -> None:
        """Look and help for ever."""
        while True:
            self._bell.clear()
            with self._faults.turn(Area.PRESSURE) as turn:
                await self.turn()
            await turn.rest()
            await ring_or(self._bell, LOOK_S)

    async def turn(self) -> None:
        """Look, and help where that is due."""
        self.look()
        await self._help()

    def glance(self) -> None:
        """Look, unless somebody has just done that."""
        if self._clock.monotonic() - self._looked_ms >= LOOK_AGAIN_MS:
            with self._faults.wall(Area.PRESSURE):  # whoever is at the door has no part in it
                self.look()

    def look(self) -> None:
        """Read how much memory there is, and say what is held back."""
        self._looked_ms = self._clock.monotonic()
        self.used_bytes = self._read()
        before, share = self._step, self.used_bytes / self.limit_bytes
        self._step = Step(step(before, share, MARKS, SLACK))
        if self._step is before:
            return
        if self._step.level is before.level:
            _log.info("memory_step", step=self._step, used=self.used_bytes, limit=self.limit_bytes)
        self._guard.set(Reason.MEMORY, self._step.level, self._holds())
        self._wants_trim |= self._step < before
        if self._step > before:
            self._relieved_ms = min(self._relieved_ms, self._looked_ms - RELIEF_MS)
        self._bell.set()

    def report(self) -> dict[str, object]:
        """Return how it stands: what is in use, of how much, how short each thing is, whether people come first."""
        self.look()
        return {
            "memory_bytes": self.used_bytes,
            "memory_limit_bytes": self.limit_bytes,
            "levels": {reason.value: self._guard.level(reason) for reason in Reason},
            "people_first": self._guard.puts_people_first and self._is_held,
            "cut": self.cut,
        }

    @property
    def _is_held(self) -> bool:
        """Whether what has to be held back at this much memory is."""
        share = self.used_bytes / self.limit_bytes
        return self._guard.grip(Reason.MEMORY) == Step(step(self._step, share, MARKS, SLACK)).grip

    def swept(self, moves: int) -> None:
        """Note that a sweep is over; after a large one much is free."""
        self._wants_trim |= moves >= LARGE_SWEEP

    def crowd_gone(self) -> None:
        """Note that much will be free, once what served them has ended and the collector has seen it."""
        if not self._wants_collection:
            self._crowd_gone_ms = self._clock.monotonic()
            self._wants_collection = True

    def _holds(self) -> Sequence[Hold]:
        if not self._step.grip:
            return ()
        used, limit = print_size(self.used_bytes), print_size(self.limit_bytes)
        message = f"memory is short: {used} of {limit} are in use; no new sessions are taken but chats"
        hint = "repeat it later, or raise memory in [limits]; `tidegate growth` shows what grew"
        return (Hold(grip=self._step.grip, message=message, hint=hint),)

    async def _help(self) -> None:
        """Give back what can be given back, not more often than is sensible."""
        if self._step >= Step.PARK:
            self.cut += self._relief.cut()
        now = self._clock.monotonic()
        wants_collection = self._wants_collection and now - self._crowd_gone_ms >= SETTLE_MS
        if now - self._relieved_ms < RELIEF_MS:
            return
        if not (self._step >= Step.SHED or self._wants_trim or wants_collection):
            return
        self._relieved_ms, self._wants_trim = now, False
        self._wants_collection &= not wants_collection
        if self._step >= Step.SHED:
            for shed in self._relief.shed:
                await shed()
        if self._step >= Step.SHED or wants_collection:
            gc.collect()
        await anyio.to_thread.run_sync(self._allocator.trim, limiter=self._limiter)
        self.look()
