import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import msgspec
import pytest

from inside import Inside, PlayedModel, inside
from jobbing import calm, history, job, known, outcomes, runs, tick
from tidegate.agent.model import Answer, ToolCall
from tidegate.agent.offline import offline_tools
from tidegate.agent.tools import Tool, decoded, spec
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain.job import FiringOutcome, JobOrigin, plan
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.session import Outcome, PolicyName
from tidegate.errors import FenceLost, JobNotFound, JobRunning, Stopping
from tidegate.store.admission import Shot


def play(tmp_path: Path, main: Callable[[Inside], Awaitable[None]], **options: object) -> None:
    """Open the inside of a gateway and do something there."""

    async def played() -> None:
        async with inside(tmp_path, **options) as here:  # type: ignore[arg-type]  # the options of `inside`
            await main(here)

    asyncio.run(played())


def test_every_minute(tmp_path: Path) -> None:
    """A job runs each time in a session of its own and answers there."""

    async def main(here: Inside) -> None:
        await here.store.put_job(job(), JobOrigin.API)
        found = [run for _ in range(3) for run in await tick(here)]
        assert [Outcome.OK] * 3 == [run.outcome for run in found]
        sessions = [here.store.session_by_id(run.session) for run in found]
        assert 3 == len({session.key for session in sessions if session})
        assert ["/echo hi", "hi"] == await here.texts(sessions[0].key if sessions[0] else "")
        assert not any((await here.store.orphans()).values())

    play(tmp_path, main)


def test_nothing_comes_early(tmp_path: Path) -> None:
    """Before its date nothing fires, and at its date once, however often somebody looks."""

    async def main(here: Inside) -> None:
        await here.store.put_job(job(), JobOrigin.API)
        assert [] == await tick(here, MINUTE_MS - 1)
        await tick(here, 1)
        assert [] == await tick(here, 0)
        assert [FiringOutcome.FIRED] == await outcomes(here.store)

    play(tmp_path, main)


def test_it_wakes_by_itself(tmp_path: Path) -> None:
    """The service fires what is due when it starts, and what is changed so that it is due."""

    async def main(here: Inside) -> None:
        heard = asyncio.Event()
        here.store.listen(lambda effects: heard.set() if effects.firings else None)
        await here.store.put_job(job(), JobOrigin.API)
        here.clock.advance(MINUTE_MS)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(here.cron.serve())
            await heard.wait()
            heard.clear()
            for run in await runs(here):
                await here.intake.outcome(run)
            here.clock.advance(MINUTE_MS)
            await here.store.put_job(job(name="k"), JobOrigin.API)
            await heard.wait()
            serving.cancel()
        assert [FiringOutcome.FIRED] * 2 == await outcomes(here.store)

    play(tmp_path, main)


def test_the_clock_is_put_back(tmp_path: Path) -> None:
    """No instant comes twice; the job goes on where the clock passes its watermark."""

    async def main(here: Inside) -> None:
        await here.store.put_job(job(), JobOrigin.API)
        await tick(here)
        here.clock.step(-HOUR_MS)
        for _ in range(60):
            assert [] == await tick(here)
        assert 1 == len(await tick(here))
        instants = [firing.instant for firing in await history(here.store)]
        assert len(set(instants)) == len(instants) == 2

    play(tmp_path, main)


@pytest.mark.parametrize(("missed", "made_up"), [("once", 1), ("skip", 0)])
def test_the_clock_is_put_forward(tmp_path: Path, missed: str, made_up: int) -> None:
    """What is jumped over is missed; it is made up for once, if the job wants that."""

    async def main(here: Inside) -> None:
        await here.store.put_job(job(every_ms=HOUR_MS, missed=missed), JobOrigin.API)
        await here.cron.fire_due()
        here.clock.step(10 * HOUR_MS + 30 * MINUTE_MS)
        assert made_up == len(await tick(here, 0))
        counts = {firing.outcome: firing.count for firing in await history(here.store)}
        assert counts.get(FiringOutcome.MISSED) == 10 - made_up

    play(tmp_path, main)


def test_a_full_house(tmp_path: Path) -> None:
    """Where there is no room, jobs wait for it in the order of their dates; none is missed, none runs twice."""
    cron = msgspec.structs.replace(DEFAULTS[PolicyName.CRON], max_running=5)

    async def main(here: Inside) -> None:
        names = [f"j{number:02}" for number in range(23)]
        for name in names:
            await here.store.put_job(job(name=name, missed="skip"), JobOrigin.API)
        await here.store.put_job(job(name="talk", session="me"), JobOrigin.API)
        here.clock.advance(MINUTE_MS)
        await here.cron.fire_due()
        assert here.store.next_firing() == here.clock.now()
        await calm(here)
        assert [[FiringOutcome.FIRED]] * 24 == [await outcomes(here.store, name) for name in [*names, "talk"]]

    play(tmp_path, main, policies={**DEFAULTS, PolicyName.CRON: cron})


def test_many_at_once(tmp_path: Path) -> None:
    """Hundreds of jobs of one second all run once."""

    async def main(here: Inside) -> None:
        for number in range(300):
            await here.store.put_job(job(name=f"j{number}"), JobOrigin.API)
        here.clock.advance(MINUTE_MS)
        await calm(here)
        assert 300 == here.store.tallies().firings[FiringOutcome.FIRED]
        assert here.store.next_firing() == here.clock.now() + MINUTE_MS

    play(tmp_path, main)


