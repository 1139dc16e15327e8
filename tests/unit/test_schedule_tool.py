import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from tidegate.agent.model import ToolCall
from tidegate.agent.tools import Caller
from tidegate.clock import HOUR_MS, ManualClock
from tidegate.config import Agent, Config
from tidegate.domain.entry import Result, User
from tidegate.domain.job import MAX_JOBS_OF_MODEL, JobOrigin
from tidegate.domain.run import Lane, Origin
from tidegate.domain.session import PolicyName
from tidegate.engine import Engine, engine
from tidegate.store.admission import Admission, Birth

EVERY = '{"name": "j", "prompt": "look", "every": "1h"}'

Play = Callable[[Engine], Awaitable[None]]


def play(tmp_path: Path, main: Play, **agent: object) -> None:
    """Open the inside of a gateway and do something there."""

    async def played() -> None:
        config = Config(agents={"main": Agent(**agent)})  # type: ignore[arg-type]  # keys of an agent
        async with engine(config, tmp_path, ManualClock()) as here:
            await main(here)

    asyncio.run(played())


async def call(here: Engine, arguments: str, policy: PolicyName = PolicyName.CHAT) -> Result:
    """Call the tool from a session."""
    admission = Admission(
        key=f"{policy}-1",
        birth=Birth(policy=policy, agent="main"),
        lane=Lane.INTERACTIVE,
        origin=Origin.MESSAGE,
        bodies=[User(text="x")],
    )
    admitted = await here.intake.submit(admission)
    caller = Caller(session=admitted.session.id, run=admitted.run.id, agent="main")
    tools = here.agents["main"].tools
    assert tools.asks("schedule_job")
    result = await tools.call(ToolCall(call_id="c", tool="schedule_job", arguments=arguments), caller)
    assert isinstance(result, Result)
    return result


def test_a_model_makes_a_job(tmp_path: Path) -> None:
    """It is the agent's, runs by itself with the tools that only read, and answers in the conversation."""

    async def main(here: Engine) -> None:
        told = await call(here, EVERY)
        assert ("job 'j' is made; its answers come to this conversation", False) == (told.text, told.is_error)
        job = here.store.job("j")
        assert job is not None
        assert (JobOrigin.MODEL, "main") == (job.origin, job.creator)
        assert ("main", "isolated", "chat:chat-1") == (
            job.definition.agent,
            job.definition.session,
            job.definition.deliver,
        )
        tools = set(job.definition.tools or ())
        assert not tools & {"write_file", "edit_file", "shell", "web_fetch", "spawn_agent", "schedule_job"}
        assert tools <= here.agents["main"].tools.names

    play(tmp_path, main)


def test_the_configuration_names_its_tools(tmp_path: Path) -> None:
    """`job_tools` says what such a job may use, never more than the agent may."""

    async def main(here: Engine) -> None:
        await call(here, EVERY)
        job = here.store.job("j")
        assert job is not None
        assert ("emit",) == job.definition.tools

    play(tmp_path, main, tools=("emit", "schedule_job"), job_tools=("emit", "wait"))


@pytest.mark.parametrize("policy", [PolicyName.CRON, PolicyName.HOOK, PolicyName.SUBAGENT])
def test_jobs_do_not_beget_jobs(tmp_path: Path, policy: PolicyName) -> None:
    """Only a conversation with a person makes jobs."""

    async def main(here: Engine) -> None:
        told = await call(here, EVERY, policy)
        assert told.is_error
        assert "only a conversation" in told.text
        assert here.store.job("j") is None

    play(tmp_path, main)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"every": "1s"}, "every: must be at least 1m"),
        ({"cron": "@daily"}, "exclude each other"),
        ({"prompt": " "}, "it says nothing"),
        ({"session": "other"}, "wrong arguments"),
        ({"tools": ["shell"]}, "wrong arguments"),
    ],
)
def test_nonsense(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    """The model reads why its job was not made; it cannot choose where the job runs or with what."""

    async def main(here: Engine) -> None:
        wanted = {**msgspec.json.decode(EVERY), **changes}
        told = await call(here, msgspec.json.encode(wanted).decode())
        assert told.is_error
        assert says in told.text

    play(tmp_path, main)


def test_there_are_few(tmp_path: Path) -> None:
    """An agent makes so many and no more; a name is taken once."""

    async def main(here: Engine) -> None:
        for _ in range(MAX_JOBS_OF_MODEL):
            assert not (await call(here, '{"prompt": "look", "every": "1h"}')).is_error
        assert "made by the agent" in (await call(here, EVERY)).text

    play(tmp_path, main)


def test_runs_of_jobs_have_skills(tmp_path: Path) -> None:
    """A session that a job makes begins with the skills of its agent, also the first one that ever does."""
    skill = tmp_path / "workspace" / "skills" / "tea"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: tea\ndescription: how to make tea\n---\nBoil water.\n")

    async def main(here: Engine) -> None:
        clock = here.clock
        assert isinstance(clock, ManualClock)
        for name in ("one", "two"):
            values: dict[str, object] = {"name": name, "prompt": "/echo hi", "every": "1h", "agent": "main"}
            await here.jobs.make(values, JobOrigin.API)
        clock.advance(HOUR_MS)
        assert 2 == await here.cron.fire_due()
        await cancel_all(here)
        await here.intake.run_job("one")
        runs = await here.store.runs(state=None, session=None, before=1 << 60, limit=10)
        sessions = [here.store.session_by_id(run.session) for run in runs]
        assert 3 == len(sessions)
        assert {here.skills.choice("main").snapshot.name} == {head.snapshot for head in sessions if head}

    play(tmp_path, main)


async def cancel_all(here: Engine) -> None:
    """Cancel what has been fired, since nothing carries it out here."""
    for run in await here.store.runs(state=None, session=None, before=1 << 60, limit=10):
        await here.intake.cancel(run.id)
