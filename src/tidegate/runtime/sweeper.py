"""The one sweep: moves what is due, and nothing else moves a session by date.

It wakes at the earliest date, at least every interval and at most once a second. One sweep runs at a time; a request
waits for it and then runs its own.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec

from tidegate import log
from tidegate.clock import Clock
from tidegate.domain.doubt import ClockDoubt
from tidegate.domain.policy import OVERDUE_MS, Policies
from tidegate.domain.session import DueTo, PolicyName, Session
from tidegate.errors import StoreBroken, Unavailable
from tidegate.faults import Area, Faults, words
from tidegate.histogram import Histogram
from tidegate.ids import SessionId
from tidegate.runtime import mover
from tidegate.runtime.bell import ring_or
from tidegate.store.move import Move, Settled
from tidegate.store.port import Store
from tidegate.store.replacement import RESTORED_AT
from tidegate.store.tx import Effects

PAGE = 100
BATCH_BYTES = 4 << 20  # archived at a time: for a moment both rows and segments take room
REST_S = 1.0  # between two sweeps
SIGN_MS = 30_000  # between two signs of life in the store

_log = log.get("sweeper")


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep did; `left` are rows that are due and were refused."""

    completed: int = 0
    archived: int = 0
    deleted: int = 0
    left: int = 0


