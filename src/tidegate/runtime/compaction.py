"""Compacts a transcript: a summary takes the place of its older entries, which go into segments in the same step.

It happens in the turn of a running run, under its fence, so that there is one at a time in a session and nothing comes
between. What it costs depends on what has been said since the last summary, never on the whole history. Until the one
transaction at the end nothing has changed, however it fails.

Others may take part before and after: they are told ids, counts and cursors, have a deadline each, and do not hold it
up when they fail. Before a summary that then fails they are told as well, and again at the next attempt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

import msgspec

from tidegate import log
from tidegate.agent import cutpoint, measure, pins, summary
from tidegate.agent.loop import Agent
from tidegate.config import Compaction as Rules
from tidegate.domain.compaction import Compaction, CompactionOutcome, Reason
from tidegate.domain.entry import Body, Entry, Summary, User
from tidegate.domain.run import Lease
from tidegate.domain.session import Session
from tidegate.errors import (
    CompactionFailed,
    Corrupt,
    FenceLost,
    SessionNotFound,
    StorageFailed,
    TidegateError,
    Unavailable,
)
from tidegate.faults import Area
from tidegate.runtime import mover
from tidegate.store.context import Context, Replacement
from tidegate.store.port import Store

PART_DEADLINE_S = 10.0
MAX_ROUNDS = 8  # summaries one after the other, where more has been said than one can take in
MAX_ROWS = 10_000  # entries looked at in one round
PAGE_ROWS = 1_000
MIN_SUMMARY_BYTES = 200
PACK_BYTES = 1 << 40  # no limit: a seq is one

_log = log.get("compaction")


class Part(NamedTuple):
    """Somebody who takes part in compactions."""

    name: str
    act: Callable[[Compaction], Awaitable[None]]
    deadline_s: float = PART_DEADLINE_S


class Compactor:
    """Compacts the transcripts of running runs."""

    def __init__(self, store: Store, rules: Rules) -> None:
        #: how often it came out how, since the start
        self.counts = dict.fromkeys(CompactionOutcome, 0)
        #: how often somebody who takes part failed or was too slow
        self.failures: dict[str, int] = {"before": 0, "after": 0}
        self._before: list[Part] = []
        self._after: list[Part] = []
        self._store = store
        self._rules = rules

    def listen(self, *, before: Sequence[Part] = (), after: Sequence[Part] = ()) -> None:
        """Let more take part; each is awaited in turn before the summary is made, or after it is durable."""
        self._before += before
        self._after += after

    async def compact(self, agent: Agent, lease: Lease, reason: Reason) -> int:
        """Compact the transcript of a run's session as far as it takes; return how many entries it summarised.

        Where nobody asks for it, one that has failed rests for a while, so that not each message asks in vain.

        Raises:
            CompactionFailed: It failed or took too long; what it had not finished is as it was.
            FenceLost: The run has been taken over or closed; the same holds.
        """
        if reason is Reason.THRESHOLD and await self._store.rests(Area.COMPACTION, lease.session):
            return 0
        count, want = 0, _Want(agent, lease, reason)
        for _ in range(MAX_ROUNDS):
            try:
                plan = await self._counted(self._round(want))
            except CompactionFailed as error:
                if not count:
                    await self._store.rest(Area.COMPACTION, lease.session, error.message)
                    raise
                _log.warning("compaction_stopped", error=error.message)
                break
            if plan is None:
                break
            count += len(plan.replaced)
            if not plan.has_more:
                break
            want = want._replace(keep_bytes=plan.keep_bytes)
        if count:
            await self._store.works(Area.COMPACTION, lease.session)
        return count

    async def _counted(self, work: "Awaitable[_Plan | None]") -> "_Plan | None":
        """Await one round, count how it came out, and turn what went wrong into one error."""
        try:
            plan = await work
        except TimeoutError:
            self.counts[CompactionOutcome.TIMED_OUT] += 1
            message = f"the compaction took longer than {self._rules.deadline_ms / 1_000:g} s"
            raise CompactionFailed(message, hint="raise deadline in [compaction]") from None
        except FenceLost:
            raise
        except TidegateError as error:
            if isinstance(error, StorageFailed) and not isinstance(error, Corrupt):
                raise  # the process has to stop
            self.counts[CompactionOutcome.FAILED] += 1
            message = f"the conversation could not be compacted: {error.message}"
            raise CompactionFailed(message, hint=error.hint) from error
        self.counts[CompactionOutcome.OK if plan else CompactionOutcome.NOTHING] += 1
        return plan

    async def _round(self, want: "_Want") -> "_Plan | None":
        async with asyncio.timeout(self._rules.deadline_ms / 1_000):
            plan = await self._plan(want)
            if plan is None:
                return None
            await self._tell("before", self._before, plan.told)
            replacement = await self._summarised(want.agent, plan)
        entry = await self._store.compact(want.lease, replacement)
        told = plan.told
        _log.info(
            "compacted", session=told.key, entries=told.entries, through=told.last_seq, reason=told.reason
        )
        with suppress(Unavailable):  # it is done; the sweep removes the rows that are left
            await mover.trim(self._store, [told.session])
        await self._tell("after", self._after, _with(told, entry.seq))
        return plan

    async def _plan(self, want: "_Want") -> "_Plan | None":
        """Look at what has been said since the last summary, and choose where to cut; None where it is not worth it."""
        head = self._store.session_by_id(want.lease.session)
        if head is None:
            raise SessionNotFound
        context = await self._store.context(head.id, 1)
        entries, is_whole = await self._since(head, context, 2 * want.agent.prompt_bytes)
        if want.reason is Reason.ASKED:  # the command itself stays, and what it has said
            entries = [entry for entry in entries if entry.body.run != want.lease.run]
        bodies = [entry.body for entry in entries]
        cut = _cut(bodies, want, is_whole=is_whole)
        if not cut.at:
            return None
        replaced = entries[: cut.at]
        return _Plan(
            context=context,
            replaced=replaced,
            tail=entries[cut.at :],
            has_more=cut.is_short or not is_whole,
            keep_bytes=cut.keep_bytes,
            told=Compaction(
                session=head.id,
                key=head.key,
                agent=head.agent,
                run=want.lease.run,
                reason=want.reason,
                first_seq=_through(context) + 1,
                last_seq=replaced[-1].seq,
                entries=len(replaced),
                tokens=_size(bodies[: cut.at]) // measure.BYTES_PER_TOKEN,
            ),
        )

    async def _since(self, head: Session, context: Context, max_bytes: int) -> tuple[list[Entry], bool]:
        """Return the entries after the last summary from the oldest on, and whether these are all."""
        found: list[Entry] = []
        after, size = _through(context), 0
        while after < head.entries and size <= max_bytes and len(found) < MAX_ROWS:
            page = await self._store.entries(head.id, after, PAGE_ROWS)
            kept = [entry for entry in page if not isinstance(entry.body, Summary)]
            found += kept
            size += _size([entry.body for entry in kept])
            after = page[-1].seq
        return found, after >= head.entries

    async def _summarised(self, agent: Agent, plan: "_Plan") -> Replacement:
        """Have the model write the summary, and pack what it takes the place of."""
        before, max_bytes = plan.context.summary, agent.prompt_bytes
        told = await summary.summarise(
            agent.model,
            before.body.text if before else "",
            [entry.body for entry in plan.replaced],
            min(self._rules.summary_bytes, max(MIN_SUMMARY_BYTES, max_bytes // 8)),
            prompt_bytes=max_bytes,
        )
        room = pins.Room(max_bytes // 4, self._rules.keep_first)
        candidates = [*plan.context.pinned, *plan.replaced]
        pinned = pins.pinned(candidates, room, with_message=plan.needs_message)
        through = plan.told.last_seq
        return Replacement(
            summary=Summary(text=told.text, through=through, pinned=pinned),
            before=before.seq if before else None,
            segments=await self._store.pack(plan.told.session, PACK_BYTES, through),
            usage=told.usage,
            model=told.model,
        )

    async def _tell(self, when: Literal["before", "after"], parts: Sequence[Part], told: Compaction) -> None:
        """Let everybody take part, one after the other; who fails or is too slow is passed over."""
        for part in parts:
            try:
                async with asyncio.timeout(part.deadline_s):
                    await part.act(told)
            except TimeoutError:
                self.failures[when] += 1
                _log.warning("compaction_part_slow", part=part.name, when=when, session=told.key)
            except Exception:  # noqa: BLE001 - a wall: who takes part must not hold up the conversation
                self.failures[when] += 1
                _log.exception("compaction_part_failed", part=part.name, when=when, session=told.key)


class _Want(NamedTuple):
    """What is asked for; *keep_bytes* is how much of the transcript stays, once that is known."""

    agent: Agent
    lease: Lease
    reason: Reason
    keep_bytes: int = 0


class _Cut(NamedTuple):
    """Where to cut, 0 for nowhere; `is_short`: more is to be cut off after it."""

    at: int
    is_short: bool
    keep_bytes: int


class _Plan(NamedTuple):
    """What is to be summarised, with the summary before it and what comes after."""

    context: Context
    replaced: Sequence[Entry]
    tail: Sequence[Entry]
    has_more: bool
    keep_bytes: int
    told: Compaction

    @property
    def needs_message(self) -> bool:
        """Whether the message that is being worked on would be lost: the cut goes through its turn."""
        return bool(self.tail) and not any(isinstance(entry.body, User) for entry in self.tail)


def _cut(bodies: Sequence[Body], want: _Want, *, is_whole: bool) -> _Cut:
    """Choose where to cut; what is hardly worth a summary is left until there is more of it."""
    max_bytes = want.agent.prompt_bytes
    keep_bytes = want.keep_bytes or min(max_bytes, _size(bodies)) // 4
    asked = want.reason is Reason.ASKED
    goal = cutpoint.last_turn(bodies) if asked else cutpoint.choose(bodies, keep_bytes)
    at = cutpoint.within(bodies, goal, max_bytes)
    is_small = want.reason is Reason.THRESHOLD and is_whole and _size(bodies[:at]) < max_bytes // 8
    return _Cut(0 if is_small else at, at < goal, keep_bytes)


def _through(context: Context) -> int:
    body = context.summary.body if context.summary else None
    return body.through if isinstance(body, Summary) else 0


def _size(bodies: Sequence[Body]) -> int:
    return sum(map(measure.size, bodies))


def _with(told: Compaction, summary_seq: int) -> Compaction:
    return msgspec.structs.replace(told, summary_seq=summary_seq)
