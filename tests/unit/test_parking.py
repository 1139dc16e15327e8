import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from inside import Inside, PlayedModel, inside
from jobbing import history, job, known
from tidegate.agent.model import Answer, Delta, Prompt, ToolCall, ToolSpec
from tidegate.agent.tools import Caller, Tool
from tidegate.clock import HOUR_MS, MINUTE_MS
from tidegate.domain.entry import User
from tidegate.domain.job import FiringOutcome, JobOrigin
from tidegate.domain.level import Level
from tidegate.domain.run import Lane, Origin, Run, RunState
from tidegate.domain.session import Outcome, PolicyName
from tidegate.runtime.guard import Grip, Hold, Reason
from tidegate.store.admission import Admission, Birth
from work import fresh

CALL = ToolCall(call_id="c1", tool="note", arguments="{}")
PARKED = Hold(grip=Grip.BIRTHS | Grip.BACKGROUND, message="it is short")


def press(here: Inside, *holds: Hold) -> None:
    """Let memory be short, or not any more."""
    level = Level.CRITICAL if holds else Level.NORMAL
    here.intake.guard.set(Reason.MEMORY, level, holds)


async def begin(here: Inside, policy: PolicyName = PolicyName.CRON, lane: Lane = Lane.CRON) -> Run:
    """Begin the work of a job, or of anybody."""
    admission = Admission(
        key=None,
        birth=Birth(policy=policy, agent="main"),
        lane=lane,
        origin=Origin.FIRING,
        bodies=[User(text="work")],
    )
    return (await here.intake.submit(admission)).run


class Noting:
    """A tool that lets a test do something between two steps."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.goes_on = asyncio.Event()

    def tool(self) -> Tool:
        """Return the tool."""

        async def note(_: str, __: Caller) -> str:
            self.called.set()
            await self.goes_on.wait()
            return "noted"

        return Tool(spec=ToolSpec(name="note", description="notes", parameters={}), run=note)


async def until(here: Inside, run: Run, state: RunState) -> None:
    """Wait until a run is in a state."""
    while fresh(here.store, run).state is not state:  # noqa: ASYNC110 - commits that no event tells of
        await asyncio.sleep(0)


def test_background_is_parked_between_two_steps(tmp_path: Path) -> None:
    """A background run stops before it asks the model again, without a slot; let go, it goes on where it was."""

    async def main() -> None:
        noting = Noting()
        model = PlayedModel(Answer(text="", calls=[CALL]), Answer(text="done"))
        async with inside(tmp_path, model, tools=[noting.tool()]) as here:
            run = await begin(here)
            await noting.called.wait()
            press(here, PARKED)
            noting.goes_on.set()
            await until(here, run, RunState.WAITING)
            while here.runner.running:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            prompts = len(model.prompts)
            press(here)
            done = await here.intake.outcome(run)

            assert (1, 2) == (prompts, len(model.prompts))
            assert (RunState.DONE, Outcome.OK) == (done.state, done.outcome)
            session = here.store.session_by_id(run.session)
            assert session is not None
            assert ["work", "{}", "noted", "done"] == await here.texts(session.key)

    asyncio.run(main())


def test_people_go_on(tmp_path: Path) -> None:
    """While background runs wait unclaimed, a chat is answered; when that is over, they are carried out."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            press(here, Hold(grip=Grip.BACKGROUND, message="it is short"))
            waiting = await begin(here)
            said = await here.say("c", "/echo hi")

            assert Outcome.OK is said.outcome
            assert RunState.QUEUED is fresh(here.store, waiting).state
            press(here)
            assert Outcome.OK is (await here.intake.outcome(waiting)).outcome

    asyncio.run(main())