class Sweeper:
    """Carries out what is due."""

    def __init__(  # noqa: PLR0913, PLR0917 - the last two are optional
        self,
        store: Store,
        clock: Clock,
        policies: Policies,
        interval_ms: int,
        faults: Faults | None = None,
        on_moves: Callable[[int], None] = lambda _moves: None,
    ) -> None:
        #: how long sweeps took
        self.seconds = Histogram()
        #: how many moves were refused since the start
        self.refused = 0
        #: told how many moves each sweep has carried out
        self._on_moves = on_moves
        self._store = store
        self._clock = clock
        self._policies = policies
        self._interval_ms = interval_ms
        self._faults = faults or Faults(clock)
        # On a store that was restored dates have passed meanwhile; nobody has seen yet what they would delete.
        self._doubt = ClockDoubt(clock.now(), clock.monotonic(), is_doubted=bool(store.meta(RESTORED_AT)))
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._wakes_at = 0
        self._signed_at = 0

    @property
    def holds_deletes(self) -> bool:
        """Whether the clock is in doubt, so that nothing is deleted by date."""
        return self._doubt.look(self._clock.now(), self._clock.monotonic())

    async def serve(self) -> None:
        """Sweep for ever."""
        is_dated = False
        while True:
            with self._faults.turn(Area.SWEEP) as turn:
                if not is_dated:  # by dates of another policy more could go than the present one lets go
                    await self.redate()
                    is_dated = True
                await self.sweep()
                turn.done()
                await asyncio.sleep(REST_S)
                await self._until_due()
            await turn.rest()

    def on_commit(self, effects: Effects) -> None:
        """Wake earlier when something falls due earlier than the next sweep."""
        for head in effects.heads.values():
            if head is not None and head.due_at is not None and head.due_at < self._wakes_at:
                self._wakes_at = head.due_at
                self._wake.set()

    async def sweep(self, *, confirm: bool = False) -> Swept:
        """Move everything that is due now, page after page; *confirm* trusts a clock that was in doubt."""
        async with self._turn:
            started = self._clock.monotonic()
            if confirm:
                self._doubt.confirm()
            counts = await self._moves(self._clock.now())
            with self._faults.wall(Area.SWEEP, "trim"):
                await mover.trim_all(self._store)
            with self._faults.wall(Area.SWEEP, "tidy"):
                while await self._store.tidy():
                    pass
            with self._faults.wall(Area.SWEEP, "vacuum"):
                while await self._store.compact_file():
                    pass
            await self._sign()
            await self._settle_in()
        self.seconds.observe((self._clock.monotonic() - started) / 1_000)
        self._on_moves(sum(counts[to] for to in DueTo))
        swept = Swept(
            completed=counts[DueTo.COMPLETED],
            archived=counts[DueTo.ARCHIVED],
            deleted=counts[DueTo.DELETED],
            left=counts["left"],
        )
        if any(counts.values()):
            _log.debug("swept", **msgspec.structs.asdict(swept))
        return swept

    async def preview(self) -> Swept:
        """Count what a sweep would move now."""
        counts = await self._store.due_counts(self._clock.now(), with_deletes=not self.holds_deletes)
        return Swept(
            completed=counts.get(DueTo.COMPLETED, 0),
            archived=counts.get(DueTo.ARCHIVED, 0),
            deleted=counts.get(DueTo.DELETED, 0),
        )

    async def overdue(self) -> int:
        """Count the sessions that have been due for more than two minutes and are not held."""
        until = self._clock.now() - OVERDUE_MS
        return sum((await self._store.due_counts(until, with_deletes=not self.holds_deletes)).values())

    async def redate(self) -> None:
        """Recompute the dates of every session whose policy has changed since they were computed."""
        for name, policy in self._policies.items():
            key = f"policy:{name}"
            if self._store.meta(key) != policy.fingerprint():
                await self._redate_all(name)
                await self._store.remember(key, policy.fingerprint())

    async def _redate_all(self, name: PolicyName) -> None:
        after: SessionId | None = None
        while (after := await self._store.redate(name, after)) is not None:
            pass

    async def _sign(self) -> None:
        """Remember that the sweep is alive; whoever judges dates while no gateway runs counts from here."""
        now = self._clock.now()
        if abs(now - self._signed_at) > SIGN_MS:
            self._signed_at = now
            await self._store.remember("swept_at", str(now))

    async def _settle_in(self) -> None:
        """Forget that the store was restored once nothing is held any more."""
        if self._store.meta(RESTORED_AT) and not self.holds_deletes:
            await self._store.remember(RESTORED_AT, "")

    async def _moves(self, until: int) -> Counter[str]:
        counts: Counter[str] = Counter()
        # a clock that steps back meanwhile must not make what was refused look due again
        while page := await self._store.due(
            min(until, self._clock.now()), PAGE, with_deletes=not self.holds_deletes
        ):
            for batch in _batches(page):
                try:
                    await self._carry_out(batch, counts)
                except (Unavailable, StoreBroken):
                    raise
                except Exception:  # noqa: BLE001 - a wall stands around each of them below
                    await self._one_by_one(batch, counts)
        self.refused += counts["left"]
        return counts

    async def _one_by_one(self, batch: Sequence[Session], counts: Counter[str]) -> None:
        """Carry out what failed together; what fails alone is put aside, and the rest goes on."""
        for session in batch:
            with self._faults.wall(Area.SWEEP, session.key) as wall:
                await self._carry_out([session], counts)
            if wall.error is not None:
                counts["left"] += 1
                await self._store.set_aside_session(session.id, words(wall.error))

    async def _carry_out(self, batch: Sequence[Session], counts: Counter[str]) -> None:
        archived: list[SessionId] = []
        settled = await mover.carry_out(self._store, _moves_of(batch))
        for session, carried in zip(batch, settled, strict=True):
            counts[session.due_to or ""] += carried.steps
            counts["left"] += carried.settled is Settled.REFUSED
            if session.due_to is DueTo.ARCHIVED and carried.settled is Settled.DONE:
                archived.append(session.id)
        # at once, so that a long sweep has both the rows and the segments of one batch alone
        await mover.trim(self._store, archived)

    async def _until_due(self) -> None:
        """Sleep until the earliest date, an earlier one that comes up, or the end of the interval."""
        due_at = self._store.next_due(with_deletes=not self.holds_deletes)
        latest = self._clock.now() + self._interval_ms
        self._wakes_at = latest if due_at is None else min(latest, due_at)
        while (left := self._wakes_at - self._clock.now()) > 0:
            self._wake.clear()
            await ring_or(self._wake, left / 1_000)


def _batches(page: Sequence[Session]) -> Iterator[Sequence[Session]]:
    """Cut a page into parts that do not bring more than so much into the archive."""
    batch: list[Session] = []
    size = 0
    for session in page:
        size += session.bytes if session.due_to is DueTo.ARCHIVED else 0
        if batch and size > BATCH_BYTES:
            yield batch
            batch, size = [], session.bytes
        batch.append(session)
    if batch:
        yield batch


def _moves_of(page: Sequence[Session]) -> list[Move]:
    return [Move(session=session, to=session.due_to) for session in page if session.due_to is not None]