def test_after_a_day(tmp_path: Path) -> None:
    """After a day without anybody, each of many jobs is made up for once, and the rest is told in one row."""

    async def main(here: Inside) -> None:
        for number in range(300):
            definition = job(name=f"j{number}", every_ms=None, cron="*/10 * * * *", timezone="Europe/Berlin")
            await here.store.put_job(definition, JobOrigin.API)
        here.clock.advance(DAY_MS)
        await calm(here)
        firings = here.store.tallies().firings
        assert (300, 300) == (firings[FiringOutcome.FIRED], firings[FiringOutcome.MISSED])
        assert {1, 100} == {firing.count for firing in await history(here.store, "j0")}

    play(tmp_path, main)


def test_run_now(tmp_path: Path) -> None:
    """A job runs when somebody asks, unless it runs, does not exist, or the gateway stops."""

    async def main(here: Inside) -> None:
        await here.store.put_job(job(prompt="/sleep 600"), JobOrigin.API)
        admitted = await here.intake.run_job("j")
        with pytest.raises(JobRunning):
            await here.intake.run_job("j")
        await here.store.cancel_session(admitted.session.id)
        with pytest.raises(JobNotFound):
            await here.intake.run_job("k")
        here.intake.close()
        with pytest.raises(Stopping):
            await here.intake.run_job("j")

    play(tmp_path, main)


def test_when_the_gateway_stops(tmp_path: Path) -> None:
    """The service touches nothing until it is cancelled, and nothing of that is a fault."""

    async def main(here: Inside) -> None:
        await here.store.put_job(job(), JobOrigin.API)
        here.clock.advance(MINUTE_MS)
        here.intake.close()
        with anyio.move_on_after(0.05) as scope:
            await here.cron.serve()
        assert scope.cancelled_caught
        assert [] == await history(here.store)

    play(tmp_path, main)


def test_the_answer_is_in_context(tmp_path: Path) -> None:
    """Whoever talks on in the chat talks to a model that has read the answer, as an assistant's."""
    model = PlayedModel(Answer(text="rain"), Answer(text="take an umbrella"))

    async def main(here: Inside) -> None:
        await here.store.put_job(job(deliver="chat:me", prompt="weather?"), JobOrigin.API)
        await tick(here)
        await here.say("me", "what shall I do?")
        read = model.prompts[1].bodies
        assert ["Assistant", "User"] == [type(body).__name__ for body in read]
        assert read[0].text.endswith("rain")

    play(tmp_path, main, model=model)


class Nothing(msgspec.Struct):
    """No arguments."""


def asking(name: str, called: list[str]) -> Tool:
    """Return a tool that a person has to allow."""

    async def run(_: Nothing, caller: object) -> str:
        called.append(name)
        return name

    return Tool(spec=spec(name, "asks", Nothing), run=decoded(Nothing, run), asks=True)


def test_allowed_tools(tmp_path: Path) -> None:
    """A tool that the job allows is called without asking; any other waits for a person, and the job with it."""
    called: list[str] = []
    calls = [
        ToolCall(call_id="1", tool="one", arguments="{}"),
        ToolCall(call_id="2", tool="two", arguments="{}"),
    ]
    model = PlayedModel(Answer(text="", calls=calls[:1]), Answer(text="", calls=calls[1:]))

    async def main(here: Inside) -> None:
        await here.store.put_job(job(allow_tools=("one",)), JobOrigin.API)
        (run,) = await tick(here)
        assert ("waiting", ["one"]) == (run.state, called)
        assert [] == await tick(here)
        assert here.store.run(run.id) == run
        assert [FiringOutcome.FIRED, FiringOutcome.SKIPPED] == await outcomes(here.store)

    play(tmp_path, main, model=model, tools=[asking("one", called), asking("two", called)])


def test_few_tools(tmp_path: Path) -> None:
    """The tools of a job bound those of its runs, and of the sub-agents below them."""
    spawn = ToolCall(call_id="1", tool="spawn_agent", arguments='{"task": "go on"}')
    model = PlayedModel(Answer(text="", calls=[spawn]), Answer(text="below"), Answer(text="above"))

    async def main(here: Inside) -> None:
        await here.store.put_job(job(tools=("spawn_agent", "emit")), JobOrigin.API)
        (run,) = await tick(here)
        assert run.outcome is Outcome.OK
        assert [{"spawn_agent", "emit"}] * 3 == [
            {tool.name for tool in prompt.tools} for prompt in model.prompts
        ]

    play(tmp_path, main, model=model, tools=offline_tools())


def test_a_job_goes_while_it_runs(tmp_path: Path) -> None:
    """Its run stops at once."""

    async def main(here: Inside) -> None:
        await here.store.put_job(job(prompt="/sleep 600"), JobOrigin.API)
        admitted = await here.intake.run_job("j")
        await here.store.remove_job("j")
        assert Outcome.CANCELLED == (await here.intake.outcome(admitted.run)).outcome
        with pytest.raises(FenceLost):
            await here.store.finish(admitted.run.lease, Outcome.OK)

    play(tmp_path, main)


def test_a_plan_without_a_job(tmp_path: Path) -> None:
    """A firing that was planned for a job which has gone comes to nothing."""

    async def main(here: Inside) -> None:
        await here.store.put_job(job(), JobOrigin.API)
        here.clock.advance(MINUTE_MS)
        made = known(here.store)
        await here.store.remove_job("j")
        assert [Shot.LOST] == await here.intake.fire([(made, plan(made, here.clock.now(), 0))])

    play(tmp_path, main)
