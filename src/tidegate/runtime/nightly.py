"""Backs the store up once a night, and keeps the last few of those copies.

A night that was missed, because the machine was off or the copy failed, is made up for: not in the first minutes after
a start, and then once an hour until it succeeds. Only files that are named as this module names them are ever rotated
away, never the newest one, and only after a new one was verified. All the work is done on a thread of its own, on
connections of its own: neither the loop nor the writer waits for it.
"""

import asyncio
import re
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec

from tidegate import log
from tidegate.clock import HOUR_MS, MINUTE_MS, Clock, iso
from tidegate.config import Backup
from tidegate.domain.night import following
from tidegate.errors import Stopping, StorageFailed
from tidegate.faults import Area, Faults, words
from tidegate.runtime.bell import ring_or
from tidegate.store import disk
from tidegate.store.file import size_of
from tidegate.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from tidegate.store.backup import Contents

SETTLE_MS = 10 * MINUTE_MS  # after a start, before anything is made up for
RETRY_MS = HOUR_MS
LOOK_EVERY_S = 60.0  # the wall clock may be moved, and a machine may sleep
ROOM = 1.2  # times the size of the store
PAUSE_S = 0.001  # between two slices of the verification, so that it takes no more than its share
OUTCOMES = ("ok", "failed", "skipped")
MEMORY = "backup"  # under this key the store remembers the last one
OURS = re.compile(r"tidegate-\d{8}-\d{6}\.db")

_log = log.get("nightly")


class Last(msgspec.Struct, frozen=True, kw_only=True):
    """The last backup that was verified; of a gateway that is new, the instant from which its first night counts."""

    at: int
    file: str = ""
    bytes: int = 0
    took_ms: int = 0


class NoRoomError(Exception):
    """The disk has too little room for a backup; nothing was tried."""


class Nightly:
    """Makes the nightly backups of one gateway."""

    def __init__(
        self, store: SqliteStore, clock: Clock, settings: Backup, faults: Faults | None = None
    ) -> None:
        self.folder = settings.folder or store.path.parent / "backups"
        #: how often each outcome was met since the start
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self._store = store
        self._clock = clock
        self._settings = settings
        self._faults = faults or Faults(clock)
        self._not_before = clock.now() + SETTLE_MS
        self._last = _remembered(store) or Last(at=clock.now())
        self._failed_at: int | None = None
        self._failure = ""
        self._is_stopping = False
        self._is_idle = threading.Event()
        self._is_idle.set()
        self._limiter = anyio.CapacityLimiter(1)

    @property
    def next_at(self) -> int:
        """When the next one is made."""
        return max(self._not_before, following(self._last.at, self._settings.minutes))

    async def serve(self) -> None:
        """Back up every night, for ever, where that is wanted."""
        while True:
            with self._faults.turn(Area.BACKUP) as turn:
                if _remembered(self._store) is None:
                    await self._remember(self._last)
                await self.tick()
                turn.done()
                left_s = max(0.0, (self.next_at - self._clock.now()) / 1_000)
                await ring_or(asyncio.Event(), min(left_s, LOOK_EVERY_S))
            await turn.rest()

    @property
    def is_wanted(self) -> bool:
        """Whether there are any."""
        return self._settings.enabled

    async def tick(self) -> None:
        """Back up if it is time; what goes wrong is told in the log and in the status, and tried again."""
        now = self._clock.now()
        if self._last.at > now:  # the clock was wrong then; now counts
            self._last = msgspec.structs.replace(self._last, at=now)
        self._not_before = min(self._not_before, now + RETRY_MS)
        if now < self.next_at:
            return
        with self._faults.wall(Area.BACKUP) as wall:
            try:
                await self._back_up(now)
                self.counts["ok"] += 1
            except NoRoomError as error:
                self._fail("skipped", error)
        if wall.error is not None:
            self._fail("failed", wall.error)

    def report(self) -> Mapping[str, object]:
        """Return how it stands; every field is always there."""
        last = self._last if self._last.file else None
        return {
            "enabled": self._settings.enabled,
            "folder": str(self.folder),
            "next_at": iso(self.next_at) if self._settings.enabled else None,
            "last_at": iso(last.at) if last else None,
            "last_file": last.file if last else None,
            "last_bytes": last.bytes if last else None,
            "last_ms": last.took_ms if last else None,
            "failed_at": iso(self._failed_at) if self._failed_at else None,
            "failure": self._failure or None,
            "counts": dict(self.counts),
        }

    @property
    def last(self) -> Last:
        """The last one, for gauges."""
        return self._last

    async def _back_up(self, now: int) -> None:
        started = self._clock.monotonic()
        target = self.folder / f"tidegate-{disk.stamp(now)}.db"
        try:
            contents = await anyio.to_thread.run_sync(partial(self._work, target), limiter=self._limiter)
        except asyncio.CancelledError:
            # the thread looks at this every few ms; it takes its unfinished copy away before it ends
            self._is_stopping = True
            await anyio.to_thread.run_sync(self._is_idle.wait)
            raise
        took_ms = self._clock.monotonic() - started
        await self._remember(Last(at=now, file=target.name, bytes=contents.bytes, took_ms=took_ms))
        self._failed_at, self._failure = None, ""
        _log.info("backed_up", file=str(target), bytes=contents.bytes, ms=took_ms)

    async def _remember(self, last: Last) -> None:
        self._last = last
        await self._store.remember(MEMORY, msgspec.json.encode(last).decode())

    def _fail(self, outcome: str, error: Exception) -> None:
        now = self._clock.now()
        self.counts[outcome] += 1
        self._not_before = now + RETRY_MS
        self._failed_at, self._failure = now, words(error)
        _log.warning(f"backup_{outcome}", error=str(error), again_at=iso(self._not_before))

    # On a thread ----------------------------------------------------------------------------------------------------

    def _work(self, target: Path) -> "Contents":
        from tidegate.store.backup import Rules, back_up  # noqa: PLC0415 - an idle gateway does not hold it

        self._is_idle.clear()
        try:
            path = self._store.path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _demand_room(target.parent, size_of(path) + size_of(path.with_name(f"{path.name}-wal")))
            contents = back_up(path, target, Rules(watch=self._watch))
            _rotate(target, self._settings.keep)
        except OSError as error:
            raise StorageFailed(f"{str(target.parent)!r} cannot be used: {error.strerror}") from error
        finally:
            self._is_idle.set()
        return contents

    def _watch(self, what: str, _share: float) -> None:
        if self._is_stopping:
            raise Stopping
        if what == "verifying":
            time.sleep(PAUSE_S)


def _remembered(store: SqliteStore) -> Last | None:
    text = store.meta(MEMORY)
    try:
        return msgspec.json.decode(text, type=Last) if text else None
    except msgspec.DecodeError:
        return None


def _demand_room(folder: Path, size: int) -> None:
    free = disk.free_bytes(folder)
    if free < size * ROOM:
        raise NoRoomError(f"{str(folder)!r} has {free:,} bytes left; {int(size * ROOM):,} are needed")


def _rotate(newest: Path, keep: int) -> None:
    """Remove the oldest of our own files above *keep*; the newest one stays whatever the clock made of its name."""
    others = sorted(path for path in newest.parent.iterdir() if OURS.fullmatch(path.name) and path != newest)
    for path in others[: max(0, len(others) - keep + 1)]:
        if path.is_file() and not path.is_symlink():
            path.unlink()
