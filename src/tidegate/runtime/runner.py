"""Carries out runs: claims one, hands its transcript to the agent's loop, keeps what the loop decides, closes it.

A run is ours as long as its fence is: whoever cancels a run or lets it time out raises the fence in the database, and
the task that carries it out stops. What a stopped or killed process leaves running is queued again at the next start;
nothing here has to clean up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import ceil
from typing import TypeVar

from structlog.contextvars import bound_contextvars

from tidegate import log
from tidegate.agent import loop
from tidegate.agent.loop import Agent, Paused
from tidegate.clock import Clock
from tidegate.config import Compaction as Rules
from tidegate.domain.compaction import Reason as Cause
from tidegate.domain.entry import Assistant, Body, Notice, Summary, User
from tidegate.domain.run import Failure, Run, Step, Usage
from tidegate.domain.run import Lane as LaneName
from tidegate.domain.session import Outcome, Session
from tidegate.errors import (
    Broken,
    FenceLost,
    ModelBusy,
    ModelCut,
    StorageFailed,
    StoreBroken,
    TidegateError,
    Unavailable,
)
from tidegate.faults import Area, Faults, words
from tidegate.ids import RunId, SessionId
from tidegate.runtime.agents import Agents
from tidegate.runtime.bell import ring_or
from tidegate.runtime.bus import Bus
from tidegate.runtime.command import Command, command_of
from tidegate.runtime.compaction import Compactor
from tidegate.runtime.context import history
from tidegate.runtime.guard import Grip, Guard, Reason, Work, job_of
from tidegate.runtime.journal import RunJournal, until_written
from tidegate.runtime.lanes import Lane
from tidegate.runtime.watch import Watch, unwatched
from tidegate.store.admission import Claimed, Ending, Said
from tidegate.store.aside import MAX_ATTEMPTS
from tidegate.store.port import Store
from tidegate.store.tx import Effects

T = TypeVar("T")

RETRY_AFTER_S = 5  # what a client is told where a provider does not say when it has room again
CANCEL_S = 5.0  # for what a cancelled run has said to be kept; after that it is closed without
POLL_S = 5.0  # a safety net: work is announced by the store's effects

_log = log.get("runner")


class Runner:
    """Carries out the runs of every lane, people's first."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that a run needs
        self,
        store: Store,
        bus: Bus,
        agents: Agents,
        lanes: Mapping[LaneName, Lane],
        clock: Clock,
        guard: Guard | None = None,
        faults: Faults | None = None,
        *,
        compactor: Compactor | None = None,
        watch: Watch = unwatched,
    ) -> None:
        #: how long it waits to be told of work before it looks by itself
        self.poll_s = POLL_S
        self.lanes = lanes
        self._store = store
        self._bus = bus
        self._agents = agents
        #: what compacts the transcripts of runs
        self.compactor = compactor or Compactor(store, Rules())
        #: who looks on while a run is carried out
        self._watch = watch
        self._clock = clock
        self._faults = faults or Faults(clock)
        self._guard = guard or Guard()
        self._guard.listen(self._on_change)
        self._bell = asyncio.Event()
        for lane in lanes.values():
            lane.on_room = self._look_again
        self._is_stopping = False
        #: there may be parked runs that nothing holds any more
        self._frees = False
        #: by lane, how many runs are asked for at once; at most twice the slots
        self._crowds = dict.fromkeys(LaneName, 1)
        #: the deadlines of the runs under way, which is how they are stopped; bounded by the slots
        self._scopes: dict[RunId, asyncio.Timeout] = {}
        #: what the runs under way have said, and those that are being cancelled; bounded by the slots, too
        self._journals: dict[RunId, RunJournal] = {}
        self._cancelled: dict[RunId, asyncio.Event] = {}
        #: what is carried out, or waits for a slot to be; of what is neither, once seen
        self._in_hand: set[RunId] = set()
        self._strays: set[RunId] = set()
        self._looks_at = 0.0
        self._tasks: asyncio.TaskGroup | None = None
        #: claimed at the door for callers who then went, so that others have their slots; as many as those at most
        self._late: list[Claimed] = []

    async def serve(self) -> None:
        """Carry out runs until `stop`; then return when those under way have ended."""
        async with asyncio.TaskGroup() as tasks:
            self._open(tasks)
            try:
                while not self._is_stopping:
                    self._bell.clear()
                    with self._faults.turn(Area.RUNNER) as turn:
                        await self._look()
                    await turn.rest()
                    await ring_or(self._bell, self.poll_s)
            finally:
                self._open(None)

    async def _look(self) -> None:
        await self._free()
        await self._take_back()
        while found := await self._claim():
            for claimed in found:
                self._start(claimed)

    def stop(self) -> None:
        """Claim nothing more."""
        self._is_stopping = True
        self._bell.set()

    async def cancel(self, run: RunId) -> Run:
        """Cancel a run; what it has said so far is kept, marked as broken off. Idempotent.

        Raises:
            RunNotFound: There is none.
        """
        found = self._store.running_below(run=run)
        return await self._close(found, lambda said: self._store.cancel_run(run, said))

    async def cancel_session(self, session: SessionId) -> Session:
        """Close all that is open in a session, and below it; what is just being said there is kept."""
        found = self._store.running_below(session=session)
        return await self._close(found, lambda said: self._store.cancel_session(session, said))

    async def _close(self, runs: Sequence[RunId], close: Callable[[Said], Awaitable[T]]) -> T:
        """Stop runs together, and close them in one transaction with what they have said so far."""
        under_way = [run for run in runs if run in self._scopes]
        ends = [self._cancelled.setdefault(run, asyncio.Event()) for run in under_way]
        journals = [journal for run in under_way if (journal := self._journals.get(run))]
        for run in under_way:
            self._scopes[run].reschedule(asyncio.get_running_loop().time())
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                for end in ends:
                    await end.wait()
        said = [(one.lease, step) for one in journals if (step := one.half_said)]
        try:
            return await close(said)
        except Exception as error:
            for run, end in zip(under_way, ends, strict=True):
                if end.is_set():  # nobody carries it out any more
                    await self._set_aside(run, error)
            raise

    def on_commit(self, effects: Effects) -> None:
        """Look for work when there may be some; stop the runs that somebody else has closed."""
        for claimed in effects.claimed:
            # One turn of the loop later: whoever asked for it wakes first, and hears it from its first word on.
            asyncio.get_running_loop().call_soon(self._start, claimed)
        if effects.queued or effects.closed:
            self._bell.set()
        for run in effects.closed:
            scope = self._scopes.get(run.id)
            if scope is not None:
                scope.reschedule(asyncio.get_running_loop().time())

    def _look_again(self) -> None:
        """Look for who had to wait for the slot that was kept at the door, and was not claimed there."""
        if self._store.queued():
            self._bell.set()

    def _on_change(self) -> None:
        """Open and close lanes as the guard wants it: while memory is short, fewer api sessions run too."""
        for name, lane in self.lanes.items():
            lane.is_parked = name is not LaneName.INTERACTIVE and self._guard.parks_all
            lane.is_tight = Grip.BACKGROUND in self._guard.grip(Reason.MEMORY)
        self._frees = True
        self._bell.set()

    async def _free(self) -> None:
        """Queue parked runs again unless all of them have to wait still; whichever has to is parked once more."""
        if not self._frees or self._guard.parks_all:
            return
        self._frees = False
        try:
            while await self._store.unpark():
                pass
        except Unavailable as error:
            self._frees = True
            _log.warning("unpark_failed", error=str(error))

    async def _take_back(self) -> None:
        """Queue again what is running in the store and that nobody carries out: who claimed it could not be told of it.

        It is seen twice before that, since what was claimed a moment ago is told a moment later.
        """
        now = asyncio.get_running_loop().time()
        if now < self._looks_at:
            return
        self._looks_at = now + self.poll_s
        strays = {run for run in self._store.running() if run not in self._in_hand}
        for run in strays & self._strays:
            error = Broken("it was running, and nobody carried it out")
            self._faults.count(Area.RUNNER, error, run)
            await self._set_aside(run, error)
        self._strays = strays - self._strays

    @property
    def running(self) -> int:
        """How many runs are being carried out."""
        return sum(lane.taken for lane in self.lanes.values())

    def _open(self, tasks: asyncio.TaskGroup | None) -> None:
        """Let runs be claimed at the door, or no more."""
        self._tasks = tasks
        for lane in self.lanes.values():
            lane.is_open = tasks is not None and not self._is_stopping

    def _start(self, claimed: Claimed) -> None:
        """Carry out a run, with the next slot; once nothing is carried out any more, it is left to the next start."""
        lane = self.lanes[claimed.run.lane]
        self._in_hand.add(claimed.run.id)
        if lane.taken >= lane.slots:
            self._late.append(claimed)
        elif self._tasks is not None:
            lane.take(claimed.session.kind, claimed.session.agent)
            self._tasks.create_task(self._carry_out(claimed))

    def _start_late(self) -> None:
        """Carry out those that had to wait for a slot, the oldest first."""
        late, self._late = self._late, []
        for claimed in late:
            self._start(claimed)

    async def _claim(self) -> list[Claimed]:
        """Take the next runs: people's, if there are any and slots for them.

        Where a lane had as many as were asked for, twice as many are asked for next: what waits together is claimed in
        one commit.
        """
        queued = self._store.queued()
        for name in LaneName:
            lane = self.lanes[name]
            if name in queued and lane.has_room and not self._is_stopping:
                asked = self._crowds[name]
                found = await self._claim_in(name, max(1, min(asked, lane.room_for_api, lane.least_room)))
                self._crowds[name] = 2 * asked if len(found) == asked else 1
                if found:
                    return found
        return []

    async def _claim_in(self, name: LaneName, count: int) -> list[Claimed]:
        with_api, without = self.lanes[name].has_room_for_api, self.lanes[name].full
        with self.lanes[name].held(count, for_api=with_api):
            if count == 1:
                claimed = await self._claim_one(name, with_api=with_api, without=without)
                return [claimed] if claimed else []
            async with asyncio.TaskGroup() as claims:
                tasks = [
                    claims.create_task(self._claim_one(name, with_api=with_api, without=without))
                    for _ in range(count)
                ]
            return [claimed for task in tasks if (claimed := task.result())]

    async def _claim_one(self, name: LaneName, *, with_api: bool, without: Collection[str]) -> Claimed | None:
        with self._faults.wall(Area.RUNNER, name) as wall:
            return await self._store.claim(name, with_api=with_api, without=without)
        if not isinstance(wall.error, Unavailable | None):
            aside = await self._store.set_aside_next(
                name, with_api=with_api, without=without, error=words(wall.error)
            )
            if aside is not None:
                await self._give_up(*aside, words(wall.error))
        return None

    async def _set_aside(self, run: RunId, error: Exception) -> None:
        """Let a run that could not be closed come back later, so that it holds up nobody behind it."""
        with self._faults.wall(Area.RUNNER, run):
            await self._give_up(run, await self._store.set_aside(run, words(error)), words(error))

    async def _give_up(self, run: RunId, attempts: int, error: str) -> None:
        """Let a run end that has failed too often; where not even that can be, it comes back once an hour."""
        if attempts >= MAX_ATTEMPTS:
            with self._faults.wall(Area.RUNNER, run):
                await self._store.give_up(run, error)

    async def _carry_out(self, claimed: Claimed) -> None:
        run, session = claimed.run, claimed.session
        try:
            with (
                bound_contextvars(session=session.key, run=run.id),
                self._faults.wall(Area.RUNNER, session.key) as wall,
            ):
                try:
                    await self._attempt(claimed)
                except FenceLost:
                    _log.info("run_taken_over", run=run.id)
            if wall.error is not None:
                await self._set_aside(run.id, wall.error)
        finally:
            self._in_hand.discard(run.id)
            self._scopes.pop(run.id, None)
            self._journals.pop(run.id, None)
            if (over := self._cancelled.pop(run.id, None)) is not None:
                over.set()
            self.lanes[run.lane].give(session.kind, session.agent)
            self._start_late()
            self._bell.set()

    async def _attempt(self, claimed: Claimed) -> None:
        """Carry out a run and close it, whatever happens in it."""
        run = claimed.run
        try:
            async with asyncio.timeout(self._seconds_left(claimed)) as self._scopes[run.id]:
                step = await self._loop(claimed)
                if isinstance(step, Paused):
                    await self._pause(claimed, step)
                    return
                ending = Ending(outcome=Outcome.OK, step=step)
        except TimeoutError:
            if run.id in self._cancelled:
                return  # whoever has stopped it closes it
            journal = self._journals.get(run.id)
            step = journal.half_said if journal is not None else None
            ending = _failed(Outcome.TIMED_OUT, "the run took longer than it may", step=step)
        except (FenceLost, StoreBroken):
            raise
        except TidegateError as error:
            if isinstance(error, StorageFailed):  # what is stored of this session is damaged
                self._faults.count(Area.RUNNER, error, claimed.session.key)
            hint = f" ({error.hint})" if error.hint else ""
            ending = _failed(
                Outcome.FAILED,
                error.message + hint,
                step=_half_said(error),
                failure=self._failure(run, error),
            )
        except Exception as error:  # noqa: BLE001 - the wall of a run: its failure must not take others down
            self._faults.count(Area.RUNNER, error, claimed.session.key)
            ending = _failed(
                Outcome.FAILED,
                f"internal error: {type(error).__name__}",
                failure=Failure(code=TidegateError.code),
            )
        self._scopes.pop(run.id, None)
        await until_written(
            lambda: self._store.finish(
                run.lease,
                ending.outcome,
                step=ending.step,
                error=ending.error,
                notice=ending.notice,
                failure=ending.failure,
            )
        )

    def _failure(self, run: Run, error: TidegateError) -> Failure:
        """Return what a client is told of a failure.

        It is worth trying again where it may pass, and where nothing has been carried out that would be done twice.
        """
        cause = error.failure if isinstance(error, ModelCut) else error
        found = self._store.run(run.id)
        if not isinstance(cause, ModelBusy | Unavailable) or found is None or found.steps:
            return Failure(code=cause.code)
        return Failure(code=cause.code, retry_after_s=ceil(cause.retry_after_s or RETRY_AFTER_S))

    async def _pause(self, claimed: Claimed, paused: Paused) -> None:
        """Let a run wait, for what it has asked for or for better times."""
        lease = claimed.run.lease
        if not paused.is_parked:
            await until_written(lambda: self._store.wait(lease, paused.questions))
            return
        await until_written(lambda: self._store.park(lease))
        if not self._has_to_wait(claimed):  # times have become better while that was written
            self._on_change()

    def _has_to_wait(self, claimed: Claimed) -> bool:
        session = claimed.session
        work = Work(session.agent, claimed.run.lane, session.policy)
        if not work.can_wait:
            return False
        return self._guard.parks(work._replace(job=job_of(self._store, session)))

    async def _loop(self, claimed: Claimed) -> Step | Paused | None:
        current = self._store.run(claimed.run.id)
        if current is None or current.fence != claimed.run.fence:
            raise FenceLost  # closed in the very commit that claimed it, before there was a task to stop
        agent, run = self._agents.of(claimed), claimed.run
        with self._watch(claimed, agent) as watched:
            journal = RunJournal(self._store, self._bus, self.compactor, watched, run)
            journal.has_to_wait = partial(self._has_to_wait, claimed)
            self._journals[run.id] = journal
            read = await history(self._store, run, agent.prompt_bytes)
            match command_of(claimed.session, run, read.bodies):
                case Command.COMPACT:
                    return await self._compact(watched, run, read.bodies)
                case Command.NEW:
                    return Step(bodies=[Assistant(text=await self._welcome(run))])
                case None:
                    bodies = read.bodies if read.is_whole else await journal.compact(Cause.THRESHOLD)
                    return await loop.run(watched, journal, bodies or read.bodies, run.steps, run.spent)

    async def _compact(self, agent: Agent, run: Run, bodies: Sequence[Body]) -> Step | None:
        """Compact a conversation because somebody asked for it; a message is answered, a request is not."""
        own = [body for body in bodies if body.run == run.id]
        is_done = any(isinstance(body, Summary) for body in own)  # before a crash
        count = 0 if is_done else await self.compactor.compact(agent, run.lease, Cause.ASKED)
        if not any(isinstance(body, User) for body in own):
            return None
        told = f"{count:,} entries are now a summary." if count or is_done else "There is nothing to compact."
        return Step(bodies=[Assistant(text=told)])

    async def _welcome(self, run: Run) -> str:
        """Say that a conversation is new, and where the one before it is."""
        (first,) = await self._store.entries(run.session, 0, 1)
        return first.body.text if isinstance(first.body, Notice) else "A new conversation."

    def _seconds_left(self, claimed: Claimed) -> float:
        """Return the time that the agent's budget and the session's own date leave."""
        agent = self._agents.get(claimed.session.agent)
        started_at = claimed.run.started_at or self._clock.now()
        ends_at = started_at + claimed.run.waited_ms + (agent.budget.max_runtime_ms if agent else 0)
        return max(0.0, (ends_at - self._clock.now()) / 1_000)


def _failed(
    outcome: Outcome, error: str, *, step: Step | None = None, failure: Failure | None = None
) -> Ending:
    """Return the end of a run that has no answer; the reader is told why."""
    notice = f"{outcome.replace('_', ' ')}: {error}"
    return Ending(outcome=outcome, step=step, error=error, notice=notice, failure=failure)


def _half_said(failure: TidegateError) -> Step | None:
    """Return what was said of an answer that broke off; it was heard, so it is kept."""
    if not isinstance(failure, ModelCut):
        return None
    (read, written), (micros, unpriced, estimated) = failure.tokens, failure.cost
    usage = Usage(
        input_tokens=read, output_tokens=written, micros=micros, unpriced=unpriced, estimated=estimated
    )
    said = Assistant(text=failure.text, is_partial=True, is_estimated=bool(estimated))
    return Step(bodies=[said], usage=usage, model=failure.model)
