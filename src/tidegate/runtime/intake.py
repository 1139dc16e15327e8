"""The one door: every piece of work becomes a run here, whoever asks for it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import msgspec

from tidegate.config.job import is_name
from tidegate.domain import job as rules
from tidegate.domain.entry import Assistant, Entry, User
from tidegate.domain.job import Job, Plan
from tidegate.domain.run import Lane, Origin, Run, RunState
from tidegate.domain.session import PolicyName
from tidegate.errors import (
    Corrupt,
    JobNotFound,
    Refused,
    RunNotFound,
    SessionRunning,
    Stopping,
    TooManySessions,
    Unavailable,
)
from tidegate.faults import words
from tidegate.ids import RunId
from tidegate.runtime import mover
from tidegate.runtime.bus import Bus, Ended, Event, Lagged, Subscription
from tidegate.runtime.command import begins_afresh
from tidegate.runtime.guard import Guard, work_of
from tidegate.runtime.lanes import Lane as Slots
from tidegate.runtime.reply import Reply, whole_text
from tidegate.runtime.skills import Skills
from tidegate.runtime.text import check_text
from tidegate.store.admission import Admission, Admitted, Attempt, Birth, Receipt, Shot, SnapshotMissing
from tidegate.store.port import Store
from tidegate.store.usage import JOB_GROUP

ROOM_TRIES = 3


T = TypeVar("T")
Admit = Callable[[Admission], Awaitable[Admitted]]


class Seen(NamedTuple):
    """The end of a run, and its last answer if that was heard."""

    run: Run
    entry: Entry | None


class Bounds(NamedTuple):
    """How many runs may be queued in a lane, and open in a session."""

    max_queued: int = 1_000
    max_open: int = 100


class Intake:
    """Makes runs, and waits for their ends."""

    def __init__(  # noqa: PLR0913 - each but the first two is optional
        self,
        store: Store,
        bus: Bus,
        *,
        skills: Skills | None = None,
        bounds: Bounds = Bounds(),  # noqa: B008 - it never changes
        interrupted: Collection[str] = (),
        lanes: Mapping[Lane, Slots] = MappingProxyType({}),
        guard: Guard | None = None,
    ) -> None:
        #: asked before anything is taken
        self.guard = guard or Guard()
        self._store = store
        self._bus = bus
        self._skills = skills
        self._stocking = asyncio.Lock()
        self._bounds = bounds._asdict()
        #: agents whose sessions a new message interrupts
        self._interrupted = frozenset(interrupted)
        self._lanes = lanes
        self._is_closed = False

    def close(self) -> None:
        """Take nothing more."""
        self._is_closed = True

    async def message(  # noqa: PLR0913 - a message and what is said about it
        self,
        key: str,
        text: str,
        agent: str,
        *,
        is_named: bool,
        receipt: Receipt | None,
        interrupts: bool | None = None,
    ) -> Admitted:
        """Accept a person's message; an unknown key becomes a chat.

        In a busy session it waits its turn or takes it, as it says or else as its agent is used to.
        """
        birth = Birth(policy=PolicyName.CHAT, agent=agent)
        return await self.submit(
            Admission(
                key=key,
                birth=birth,
                agent_is_named=is_named,
                lane=Lane.INTERACTIVE,
                origin=Origin.MESSAGE,
                bodies=[User(text=text)],
                receipt=receipt,
                interrupts=interrupts,
            )
        )

    async def submit(self, admission: Admission, *, at_once: bool = True) -> Admitted:
        """Accept a piece of work; where a slot is free it starts at once.

        Whoever wants to hear each word of it has to listen first, and asks for it to start a commit later. Other work
        than a chat's may fill three quarters of people's queue, so that a chat finds room in it. At the bound of named
        api sessions the one that has been idle longest is archived to make room.

        Raises:
            TooLarge, BadText: A message is too large or cannot be stored.
            Stopping: The gateway is stopping.
            Refused, Unavailable: What the store refuses.
        """
        if self._is_closed:
            raise Stopping(retry_after_s=5)
        for body in admission.bodies:
            check_text(body.text)
        admission = msgspec.structs.replace(admission, interrupts=self._interrupts(admission), **self._bounds)
        if admission.lane is Lane.INTERACTIVE and admission.birth.policy is not PolicyName.CHAT:
            admission = msgspec.structs.replace(admission, max_queued=self._bounds["max_queued"] * 3 // 4)
        admission = self._judged(admission)
        admit = self._admit_at_once if at_once else self._store.admit
        if begins_afresh(admission):
            return await self._renewed(admission, admit)
        return await self._with_room(admission, admit)

    async def _renewed(self, admission: Admission, admit: Admit) -> Admitted:
        """Admit what begins a conversation afresh; the one that had its key is archived if nothing runs in it."""
        former = self._store.session(admission.key) if admission.key else None
        admitted = await self._with_room(msgspec.structs.replace(admission, is_fresh=True), admit)
        if former is not None and former.id != admitted.session.id and not admitted.is_repeat:
            await mover.retire(self._store, former.id)
        return admitted

    async def _with_room(self, admission: Admission, admit: Admit) -> Admitted:
        """Admit; at the bound of named api sessions the one that has been idle longest makes room."""
        for _ in range(ROOM_TRIES):
            try:
                return await self._admitted(admission, admit)
            except TooManySessions:
                if admission.birth.policy is not PolicyName.API_NAMED or not await self._make_room():
                    raise
        return await self._admitted(admission, admit)

    def _judged(self, admission: Admission, job: str | None = None) -> Admission:
        """Return a piece of work with the reason why it may not be taken now, if there is one.

        Raises:
            Short, DiskBudget: It may not, and it cannot be the repetition of what was taken before.
        """
        refusal = self.guard.refusal(work_of(self._store, admission, job))
        if refusal is not None and admission.receipt is None and admission.order is None:
            self.guard.count(refusal)
            raise refusal
        return msgspec.structs.replace(admission, refusal=refusal)

    async def _admitted(self, admission: Admission, admit: Admit) -> Admitted:
        try:
            return await self._with_skills(admission, admit)
        except Unavailable as error:
            if error is admission.refusal:
                self.guard.count(error)
            raise

    async def fire(self, due: Sequence[tuple[Job, Plan]]) -> list[Shot]:
        """Carry out what is planned for jobs whose instants have come.

        Raises:
            Stopping: The gateway is stopping.
        """
        if self._is_closed:
            raise Stopping(retry_after_s=5)
        attempts = [
            Attempt(job=job, plan=plan, admission=self._offered(self._of_job(job))) for job, plan in due
        ]
        shots = await self._store.fire(attempts)
        return [
            await self._with_skills(attempt.admission, partial(self._fire_one, attempt))
            if shot is Shot.BARE
            else shot
            for attempt, shot in zip(attempts, shots, strict=True)
        ]

    def _of_job(self, job: Job) -> Admission:
        """Return the run of an instant; one that is refused is written down as that."""
        admission = self._admission(job)
        refusal = self.guard.refusal(work_of(self._store, admission, job.name))
        if refusal is not None:
            self.guard.count(refusal)
        return msgspec.structs.replace(admission, refusal=refusal)

    async def _fire_one(self, attempt: Attempt, admission: Admission) -> Shot:
        (shot,) = await self._store.fire([msgspec.structs.replace(attempt, admission=admission)])
        if shot is Shot.BARE:
            refs = admission.skills.snapshot.skills if admission.skills else ()
            raise SnapshotMissing(frozenset(ref.blob for ref in refs))
        return shot

    async def run_job(self, name: str) -> Admitted:
        """Make a run of a job now, beside its schedule.

        Raises:
            JobNotFound: There is no such job.
            JobRunning: It still runs and may not overlap.
            Stopping: The gateway is stopping.
            Refused, Unavailable: What the store refuses.
        """
        if self._is_closed:
            raise Stopping(retry_after_s=5)
        job = self.job(name)
        admission = self._judged(self._admission(job), job.name)
        return await self._with_skills(admission, partial(self._store.ask_job, job))

    def job(self, name: str) -> Job:
        """Return a job.

        Raises:
            JobNotFound: There is no such job.
        """
        job = self._store.job(name) if is_name(name) else None
        if job is None:
            raise JobNotFound(
                f"there is no job {name[:80]!r}", hint="`tidegate jobs list` shows what there is"
            )
        return job

    def _admission(self, job: Job) -> Admission:
        """Return the run of a job: in a new session each time, or in the conversation that it names."""
        definition, is_isolated = job.definition, rules.is_isolated(job.definition)
        return Admission(
            key=None if is_isolated else definition.session,
            birth=Birth(
                policy=PolicyName.CRON if is_isolated else PolicyName.CHAT,
                agent=definition.agent or "",
                cap_group=f"{JOB_GROUP}{job.name}" if is_isolated else None,
                max_runtime_ms=definition.max_runtime_ms,
                title=job.name,
            ),
            agent_is_named=True,
            lane=Lane.CRON,
            origin=Origin.FIRING,
            bodies=[User(text=definition.prompt)],
            max_queued=self._bounds["max_queued"],
            max_open=self._bounds["max_open"],
        )

    async def outcome(self, run: Run) -> Run:
        """Wait until a run is done or waits for somebody, and return it as it is then.

        Raises:
            RunNotFound: It has gone with its session.
        """
        return (await self._watch(run)).run

    async def answer(self, run: Run) -> tuple[Run, str]:
        """Wait like `outcome`; return the run and the whole text of its answer, empty if it gave none."""
        seen = await self._watch(run)
        if seen.run.reply_seq is None:
            return seen.run, ""
        if seen.entry is not None and seen.entry.seq == seen.run.reply_seq:
            return seen.run, await self.text(seen.entry)
        found = await self._store.entries(run.session, seen.run.reply_seq - 1, 1)
        return seen.run, await self.text(found[0])

    async def _watch(self, run: Run) -> Seen:
        """Follow a run to its end; a session may be deleted right after, so that what was heard counts first."""
        entry: Entry | None = None
        done: Run | None = None
        async with aclosing(self.follow(run)) as events:
            async for event in events:
                if isinstance(event, Run) and event.id == run.id:
                    done = event
                elif isinstance(event, Entry) and event.body.run == run.id:
                    entry = event if isinstance(event.body, Assistant) else None
        done = done or self._store.run(run.id)
        if done is None:
            raise RunNotFound(f"run {run.id!r} has gone with its session")
        return Seen(done, entry)

    def reply(self, admitted: Admitted, *, quiet_s: float | None = None) -> Reply:
        """Return the answer of a run; after each *quiet_s* without a word it gives a sign of life."""
        return Reply(self._store, self.follow(admitted.run, quiet_s=quiet_s), admitted)

    async def follow(self, run: Run, *, quiet_s: float | None = None) -> AsyncGenerator[Event | None, None]:
        """Yield the events of a run's session until the run is done or waits for somebody; None after *quiet_s*.

        Raises:
            Stopping: The gateway stops before the run has begun.
        """
        with self._bus.subscribe(run.session, is_first=True) as subscription:
            while (found := self._store.run(run.id)) and self._goes_on(found):
                if self._is_closed and found.state is RunState.QUEUED:
                    raise Stopping("the gateway stops; a session's message is answered after the next start")
                is_worth_a_look = False
                while not is_worth_a_look:
                    event = await _next(subscription, quiet_s)
                    is_worth_a_look = isinstance(event, Lagged | Ended | Run)
                    yield event
                    if isinstance(event, Ended) and self._is_closed:
                        raise Stopping("the gateway stops; a session's run goes on after the next start")

    def _goes_on(self, run: Run) -> bool:
        """Whether a run gets on without a person; one that is queued may stand behind another that does not."""
        if run.state in {RunState.RUNNING, RunState.DONE}:
            return run.state is RunState.RUNNING
        session = self._store.session_by_id(run.session)
        return session is not None and session.waiting_at is None

    async def text(self, entry: Entry) -> str:
        """Return the whole text of an entry, wherever it lies."""
        return await whole_text(self._store, entry)

    async def abandon(self, admitted: Admitted) -> None:
        """End a piece of work that nobody waits for any more, with its session and all below that."""
        with suppress(
            Refused, Unavailable
        ):  # it has gone; or it ends by its own deadline, if nothing can be written
            await self._store.cancel_session(admitted.session.id)

    async def cancel(self, run: RunId) -> Run:
        """Cancel a run; idempotent."""
        return await self._store.cancel_run(run)

    async def _with_skills(self, admission: Admission, act: Callable[[Admission], Awaitable[T]]) -> T:
        """Admit with the present skills of the agent; bytes are read only of those that the store lacks."""
        offered = self._offered(admission)
        if self._skills is None:
            return await act(offered)
        agent = self._agent_of(admission)
        with suppress(SnapshotMissing):
            return await act(offered)
        async with self._stocking:  # one reads them, the others find what it has stored
            try:
                return await act(offered)
            except SnapshotMissing as missing:
                stocked = await self._skills.stocked(agent, missing.blobs)
            with suppress(SnapshotMissing):  # unless another one has gone meanwhile with its last session
                return await act(msgspec.structs.replace(admission, skills=stocked))
            stocked = await self._skills.stocked(agent)
            return await act(msgspec.structs.replace(admission, skills=stocked))

    async def _admit_at_once(self, admission: Admission) -> Admitted:
        """Let the store admit it; where a slot is free it is claimed with it."""
        lane = self._lanes.get(admission.lane)
        if lane is None or self.guard.parks(work_of(self._store, admission)):
            return await self._store.admit(admission)
        head = self._store.session(admission.key) if admission.key else None
        kind = head.kind if head else admission.birth.policy.kind
        with lane.kept(kind, head.agent if head else admission.birth.agent) as claims:
            return await self._store.admit(msgspec.structs.replace(admission, claims=claims))

    def _offered(self, admission: Admission) -> Admission:
        if self._skills is None:
            return admission
        return msgspec.structs.replace(admission, skills=self._skills.offer(self._agent_of(admission)))

    def _agent_of(self, admission: Admission) -> str:
        head = self._store.session(admission.key) if admission.key else None
        return head.agent if head else admission.birth.agent

    def _interrupts(self, admission: Admission) -> bool:
        if admission.interrupts is None:
            return admission.origin is Origin.MESSAGE and admission.birth.agent in self._interrupted
        return admission.interrupts

    async def _make_room(self) -> bool:
        idle = await self._store.idle_longest()
        if idle is None:
            return False
        try:
            with suppress(SessionRunning):
                await mover.archive(self._store, idle)
        except Corrupt as error:  # the next one makes room
            await self._store.set_aside_session(idle.id, words(error))
        return True


async def _next(subscription: Subscription, quiet_s: float | None) -> Event | None:
    """Wait for an event; nothing comes back when it is time for a sign of life."""
    try:
        async with asyncio.timeout(quiet_s):
            return await subscription.get()
    except TimeoutError:
        return None