def test_better_times_while_it_is_parked(tmp_path: Path) -> None:
    """A run that is being parked just as the others are let go is let go too."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            park = here.store.park

            async def late(lease: object) -> Run:
                press(here)
                await here.store.remember("a", "word in between")
                return await park(lease)  # type: ignore[arg-type]  # it is handed on

            here.store.park = late  # type: ignore[method-assign]  # the moment of the race
            only = Hold(grip=Grip.BACKGROUND, message="", concerns=lambda work: work.agent == "main")
            press(here, only)
            run = await begin(here)

            assert Outcome.OK is (await here.intake.outcome(run)).outcome

    asyncio.run(main())


def test_one_agent_can_be_parked(tmp_path: Path) -> None:
    """Where somebody holds one agent alone, its background runs are claimed and parked before their first step."""

    async def main() -> None:
        model = PlayedModel(Answer(text="done"))
        async with inside(tmp_path, model) as here:
            press(here, Hold(grip=Grip.BACKGROUND, message="", concerns=lambda work: work.agent == "main"))
            run = await begin(here, PolicyName.SUBAGENT, Lane.SUBAGENT)
            await until(here, run, RunState.WAITING)

            assert [] == model.prompts
            press(here)
            assert Outcome.OK is (await here.intake.outcome(run)).outcome

    asyncio.run(main())


def test_a_job_in_a_chat_does_not_block_it(tmp_path: Path) -> None:
    """A background run in a chat is never parked there: the next message would wait behind it."""

    async def main() -> None:
        noting = Noting()
        model = PlayedModel(Answer(text="", calls=[CALL]), Answer(text="done"), Answer(text="hello"))
        async with inside(tmp_path, model, tools=[noting.tool()]) as here:
            admission = Admission(
                key="c",
                birth=Birth(policy=PolicyName.CHAT, agent="main"),
                lane=Lane.CRON,
                origin=Origin.FIRING,
                bodies=[User(text="from outside")],
            )
            await here.intake.submit(admission)
            await noting.called.wait()
            press(here, PARKED)
            noting.goes_on.set()

            assert Outcome.OK is (await here.say("c", "hello?")).outcome

    asyncio.run(main())


def test_jobs_are_late_or_missed(tmp_path: Path) -> None:
    """Under pressure no instant is touched; afterwards each job makes up for it or has it written down as missed."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.store.put_job(job(name="soon", every_ms=MINUTE_MS), JobOrigin.API)
            await here.store.put_job(
                job(name="strict", every_ms=30 * MINUTE_MS, max_lateness_ms=MINUTE_MS), JobOrigin.API
            )
            press(here, Hold(grip=Grip.BIRTHS, message=""))
            before = known(here.store, "soon").fired_through
            for _ in range(4 * 15):
                here.clock.advance(MINUTE_MS)
                assert 0 == await here.cron.fire_due()
            here.clock.advance(10 * MINUTE_MS)
            assert before == known(here.store, "soon").fired_through
            press(here)
            await here.cron.fire_due()

            rows = {(row.outcome, row.count) for row in await history(here.store, "soon")}
            assert {(FiringOutcome.FIRED, 1), (FiringOutcome.MISSED, 69)} == rows
            strict = await history(here.store, "strict")
            assert [(FiringOutcome.MISSED, 2)] == [(row.outcome, row.count) for row in strict]
            assert HOUR_MS == strict[0].instant - before

    asyncio.run(main())


async def hangs(_: Prompt) -> AsyncGenerator[Delta | Answer, None]:
    """Begin an answer and never end it."""
    yield Delta(text="I will")
    await asyncio.Event().wait()


def test_fewer_api_sessions_run_at_the_worst(tmp_path: Path) -> None:
    """At the worst an eighth of the slots is for api sessions; people still have them all, and others come back."""

    async def main() -> None:
        async with inside(tmp_path, PlayedModel(*[hangs] * 16), slots=16) as here:
            press(here, Hold(grip=Grip.BACKGROUND, message=""))
            for at in range(4):
                await here.send(f"c{at}", "hi")
                await here.ask(PolicyName.API, "hi")
            await here.store.remember("a", "word behind all claims")
            lane = here.runner.lanes[Lane.INTERACTIVE]

            assert 4 + 2 == lane.taken
            press(here)
            while lane.taken < 8:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)

    asyncio.run(main())
