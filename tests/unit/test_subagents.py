import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest

from inside import Inside, inside
from tidegate.agent.model import Answer, Delta, Prompt, ToolCall
from tidegate.clock import MINUTE_MS
from tidegate.domain.budget import Budget
from tidegate.domain.entry import Assistant, Result, User
from tidegate.domain.run import Lane, Origin, RunState, Usage
from tidegate.domain.session import Kind, Outcome, PolicyName, State
from tidegate.domain.spawn import SpawnLimits
from tidegate.store.port import Page


class ScriptedModel:
    """A model whose answers are made from its prompts."""

    name = "scripted"

    def __init__(self, tokens: int = 0) -> None:
        self.answers = 0
        self._usage = Usage(input_tokens=tokens)

    def answer(self, prompt: Prompt, /) -> str | list[ToolCall]:
        """Make an answer."""
        raise NotImplementedError

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Answer."""
        self.answers += 1
        answer = self.answer(prompt)
        if isinstance(answer, str):
            yield Answer(text=answer, usage=self._usage)
        else:
            yield Answer(text="", calls=answer, usage=self._usage)


def spawn(call_id: str, arguments: str) -> ToolCall:
    """Return a call for a sub-agent."""
    return ToolCall(call_id=call_id, tool="spawn_agent", arguments=arguments)


class Bomb(ScriptedModel):
    """A model that always asks for more sub-agents."""

    def answer(self, _: Prompt, /) -> list[ToolCall]:
        """Ask for five."""
        return [spawn(f"{self.answers}-{at}", '{"task": "go on"}') for at in range(5)]


class Free(ScriptedModel):
    """A model that starts a sub-agent, does not wait, and tells what came back."""

    def answer(self, prompt: Prompt, /) -> str | list[ToolCall]:
        """Start, or tell."""
        last = prompt.bodies[-1]
        if isinstance(last, Result):
            return last.text
        assert isinstance(last, User)
        if last.text == "start":
            return [spawn("c1", '{"task": "work", "label": "helper", "wait": false}')]
        return f"heard: {last.text}"


async def ask(here: Inside, text: str) -> str:
    """Send a message to a chat and return the answer."""
    run, reply = await here.intake.answer(await here.send("c", text))
    assert run.outcome is Outcome.OK
    return reply


async def until(here: Inside, condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds; it is looked at after each commit."""
    changed = asyncio.Event()
    here.store.listen(lambda _: changed.set())
    while True:
        changed.clear()
        if await condition():
            return
        await changed.wait()


async def has_children(here: Inside, count: int) -> None:
    """Wait until so many sub-agents are at work."""

    async def is_so() -> bool:
        return await live_children(here) >= count

    await until(here, is_so)


async def live_children(here: Inside) -> int:
    """Count the sub-agents at work."""
    found = await here.store.sessions(Page(kinds=[Kind.SUBAGENT]))
    return sum(session.is_live for session in found)


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("/spawn 1 /echo hi", "1: hi"),
        ("/spawn 3 /echo hi", "1: hi\n2: hi\n3: hi"),
        ("/spawn 2 /spawn 2 /echo x", "1: 1: x\n2: x\n2: 1: x\n2: x"),
        (
            "/spawn 1 /spawn 1 /spawn 1 /echo x",
            "1: 1: 1: refused (sub-agents may be nested 2 deep)",
        ),
    ],
)
def test_results_come_back(tmp_path: Path, text: str, reply: str) -> None:
    """A parent waits for its children, however deep, and answers with what they said; none is left at work."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            assert reply == await ask(here, text)
            assert 0 == await live_children(here)

    asyncio.run(main())


def test_above_the_limit_children_are_refused(tmp_path: Path) -> None:
    """What is above the limit is refused, not queued, and the model reads why."""

    async def main() -> None:
        async with inside(tmp_path, limits=SpawnLimits(children=2)) as here:
            lines = (await ask(here, "/spawn 4 /sleep 0.05")).splitlines()
            refused = "refused (2 sub-agents are at work already, as many as one agent may have)"
            assert ["1: slept 0.05", "2: slept 0.05", f"3: {refused}", f"4: {refused}"] == lines

    asyncio.run(main())


def test_parents_do_not_deadlock(tmp_path: Path) -> None:
    """With one slot a lane, several trees finish: who waits holds no slot."""

    async def main() -> None:
        async with inside(tmp_path, slots=1) as here:
            texts = [f"/spawn 2 /spawn 2 /echo {number}" for number in range(3)]
            runs = [
                (await here.intake.message(f"c{at}", text, "main", is_named=False, receipt=None)).run
                for at, text in enumerate(texts)
            ]
            for number, run in enumerate(runs):
                expected = f"1: 1: {number}\n2: {number}\n2: 1: {number}\n2: {number}"
                assert expected == (await here.intake.answer(run))[1]

    asyncio.run(main())


def test_a_fork_bomb_ends(tmp_path: Path) -> None:
    """A model that always spawns runs into its budget: few answers, a clear failure, nothing left at work."""
    model = Bomb(tokens=1_000)

    async def main() -> None:
        async with inside(tmp_path, model, budget=Budget(max_tokens=60_000)) as here:
            run = await here.intake.outcome(await here.send("c", "go"))
            assert Outcome.FAILED is run.outcome
            assert run.error.startswith("the run has used its 60000 tokens")
            assert 0 == await live_children(here)

    asyncio.run(main())
    # each run may exceed its share by the answer that uses it up
    assert 60 <= model.answers <= 120


def test_cancelling_ends_the_tree(tmp_path: Path) -> None:
    """A cancelled chat ends everything at work below it, and the tasks that carry it out."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            run = await here.send("c", "/spawn 3 /spawn 3 /sleep 600")
            await has_children(here, 12)
            await here.store.cancel_run(run.id)
            assert 0 == await live_children(here)
            assert Outcome.CANCELLED is (await here.intake.outcome(run)).outcome
            for number in range(100):  # each write lets the tasks that were stopped get a turn
                await here.store.remember("turn", f"{number}")
            assert 0 == here.runner.running

    asyncio.run(main())


