import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from inside import Inside, PlayedModel, inside
from jobbing import calm, job, outcomes, runs
from tidegate.agent.model import Answer, ToolCall
from tidegate.bounded import Registry
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, day
from tidegate.domain.job import FiringOutcome, JobOrigin
from tidegate.domain.level import Level
from tidegate.domain.run import Lane, Run, RunState, Usage
from tidegate.domain.session import Outcome, PolicyName
from tidegate.errors import SpendShort
from tidegate.runtime.guard import Reason, Work
from tidegate.runtime.spend import Limits, Spend

CHAT = Work(agent="main", lane=Lane.INTERACTIVE, policy=PolicyName.CHAT, is_birth=True)
CRON = Work(agent="main", lane=Lane.CRON, policy=PolicyName.CRON, job="daily", is_birth=True)
HOOK = Work(agent="main", lane=Lane.CRON, policy=PolicyName.HOOK, is_birth=True)
CHILD = Work(agent="main", lane=Lane.SUBAGENT, policy=PolicyName.SUBAGENT, is_birth=True)
CALL = ToolCall(call_id="1", tool="emit", arguments='{"n": 1}')


def answer(micros: int, *, calls: bool = False) -> Answer:
    """Return an answer that costs so much."""
    text = "" if calls else "done"
    return Answer(text=text, usage=Usage(input_tokens=1, micros=micros), calls=[CALL] if calls else [])


@asynccontextmanager
async def spending(
    folder: Path, *answers: Answer, gateway: int | None = None, main: int | None = None
) -> AsyncIterator[tuple[Inside, Spend]]:
    """Open the inside of a gateway with limits in micro-dollars."""
    async with inside(folder, PlayedModel(*answers)) as here:
        limits = Limits(gateway=gateway, agents={} if main is None else {"main": main})
        spend = Spend(here.store, here.intake.guard, limits, here.clock, Registry())
        await spend.look()
        here.store.listen(spend.on_commit)
        yield here, spend


def level(here: Inside) -> Level:
    """Return how short money is."""
    return here.intake.guard.level(Reason.SPEND)


async def waiting(here: Inside, run: Run) -> None:
    """Wait until a run is parked."""
    bell = asyncio.Event()
    here.store.listen(lambda _: bell.set())
    async with asyncio.timeout(10):
        while (found := here.store.run(run.id)) is None or found.parked_at is None:
            bell.clear()
            await bell.wait()


def test_levels_of_a_day(tmp_path: Path) -> None:
    """At 80 % it is tight and nothing is held back; at 100 % nothing new starts but chats, until the next day."""

    async def main() -> None:
        answers = [answer(micros) for micros in (79, 1, 19, 1, 5)]
        async with spending(tmp_path, *answers, gateway=100) as (here, spend):
            levels = []
            for _ in range(4):
                await here.say("c", "go on")
                levels.append(level(here))
            assert [Level.NORMAL, Level.TIGHT, Level.TIGHT, Level.CRITICAL] == levels
            guard = here.intake.guard
            refused = [work for work in (CRON, HOOK, CHILD, CHAT) if guard.refusal(work)]
            assert [CRON, HOOK, CHILD] == refused
            assert isinstance(guard.refusal(CRON), SpendShort)
            assert (await here.say("c", "still there?")).outcome is Outcome.OK
            assert 105 == spend.today_micros

            here.clock.advance(DAY_MS)
            await spend.look()
            assert (Level.NORMAL, 0, None) == (level(here), spend.today_micros, guard.refusal(CRON))

    asyncio.run(main())


def test_a_person_waits_for_nothing(tmp_path: Path) -> None:
    """Over the limit runs of jobs and webhooks are parked, and so are sub-agents of jobs; those of people go on."""

    async def main() -> None:
        async with spending(tmp_path, answer(100), gateway=100) as (here, _):
            await here.say("c", "spend it")
            parks = here.intake.guard.parks
            assert (True, True, True) == (parks(CRON), parks(HOOK), parks(CHILD._replace(job="daily")))
            assert (False, False) == (parks(CHILD), parks(CHAT))
            assert here.intake.guard.stops_jobs

    asyncio.run(main())


def test_one_agent_is_not_another(tmp_path: Path) -> None:
    """The limit of an agent holds back its own work alone, and the level is that of the shortest."""

    async def main() -> None:
        async with spending(tmp_path, answer(50), gateway=100, main=50) as (here, spend):
            await here.say("c", "spend it")
            guard = here.intake.guard
            assert guard.refusal(CRON) is not None
            assert guard.refusal(CRON._replace(agent="other")) is None
            assert (Level.CRITICAL, False) == (level(here), guard.stops_jobs)
            assert [("agent", "main", Level.CRITICAL)] == [
                (kind, name, one.level)
                for kind, name, one in spend.accounts()
                if one.level is not Level.NORMAL
            ]

    asyncio.run(main())


