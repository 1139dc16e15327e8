"""Keeps the state within its budget on the disk: what has ended goes before anything is refused, and a chat never goes.

Above the high mark of live bytes (`domain/storage`) finished sessions are dated for deletion, group by group and the
oldest first, until the low mark is reached; the sweep carries that out. When nothing is left to go, background work is
refused; at the limit itself everybody is. Who else fills the disk costs nobody a session: with little room left on it,
background work is refused, and that is all. While deleting by date is held, nothing goes.

It looks after each commit, which costs two comparisons, and once a second at the disk.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tidegate import log
from tidegate.clock import SECOND_MS, Clock
from tidegate.domain import storage
from tidegate.domain.level import Level
from tidegate.domain.storage import GRACE_MS, Group
from tidegate.errors import StoreBroken, Unavailable
from tidegate.faults import Area, Faults
from tidegate.ids import SessionId
from tidegate.runtime.bell import ring_or
from tidegate.runtime.guard import Grip, Guard, Hold, Reason
from tidegate.runtime.sweeper import Sweeper
from tidegate.store import disk, quota, reserve
from tidegate.store.move import Evictable
from tidegate.store.port import Store
from tidegate.store.tx import Effects
from tidegate.units import print_size

PAGE = 100  # sessions dated at a time
LOOK_S = 1.0
RETRY_MS = 5 * SECOND_MS  # between two searches that find nothing
RETRY_AFTER_S = 60

_BACKGROUND = Grip.BIRTHS | Grip.BACKGROUND
_RAISE = "delete what is not needed, or raise disk in [limits]"

_log = log.get("disk")


class Disk:
    """The budget of one state folder."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that a budget needs
        self,
        store: Store,
        sweeper: Sweeper,
        guard: Guard,
        clock: Clock,
        folder: Path,
        faults: Faults | None = None,
    ) -> None:
        #: between two looks at the disk, if nothing else wakes it
        self.look_s = LOOK_S
        self.marks = storage.marks(storage.MOST_BYTES)
        #: how many sessions of each group have gone to make room since the start
        self.evicted = dict.fromkeys(Group, 0)
        #: what is left on the disk, and at how little of it background work is refused
        self.free_bytes = 0
        self.floor_bytes = 0
        self._store = store
        self._sweeper = sweeper
        self._guard = guard
        self._clock = clock
        self._folder = folder
        self._faults = faults or Faults(clock)
        self._bell = asyncio.Event()
        self._is_over = False
        self._is_spent = False
        self._retries_at = 0

    async def begin(self, wanted: int | None) -> None:
        """Settle how much the state may take, once and for all where nothing is configured."""
        kept = self._store.meta(quota.KEPT)
        limit = quota.quota(self._folder, wanted, kept)
        self.marks = storage.marks(limit)
        try:
            if wanted is None and kept is None:
                await self._store.remember(quota.KEPT, str(limit))
            await self._look_at_disk()
        except Unavailable as error:  # a full disk keeps nobody from starting
            self._faults.count(Area.DISK, error)
        self._judge()

    async def serve(self) -> None:
        """Watch for ever."""
        while True:
            self._bell.clear()
            with self._faults.turn(Area.DISK) as turn:
                await self.look()
            self._is_spent |= turn.error is not None
            await turn.rest()
            await ring_or(self._bell, self.look_s)

    def on_commit(self, _: Effects) -> None:
        """Act at once when a mark has been passed."""
        live, was_over = self._store.live_bytes, self._is_over
        if live >= self.marks.high or was_over:
            self._judge()
            if not was_over:
                self._bell.set()

    async def look(self) -> None:
        """Look once, and make room if there is too little."""
        await self._look_at_disk()
        self._judge()
        if self._is_over and self._clock.monotonic() >= self._retries_at:
            await self._make_room()
            self._judge()

    @property
    def reserve_bytes(self) -> int:
        """How much is kept back for deleting on a full disk, unless it is out."""
        return reserve.size_for(self.marks.limit)

    @property
    def held_bytes(self) -> int:
        """How much of that is held now."""
        return self._store.reserve_bytes or 0

    def report(self) -> Mapping[str, object]:
        """Return how it stands, in bytes; every field is always there."""
        return {
            "level": self._guard.level(Reason.DISK),
            "limit": self.marks.limit,
            "high": self.marks.high,
            "low": self.marks.low,
            "live": self._store.live_bytes,
            "free": self.free_bytes,
            "floor": self.floor_bytes,
            "reserve": self._store.reserve_bytes,
            "evicted": {group.label: count for group, count in self.evicted.items()},
        }

    # Room ---------------------------------------------------------------------------------------------------------

    async def _make_room(self) -> None:
        """Let finished sessions go until the low mark is reached or there is none left; what is due goes first."""
        before, counts = self._store.live_bytes, dict(self.evicted)
        if not self._sweeper.holds_deletes:
            await self._sweeper.sweep()
            for group in Group:
                await self._evict(group)
        self._is_spent = self._excess > 0
        self._retries_at = self._clock.monotonic() + RETRY_MS if self._is_spent else 0
        gone = {group.label: count - counts[group] for group, count in self.evicted.items()}
        if any(gone.values()):
            _log.warning("room_made", bytes=before - self._store.live_bytes, **gone)

    async def _evict(self, group: Group) -> None:
        after = SessionId("")
        while (excess := self._excess) > 0 and not self._sweeper.holds_deletes:
            ended_before = self._clock.now() - GRACE_MS
            page = await self._store.evictable(group, after, ended_before, PAGE)
            if not page:
                return
            chosen = list(_enough(page, excess))
            after = chosen[-1]
            self.evicted[group] += await self._store.doom(chosen)
            await self._sweeper.sweep()

    @property
    def _excess(self) -> int:
        return self._store.live_bytes - self.marks.low

    async def _look_at_disk(self) -> None:
        # the file system is the one that the store reads from inline
        try:
            self.free_bytes, size = disk.room(self._folder)
        except FileNotFoundError as error:
            message = f"{str(self._folder)!r} was removed while the gateway was running"
            raise StoreBroken(message) from error
        self.floor_bytes = storage.floor(size)
        if self.free_bytes < self.floor_bytes or self._store.reserve_bytes is None:
            while await self._store.compact_file():
                pass  # space in the file that nobody uses is worth more on the disk
        if self._store.reserve_bytes != self.reserve_bytes:
            await self._store.keep_reserve(self.reserve_bytes)

    # What is said of it ---------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Say how short room is."""
        live = self._store.live_bytes
        self._is_over = live >= self.marks.high or (self._is_over and live > self.marks.low)
        self._is_spent = self._is_spent and self._is_over
        self._guard.set(Reason.DISK, self._level(live), list(self._holds(live)))

    def _level(self, live: int) -> Level:
        if live >= self.marks.limit or self._store.reserve_bytes is None:
            return Level.CRITICAL
        return Level.TIGHT if self._is_over or self.free_bytes < self.floor_bytes else Level.NORMAL

    def _holds(self, live: int) -> Iterator[Hold]:
        limit = print_size(self.marks.limit)
        nearly = f"the state takes nearly all of the {limit} that it may take on the disk"
        if live >= self.marks.limit:
            all_of_it = f"the state takes all of the {limit} that it may take on the disk"
            yield self._hold(Grip.WRITES | _BACKGROUND, all_of_it, _RAISE)
        elif live >= self.marks.last or (self._is_spent and live >= self.marks.high):
            is_held = self._sweeper.holds_deletes
            hint = "deleting is held: `tidegate sweep --confirm` lets it go on" if is_held else _RAISE
            yield self._hold(_BACKGROUND, nearly, hint)
        if self.free_bytes < self.floor_bytes:
            left = f"less than {print_size(self.floor_bytes)} is left on the disk"
            yield self._hold(_BACKGROUND, left, f"free some space in {str(self._folder)!r}")

    def _hold(self, grip: Grip, message: str, hint: str) -> Hold:
        return Hold(grip=grip, message=message, hint=hint, retry_after_s=RETRY_AFTER_S)


def _enough(page: Sequence[Evictable], excess: int) -> Iterator[SessionId]:
    """Yield the first sessions that make about *excess* bytes together; one at least."""
    for session in page:
        yield session.id
        excess -= session.bytes
        if excess <= 0:
            return