class Slow(ScriptedModel):
    """A model that has five sub-agents at work, each of which says half of what it has to say."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[str] = []
        self.speaking = 0
        self.all_speak = asyncio.Event()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Spawn, or begin to speak."""
        last = prompt.bodies[-1]
        self.prompts.append(last.text)
        if last.text == "go":
            calls = [spawn(f"c{at}", f'{{"task": "work {at}"}}') for at in range(5)]
            yield Answer(text="", calls=calls, usage=Usage())
        else:
            yield Delta(text=f"half of {last.text}")
            self.speaking += 1
            if self.speaking == 5:
                self.all_speak.set()
            await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("what", ["run", "session"])
def test_what_a_tree_was_saying_is_kept(tmp_path: Path, what: str) -> None:
    """A tree is cancelled at once: what each sub-agent has said is kept, and the parent does not hear of it first."""

    async def main() -> None:
        model = Slow()
        async with inside(tmp_path, model, slots=5) as here:
            run = await here.send("c", "go")
            await model.all_speak.wait()
            children = await here.store.sessions(Page(kinds=[Kind.SUBAGENT]))
            if what == "run":
                assert Outcome.CANCELLED is (await here.runner.cancel(run.id)).outcome
            else:
                assert (await here.runner.cancel_session(here.head("c").id)).turn_at is None
            for child in children:
                assert (head := here.store.session_by_id(child.id)) is not None
                assert (head.state, head.outcome) == (State.COMPLETED, Outcome.CANCELLED)
                asked, said = [entry.body for entry in await here.transcript(child.key)]
                assert isinstance(said, Assistant)
                assert (said.text, said.is_partial) == (f"half of {asked.text}", True)
            assert 6 == len(model.prompts)  # nobody was asked what to make of five cancelled sub-agents

    asyncio.run(main())


def test_a_result_comes_as_a_message(tmp_path: Path) -> None:
    """A parent that does not wait gets the result as a run of its own, in a lane that no person waits in."""

    async def main() -> None:
        async with inside(tmp_path, Free()) as here:
            started = await ask(here, "start")
            assert started.startswith("started: its result comes as a message from subagent:")
            session = here.head("c").id

            async def has_answered() -> bool:
                (run, *_) = await here.store.runs(state=None, session=session, before=99, limit=1)
                return (run.origin, run.lane, run.state) == (Origin.RESULT, Lane.SUBAGENT, RunState.DONE)

            await until(here, has_answered)
            last = (await here.texts("c"))[-1]
            assert last.startswith("heard: [result of the sub-agent 'helper', session subagent:")
            assert last.endswith("heard: work")

    asyncio.run(main())


def test_an_unnamed_request_has_no_later(tmp_path: Path) -> None:
    """A session that ends with its answer waits for each sub-agent, so that none works for nobody."""

    async def main() -> None:
        async with inside(tmp_path, Free()) as here:
            run, reply = await here.intake.answer(await here.ask(PolicyName.API, "start", "a"))
            assert (Outcome.OK, "heard: work") == (run.outcome, reply)
            assert 0 == await live_children(here)
            assert State.COMPLETED is here.head("a").state

    asyncio.run(main())


def test_a_restart_in_the_middle(tmp_path: Path) -> None:
    """A tree that was at work when the gateway died goes on after it, and each result comes once."""

    async def before() -> None:
        async with inside(tmp_path) as here:
            await here.send("c", "/spawn 2 /spawn 2 /sleep 0.05")
            await has_children(here, 6)

    async def after() -> None:
        async with inside(tmp_path) as here:
            (run,) = here.store.open_runs(here.head("c").id)
            _, reply = await here.intake.answer(run)
            assert "1: 1: slept 0.05\n2: slept 0.05\n2: 1: slept 0.05\n2: slept 0.05" == reply
            results = [entry for entry in await here.transcript("c") if isinstance(entry.body, Result)]
            assert 2 == len(results)

    asyncio.run(before())
    asyncio.run(after())


def test_a_child_has_less_time_than_its_parent(tmp_path: Path) -> None:
    """A child's deadline lies before that of an ephemeral parent, whatever it asks for."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            run = await here.ask(PolicyName.API, "/spawn 1 /sleep 60", "a")
            await has_children(here, 1)
            (child,) = await here.store.sessions(Page(kinds=[Kind.SUBAGENT]))
            assert (here.head("a").due_at or 0) - MINUTE_MS == child.due_at
            here.clock.advance(9 * MINUTE_MS)
            await here.sweeper.sweep()
            _, reply = await here.intake.answer(run)
            assert "1: timed out (it ended without an answer)" == reply
            assert State.COMPLETED is here.head("a").state

    asyncio.run(main())