def test_a_job_is_parked_and_freed(tmp_path: Path) -> None:
    """A job that is over its limit waits before its next answer, others go on; it goes on when its limit is raised."""

    async def main() -> None:
        answers = [answer(60, calls=True), answer(60), answer(1)]
        async with spending(tmp_path, answers[0], answers[2], answers[1]) as (here, spend):
            await here.store.put_job(job(name="dear", every_ms=HOUR_MS, spend_micros=50), JobOrigin.API)
            here.clock.advance(HOUR_MS)
            await here.cron.fire_due()
            (run,) = await runs(here)
            await waiting(here, run)
            await here.store.put_job(job(name="cheap", every_ms=HOUR_MS, spend_micros=50), JobOrigin.API)
            here.clock.advance(HOUR_MS)
            await calm_but(here, run)
            assert [FiringOutcome.FIRED] == await outcomes(here.store, "cheap")
            assert (FiringOutcome.FIRED, 1) == (
                (await outcomes(here.store, "dear"))[0],
                len([one for one in await runs(here) if one.state is not RunState.DONE]),
            )

            await here.store.alter_job("dear", lambda one: msgspec.structs.replace(one, spend_micros=500))
            await spend.look()
            assert (await here.intake.outcome(run)).outcome is Outcome.OK
            assert Level.NORMAL is level(here)

    asyncio.run(main())


async def calm_but(here: Inside, parked: Run) -> None:
    """Fire what is due and wait for the ends of all runs but one."""
    await here.cron.fire_due()
    for run in await runs(here):
        if run.id != parked.id:
            await here.intake.outcome(run)


def test_a_job_that_has_spent_its_day(tmp_path: Path) -> None:
    """What comes due of it is refused and written down as that; the next day it fires again."""

    async def main() -> None:
        async with spending(tmp_path, answer(60), answer(60)) as (here, spend):
            await here.store.put_job(job(every_ms=HOUR_MS, spend_micros=50), JobOrigin.API)
            for _ in range(2):
                here.clock.advance(HOUR_MS)
                await calm(here)
            assert [FiringOutcome.FIRED, FiringOutcome.REFUSED] == await outcomes(here.store)
            into_chat = CRON._replace(policy=PolicyName.CHAT, is_birth=False)
            refused = [
                bool(here.intake.guard.refusal(into_chat._replace(job=name))) for name in ("j", "other")
            ]
            assert [True, False] == refused

            here.clock.advance(DAY_MS)
            await spend.look()
            await calm(here)
            assert FiringOutcome.FIRED is (await outcomes(here.store))[-1]

    asyncio.run(main())


def test_what_was_spent_outlives_the_process(tmp_path: Path) -> None:
    """After a start the day goes on where it was, for all, for agents and for jobs; yesterday counts for nothing."""

    async def main() -> None:
        async with spending(tmp_path, answer(100), gateway=100) as (here, _):
            await here.store.put_job(job(spend_micros=50), JobOrigin.API)
            here.clock.advance(MINUTE_MS)
            await calm(here)
        async with spending(tmp_path, gateway=100, main=100) as (here, spend):
            found = {(kind, name): one.micros for kind, name, one in spend.accounts()}
            assert {("", ""): 100, ("agent", "main"): 100, ("job", "j"): 100} == found
            assert Level.CRITICAL is level(here)

            here.clock.advance(-DAY_MS)
            await spend.look()
            assert (0, Level.NORMAL) == (spend.today_micros, level(here))

    asyncio.run(main())


def test_what_is_told_twice_counts_once(tmp_path: Path) -> None:
    """A look in the middle of answers loses none of them and counts none twice, since what is taken are sums."""

    async def main() -> None:
        async with spending(tmp_path, *(answer(7) for _ in range(20)), gateway=1_000) as (here, spend):
            for number in range(20):
                spend._is_stale = True  # noqa: SLF001 - what a job's change would do
                async with asyncio.TaskGroup() as both:
                    both.create_task(here.say(f"c{number}", "go on"))
                    both.create_task(spend.look())
            assert (140, 140) == (spend.today_micros, spend.total_micros)
            kept = await here.store.spending.of_day(day(here.clock.now()))
            assert {("main", "played"): (140, 0)} == kept.models

    asyncio.run(main())


def test_the_report(tmp_path: Path) -> None:
    """What is told holds no more than a hundred names, each with what it has spent of what, in dollars."""

    async def main() -> None:
        async with spending(tmp_path, answer(900_000), gateway=1_000_000, main=900_000) as (here, spend):
            await here.say("c", "spend it")
            report = spend.report()
            assert (0.9, 1.0, Level.CRITICAL, 0) == tuple(
                report[key] for key in ("today", "limit", "level", "unpriced")
            )
            assert [
                {"of": "agent", "name": "main", "today": 0.9, "limit": 0.9, "level": Level.CRITICAL}
            ] == report["short"]

    asyncio.run(main())
