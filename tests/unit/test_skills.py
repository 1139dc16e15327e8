import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import msgspec
import pytest

from inside import PlayedModel
from shelves import skill
from tidegate.agent.model import Answer, Prompt, ToolCall
from tidegate.agent.skills.place import Place, Source
from tidegate.agent.skills.reach import Reach
from tidegate.bounded import Registry
from tidegate.clock import ManualClock
from tidegate.config import Config
from tidegate.config.tree import Agent
from tidegate.domain.entry import User
from tidegate.domain.run import Lane, Origin
from tidegate.domain.session import PolicyName
from tidegate.engine import Engine, engine
from tidegate.runtime.library import CACHE_BYTES
from tidegate.runtime.skills import Skills
from tidegate.store.admission import Admission, Birth
from tidegate.store.sqlite import NAME
from work import delete

pytestmark = pytest.mark.anyio

BUNDLED = ["daily-brief", "review-a-change", "write-a-skill"]
SEEN_S = 1.0  # a change is known within this time


@asynccontextmanager
async def followed(*folders: Path) -> AsyncIterator[Skills]:
    """Follow what changes in folders of skills of the agent `main`."""
    places = tuple(Place(Source.USER, folder, folder) for folder in folders)
    skills = Skills({"main": Reach(places=places)}, Registry())
    await skills.load()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(skills.serve())
        try:
            yield skills
        finally:
            serving.cancel()


def names(skills: Skills) -> list[str]:
    """Return which skills there are now."""
    return [one.name for one in skills.choice("main").listings if one.is_used]


async def until(holds: Callable[[], bool], limit_s: float = SEEN_S) -> None:
    """Wait for what has to come true in time."""
    async with asyncio.timeout(limit_s):
        while not holds():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.01)


async def test_changes_are_seen_in_time(tmp_path: Path) -> None:
    """A skill that comes, changes, is renamed or goes is known within a second, also in a folder that comes later."""
    async with followed(tmp_path / "a", tmp_path / "b") as skills:
        place = skill(tmp_path / "a", "one")
        await until(lambda: names(skills) == ["one"])
        before = skills.offer("main")
        skill(tmp_path / "a", "one", body="other")
        await until(lambda: skills.offer("main") != before)
        place.rename(place.with_name("two"))
        await until(
            lambda: names(skills) == ["one"] and skills.folder("main", "one") == place.with_name("two")
        )
        for number in range(100):
            skill(tmp_path / "b", f"b-{number}")
        await until(lambda: len(names(skills)) == 101)
        (tmp_path / "b").rename(tmp_path / "c")
        await until(lambda: names(skills) == ["one"])
        assert skills.folder("main", "b-1") is None


async def test_nothing_is_new_while_nothing_changes(tmp_path: Path) -> None:
    """What an agent has stays the same object until something changes."""
    skill(tmp_path, "one")
    async with followed(tmp_path) as skills:
        before = skills.choice("main")
        await asyncio.sleep(0)
        assert skills.choice("main") is before
        assert skills.offer("other") is None


async def test_stocked(tmp_path: Path) -> None:
    """An offer with bytes has those of every skill; one that is being changed is left out."""
    first, _ = skill(tmp_path, "one"), skill(tmp_path, "two")
    skills = Skills({"main": Reach(places=(Place(Source.USER, tmp_path, tmp_path),))}, Registry())
    await skills.load()
    whole = await skills.stocked("main")
    offer = skills.offer("main")
    assert offer is not None
    assert whole.snapshot == offer.snapshot
    assert (first / "SKILL.md").read_bytes() in whole.bodies.values()
    skill(tmp_path, "one", body="other")
    part = await skills.stocked("main")
    assert [ref.name for ref in part.snapshot.skills] == ["two"]
    assert set(part.bodies) == {ref.blob for ref in part.snapshot.skills}


@pytest.fixture(autouse=True)
def _no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a user without skills."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))


@pytest.fixture
def anyio_backend() -> str:
    """Run in asyncio's own loop."""
    return "asyncio"


@asynccontextmanager
async def running(
    state: Path, model: PlayedModel | None = None, config: Config | None = None
) -> AsyncIterator[Engine]:
    """Open the engine on a state folder and let it carry out runs; files are looked at when a test says so."""
    async with engine(config or Config(), state, ManualClock()) as here, asyncio.TaskGroup() as tasks:
        await here.store.recover()
        if model is not None:
            agents = here.agents
            assert isinstance(agents, dict)
            agents["main"] = msgspec.structs.replace(agents["main"], model=model)
        serving = tasks.create_task(here.runner.serve())
        yield here
        serving.cancel()


async def said(here: Engine, key: str, text: str) -> str:
    """Send a message and return its answer."""
    admitted = await here.intake.message(key, text, "main", is_named=False, receipt=None)
    return (await here.intake.answer(admitted.run))[1]


def tools_of(prompt: Prompt) -> list[str]:
    """Return the names of the tools that a model was told of."""
    return [spec.name for spec in prompt.tools]


def told_of(prompt: Prompt) -> list[str]:
    """Return the names of the skills that a model was told of."""
    lines = prompt.instructions.splitlines()
    return [line[2:].partition(":")[0] for line in lines if line.startswith("- ")]


async def test_a_model_is_told_of_skills(tmp_path: Path) -> None:
    """The prompt has the instructions of the agent, then the skills by name, and the tool that reads them."""
    skill(tmp_path / "workspace" / "skills", "foo", description="Does foo.")
    model = PlayedModel(Answer(text="hi"))
    config = Config(agents={"main": Agent(instructions="Be kind.")})
    async with running(tmp_path, model, config) as here:
        await said(here, "c", "hello")
    (prompt,) = model.prompts
    assert prompt.instructions.startswith("Be kind.\n\nYou have skills")
    assert "\n- foo: Does foo.\n" in prompt.instructions
    assert told_of(prompt) == sorted([*BUNDLED, "foo"])
    assert "skill" in tools_of(prompt)


@pytest.mark.parametrize("agent", [Agent(allow_skills=()), Agent(tools=())], ids=["no skills", "no tool"])
async def test_nothing_to_tell(tmp_path: Path, agent: Agent) -> None:
    """An agent that may use no skill, or not the tool, is told of neither."""
    model = PlayedModel(Answer(text="hi"))
    async with running(tmp_path, model, Config(agents={"main": agent})) as here:
        await said(here, "c", "hello")
    (prompt,) = model.prompts
    assert (prompt.instructions, "skill" in tools_of(prompt)) == ("", False)


async def test_a_session_keeps_its_skills(tmp_path: Path) -> None:
    """What a session reads is what its snapshot holds, not what lies on the disk by now, also after a restart."""
    place = tmp_path / "workspace" / "skills"
    folder = skill(place, "foo", body="# Old\n")
    reads = Answer(text="", calls=[ToolCall(call_id="1", tool="skill", arguments='{"name":"foo"}')])
    async with running(tmp_path) as here:
        here.runner.stop()
        admission = Admission(
            key="job",
            birth=Birth(policy=PolicyName.CRON, agent="main"),
            lane=Lane.INTERACTIVE,
            origin=Origin.FIRING,
            bodies=[User(text="/skill foo")],
        )
        job = await here.intake.submit(admission)
    skill(place, "foo", description="New.", body="# New\n")
    model = PlayedModel(reads, Answer(text="read"))
    async with running(tmp_path, model) as here:
        run = await here.intake.outcome(job.run)
        texts = [entry.body.text for entry in await here.store.entries(run.session, 0, 100)]
        assert texts[2] == "# Old\n"
        assert "- foo: Does it." in model.prompts[0].instructions
        model.replies = [Answer(text="hi")]
        await said(here, "chat", "hello")
        assert "- foo: New." in model.prompts[-1].instructions
    assert folder.exists()


async def test_offline(tmp_path: Path) -> None:
    """The offline model reads a skill and answers with its first heading."""
    skill(tmp_path / "workspace" / "skills", "foo", body="Text.\n\n## The *first* one ##\n\n# Next\n")
    async with running(tmp_path) as here:
        assert await said(here, "c", "/skill foo") == "The *first* one"
        assert await said(here, "c", "/skill daily-brief") == "Daily brief"
        assert (await said(here, "c", "/skill bar")).startswith(
            "there is no skill 'bar'; there is: daily-brief, foo"
        )
        assert await said(here, "c", "/skill") == "Usage: /skill NAME"


async def test_sessions_share(tmp_path: Path) -> None:
    """Sessions with the same skills have one snapshot, each changed skill is one blob more, and all goes in the end."""
    place = tmp_path / "workspace" / "skills"
    for number in range(22):
        skill(place, f"s-{number}", body="x" * 1_800)
    async with running(tmp_path) as here:
        for number in range(20):
            await said(here, f"c-{number}", "/echo hi")
        tallies = here.store.tallies()
        assert (tallies.snapshots, tallies.blobs) == (1, 25)
        skill(place, "s-1", body="changed")
        await here.skills.load()
        await said(here, "new", "/echo hi")
        assert (here.store.tallies().snapshots, here.store.tallies().blobs) == (2, 26)
        for key in [f"c-{number}" for number in range(20)]:
            session = here.store.session(key)
            assert session is not None
            await delete(here.store, session)
        assert (here.store.tallies().snapshots, here.store.tallies().blobs) == (1, 25)
        assert set((await here.store.orphans()).values()) == {0}


async def test_many_at_once_after_a_change(tmp_path: Path) -> None:
    """Sessions that are born side by side with skills that the store lacks all get them, stored once."""
    skill(tmp_path / "workspace" / "skills", "foo")
    async with running(tmp_path) as here, asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(said(here, f"c-{number}", "/skill foo"))
    async with running(tmp_path) as here:
        assert here.store.tallies().snapshots == 1
        sessions = [here.store.session(f"c-{number}") for number in range(50)]
        assert len({session.snapshot for session in sessions if session}) == 1


async def test_a_lost_text_does_no_harm(tmp_path: Path) -> None:
    """A damaged blob costs the skill its text, not the run, and not the gateway."""
    skill(tmp_path / "workspace" / "skills", "foo")
    async with running(tmp_path) as here:
        await said(here, "c", "/echo hi")
    connection = apsw.Connection(str(tmp_path / NAME))
    connection.execute("UPDATE chunks SET body = zeroblob(length(body))")
    connection.close()
    model = PlayedModel(
        Answer(text="", calls=[ToolCall(call_id="1", tool="skill", arguments='{"name":"foo"}')]),
        Answer(text="lost"),
    )
    async with running(tmp_path, model) as here:
        assert await said(here, "c", "go") == "lost"
        session = here.store.session("c")
        assert session is not None
        texts = [entry.body.text for entry in await here.store.entries(session.id, 0, 100)]
        assert texts[-2].startswith("the text of the skill 'foo' is lost")
    assert told_of(model.prompts[0]) == sorted([*BUNDLED, "foo"])


async def test_catalogs_are_bounded(tmp_path: Path) -> None:
    """However often skills change, what is kept of their catalogs stays within its bound."""
    place = tmp_path / "workspace" / "skills"
    async with running(tmp_path) as here:
        for number in range(40):
            for name in ("a", "b", "c", "d"):
                skill(place, name, description=f"{number} {'x' * 1_000}")
            await here.skills.load()
            await said(here, "c", "/echo hi")
        gauges = {gauge.name: gauge for gauge in here.registry}
        assert 0 < gauges["skill_catalogs"].entries <= gauges["skill_catalogs"].limit == CACHE_BYTES
        assert gauges["skill_folders"].entries == 7
        assert here.store.tallies().snapshots == 1
