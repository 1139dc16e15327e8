import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest

from inside import Inside, inside
from tidegate.agent.model import Answer, Delta, Prompt, ToolCall, ToolSpec
from tidegate.agent.offline import OfflineModel
from tidegate.agent.tools import Caller, Tool
from tidegate.clock import HOUR_MS
from tidegate.config import Compaction as Rules
from tidegate.domain.approval import Decision
from tidegate.domain.compaction import Compaction, CompactionOutcome, Reason
from tidegate.domain.entry import Assistant, Call, Entry, Notice, Result, Summary, System, User
from tidegate.domain.run import Lane, Origin, Step, Usage
from tidegate.domain.session import Outcome, PolicyName, State
from tidegate.errors import CompactionFailed, ContextOverflow, ModelFailed, SessionNotFound, WrongState
from tidegate.runtime import mover
from tidegate.runtime.compaction import Part
from tidegate.store.admission import Admission, Birth
from tidegate.store.context import Replacement

WINDOW = 4_000  # bytes of a prompt
LONG = "x" * 400


class Listening:
    """The offline model, which keeps its prompts; *summarise* stands in for it where a summary is asked for."""

    name = "listening"

    def __init__(
        self, summarise: Callable[[Prompt], AsyncGenerator[Delta | Answer, None]] | Exception | None = None
    ) -> None:
        self.prompts: list[Prompt] = []
        self.summarise = summarise
        self._offline = OfflineModel()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Answer as the offline model does."""
        self.prompts.append(prompt)
        if prompt.summary_bytes and isinstance(self.summarise, Exception):
            raise self.summarise
        if prompt.summary_bytes and callable(self.summarise):
            async for part in self.summarise(prompt):
                yield part
            return
        async for part in self._offline.stream(prompt):
            yield part

    @property
    def answered(self) -> list[Prompt]:
        """The prompts that were no summaries."""
        return [prompt for prompt in self.prompts if not prompt.summary_bytes]


def run(
    work: Callable[[Inside], Awaitable[None]],
    folder: Path,
    model: Listening,
    rules: Rules = Rules(),  # noqa: B008 - it never changes
    *,
    window: int = WINDOW,
) -> None:
    """Do something inside a gateway with a small window."""

    async def main() -> None:
        async with inside(folder, model, max_prompt_bytes=window, rules=rules) as here:
            await work(here)

    asyncio.run(main())


async def summaries(here: Inside, key: str = "c") -> list[Entry]:
    """Return the summaries of a session."""
    return [entry for entry in await here.transcript(key) if isinstance(entry.body, Summary)]


async def talk(here: Inside, count: int, key: str = "c") -> None:
    """Say something long several times."""
    for number in range(count):
        assert (await here.say(key, f"/echo {number} {LONG}")).outcome is Outcome.OK


def test_a_long_chat_goes_on_with_a_summary(tmp_path: Path) -> None:
    """Above the window older entries become a summary: the prompt stays bounded, the transcript whole and readable."""
    model = Listening()

    async def work(here: Inside) -> None:
        await talk(here, 40)
        texts = [entry.body.text for entry in await here.transcript("c") if isinstance(entry.body, User)]
        found = await summaries(here)
        head = here.head("c")

        assert texts == [f"/echo {number} {LONG}" for number in range(40)]
        assert 5 < len(found) < 15
        assert head.hot_entries < 20
        last = model.answered[-1].bodies
        assert [type(body) for body in last[:1]] == [Summary]
        assert last[0].text == found[-1].body.text
        assert all(sum(len(body.text) for body in prompt.bodies) <= WINDOW for prompt in model.prompts)
        assert last[-1].text == f"/echo 39 {LONG}"
        sent = [body.text for body in last[1:] if isinstance(body, User)]
        assert sent == texts[-len(sent) :]
        assert found[-1].body.text.startswith(f"offline summary of {40 - len(sent)} messages")
        assert here.store.tallies().segments == len(found)
        assert here.runner.compactor.counts[CompactionOutcome.OK] == len(found)

    run(work, tmp_path, model)


def test_a_chat_from_the_archive_goes_on_with_its_summary(tmp_path: Path) -> None:
    """An archived chat that is taken up again is read as before: the summary and the last turns."""
    model = Listening()

    async def work(here: Inside) -> None:
        await talk(here, 12)
        await here.say("c", "/echo before")
        await mover.archive(here.store, here.head("c"))
        assert (here.head("c").state, here.head("c").hot_entries) == (State.ARCHIVED, 0)
        await here.say("c", "/echo after")

        before, after = model.answered[-2].bodies, model.answered[-1].bodies
        assert [*[body.text for body in before], "before", "/echo after"] == [body.text for body in after]
        assert isinstance(after[0], Summary)

    run(work, tmp_path, model)


def test_a_compaction_is_asked_for_by_a_message(tmp_path: Path) -> None:
    """The message /compact is no question for the model: all but the last turn becomes a summary."""
    model = Listening()

    async def work(here: Inside) -> None:
        for number in range(3):
            await here.say("c", f"/echo {number}")
        run = await here.say("c", " /compact\n")
        assert (await here.intake.answer(run))[1] == "4 entries are now a summary."
        (summary,) = await summaries(here)
        assert isinstance(summary.body, Summary)
        assert (summary.seq, summary.body.through) == (8, 4)
        assert here.head("c").cold_through == 4
        assert len(model.answered) == 3

        await here.say("c", "/echo on")
        texts = [body.text for body in model.answered[-1].bodies]
        assert texts == [
            summary.body.text,
            *("/echo 2", "2", " /compact\n", "4 entries are now a summary.", "/echo on"),
        ]
        answer = await here.intake.answer(await here.say("new", "/compact"))
        assert answer[1] == "There is nothing to compact."

    run(work, tmp_path, model)


@pytest.mark.parametrize("prompt", [User(text="/compact"), Notice(text="n", command="/compact")])
def test_a_crash_behind_a_summary_repeats_nothing(tmp_path: Path, prompt: User | Notice) -> None:
    """A command whose summary was durable before a crash is done: no model is asked, and no second summary made."""
    model = Listening()

    async def begin(here: Inside) -> None:
        here.runner.stop()
        for number in range(3):
            await here.send("c", f"/echo {number}")
        admission = Admission(
            key="c",
            birth=Birth(policy=PolicyName.CHAT, agent="main"),
            lane=Lane.INTERACTIVE,
            origin=Origin.MESSAGE,
            bodies=[prompt],
        )
        await here.store.admit(admission)
        for _ in range(3):
            claimed = await here.store.claim(Lane.INTERACTIVE)
            assert claimed is not None
            answer = Step(bodies=[Assistant(text="a")])
            await here.store.finish(claimed.run.lease, Outcome.OK, step=answer)
        claimed = await here.store.claim(Lane.INTERACTIVE)
        assert claimed is not None
        segments = await here.store.pack(claimed.session.id, 1 << 30, 4)
        made = Replacement(
            summary=Summary(text="so far", through=4),
            before=None,
            segments=segments,
            usage=Usage(),
            model="m",
        )
        await here.store.compact(claimed.run.lease, made)

    async def go_on(here: Inside) -> None:
        (run, *_) = await here.store.runs(state=None, session=None, before=1 << 60, limit=9)
        assert (await here.intake.outcome(run)).outcome is Outcome.OK
        assert len(await summaries(here)) == 1
        assert model.prompts == []

    run(begin, tmp_path, model)
    run(go_on, tmp_path, model)


def test_requests_at_once_are_one(tmp_path: Path) -> None:
    """Whoever asks while a compaction is waited for shares it; it has a turn of its own."""
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slow(prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        begun.set()
        await gate.wait()
        yield Answer(text="they talked")

    model = Listening(slow)

    async def work(here: Inside) -> None:
        await talk(here, 3)
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(here.conversations.compact(here.head("c"))) for _ in range(5)]
            await begun.wait()
            late = await here.send("c", "/echo late")
            gate.set()
        assert [task.result().is_done for task in asked] == [True] * 5
        await here.intake.outcome(late)

        assert [entry.body.text for entry in await summaries(here)] == ["they talked"]
        kinds = [type(entry.body) for entry in (await here.transcript("c"))[6:]]
        assert kinds == [Notice, Summary, User, Assistant]

    run(work, tmp_path, model)


@pytest.mark.parametrize("failure", [ModelFailed("it is ill"), ContextOverflow("too much")])
def test_a_failed_compaction_changes_nothing(tmp_path: Path, failure: ModelFailed) -> None:
    """Without a summary everything is as it was, and the chat goes on with its newest turns."""
    model = Listening(failure)

    async def work(here: Inside) -> None:
        await talk(here, 12)
        assert (await summaries(here), here.store.tallies().segments) == ([], 0)
        assert here.head("c").hot_entries == 24
        assert all(sum(len(body.text) for body in prompt.bodies) <= WINDOW for prompt in model.answered)
        with pytest.raises(CompactionFailed, match=failure.message):
            await here.conversations.compact(here.head("c"))
        assert here.head("c").cold_through == 0

        model.summarise = None
        here.clock.advance(HOUR_MS)  # it rests meanwhile
        await talk(here, 1)
        assert (await summaries(here))[0].body.text.startswith("offline summary of 4 messages")
        assert (await summaries(here))[-1].body.text.startswith("offline summary of 12 messages")

    run(work, tmp_path, model)


def test_a_compaction_has_a_deadline(tmp_path: Path) -> None:
    """What takes too long is given up and changes nothing."""

    async def never(prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        yield Delta(text="They")
        await asyncio.Event().wait()

    async def work(here: Inside) -> None:
        for number in range(3):
            await here.say("c", f"/echo {number}")
        before = here.head("c")
        with pytest.raises(CompactionFailed, match=r"longer than 0\.01 s"):
            await here.conversations.compact(before)
        assert (here.head("c").cold_through, await summaries(here)) == (0, [])
        assert here.runner.compactor.counts[CompactionOutcome.TIMED_OUT] == 1

    run(work, tmp_path, Listening(never), Rules(deadline_ms=10))


def test_others_take_part(tmp_path: Path) -> None:
    """Before and after each compaction others are told ids and counts; who fails or is slow does not hold it up."""
    told: list[tuple[str, Compaction]] = []

    async def note(what: Compaction) -> None:
        told.append(("before" if what.summary_seq is None else "after", what))

    async def crash(_: Compaction) -> None:
        raise ZeroDivisionError

    async def lapse(_: Compaction) -> None:
        raise TimeoutError

    async def hang(_: Compaction) -> None:
        await asyncio.Event().wait()

    async def work(here: Inside) -> None:
        compactor = here.runner.compactor
        compactor.listen(
            before=[Part("crash", crash), Part("hang", hang, 0.01), Part("note", note)],
            after=[Part("crash", crash), Part("lapse", lapse), Part("note", note)],
        )
        for number in range(3):
            await here.say("c", f"/echo {number}")
        await here.conversations.compact(here.head("c"))

        (first, before), (second, after) = told
        assert (first, second) == ("before", "after")
        assert (before.first_seq, before.last_seq, before.entries, before.reason) == (1, 4, 4, Reason.ASKED)
        assert (before.key, before.agent, before.session) == ("c", "main", here.head("c").id)
        assert (after.summary_seq, after.last_seq) == (8, 4)
        assert before.tokens > 0
        assert compactor.failures == {"before": 2, "after": 2}

    run(work, tmp_path, Listening())


def test_an_overflow_is_compacted(tmp_path: Path) -> None:
    """A provider that finds the prompt too long gets it with a summary, and the run goes well."""

    class Narrow(Listening):
        async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
            if sum(len(body.text) for body in prompt.bodies) > WINDOW // 2:
                self.prompts.append(prompt)
                raise ContextOverflow("too long")
            async for part in super().stream(prompt):
                yield part

    model = Narrow()

    async def work(here: Inside) -> None:
        await talk(here, 10)
        assert len(await summaries(here)) > 1

    run(work, tmp_path, model)


def test_a_long_turn_is_compacted_between_its_steps(tmp_path: Path) -> None:
    """A run that calls many tools goes on with a summary, its question, and what comes after."""
    steps = 12

    async def fetch(arguments: str, _: Caller) -> str:
        return arguments + "y" * 600

    class Working(Listening):
        async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
            if prompt.summary_bytes:
                async for part in super().stream(prompt):
                    yield part
                return
            self.prompts.append(prompt)
            number = len(self.answered)
            call = ToolCall(call_id=f"c{number}", tool="fetch", arguments=f"[{number}]")
            yield Answer(text="" if number < steps else "done", calls=[call] if number < steps else [])

    model = Working()
    tool = Tool(spec=ToolSpec(name="fetch", description="", parameters={}), run=fetch)

    async def main() -> None:
        async with inside(tmp_path, model, tools=[tool], max_prompt_bytes=WINDOW) as here:
            run = await here.say("c", "question")
            assert (run.outcome, (await here.intake.answer(run))[1]) == (Outcome.OK, "done")
            found = await summaries(here)
            assert len(found) > 1
            assert isinstance(found[-1].body, Summary)
            assert found[-1].body.pinned == (1,)
            entries = await here.transcript("c")
            results = [entry.body for entry in entries if isinstance(entry.body, Result)]
            assert [result.text[:4].rstrip("y") for result in results] == [f"[{n}]" for n in range(1, steps)]
            for prompt in model.answered:
                assert "question" in [body.text for body in prompt.bodies if isinstance(body, User)]
                calls = [body.call_id for body in prompt.bodies if isinstance(body, Call)]
                assert calls == [body.call_id for body in prompt.bodies if isinstance(body, Result)]
                assert all("interrupted" not in body.text for body in prompt.bodies)

    asyncio.run(main())


def test_what_is_pinned_stays(tmp_path: Path) -> None:
    """Instructions of requests, and the first message if that is wished, are read beside every later summary."""
    model = Listening()

    async def work(here: Inside) -> None:
        await here.intake.submit(
            Admission(
                key="c",
                birth=Birth(policy=PolicyName.API_NAMED, agent="main"),
                lane=Lane.INTERACTIVE,
                origin=Origin.MESSAGE,
                bodies=[System(text="be kind"), User(text="/echo first")],
            )
        )
        await talk(here, 30)
        assert len(await summaries(here)) > 3
        assert [body.text for body in model.answered[-1].bodies[:2]] == ["be kind", "/echo first"]
        assert isinstance(model.answered[-1].bodies[2], Summary)

    run(work, tmp_path, model, Rules(keep_first=True))


def test_a_skill_that_was_read_stays(tmp_path: Path) -> None:
    """A skill is read beside every later summary, the latest reading of it, with its call."""
    model = Listening()

    async def work(here: Inside) -> None:
        readings = [
            body
            for number in range(2)
            for body in (
                Call(tool="skill", call_id=f"{number}", text="{}"),
                Result(tool="skill", call_id=f"{number}", text=f"# Reading {number} {'s' * 300}"),
            )
        ]
        await here.intake.submit(
            Admission(
                key="c",
                birth=Birth(policy=PolicyName.API_NAMED, agent="main"),
                lane=Lane.INTERACTIVE,
                origin=Origin.MESSAGE,
                bodies=[User(text="q"), *readings, Assistant(text="a"), User(text="/echo x")],
            )
        )
        await talk(here, 30)
        assert len(await summaries(here)) > 3
        call, result, summary, *rest = model.answered[-1].bodies
        assert (isinstance(call, Call), isinstance(summary, Summary)) == (True, True)
        assert result.text.startswith("# Reading 1")
        assert not any(isinstance(body, Call | Result) for body in rest)

    run(work, tmp_path, model)


def test_more_than_one_summary_can_take_in(tmp_path: Path) -> None:
    """What has been said without a summary, however much, is summarised in parts, the oldest first."""
    model = Listening()

    async def work(here: Inside) -> None:
        steps = [Assistant(text=f"{number} {LONG}") for number in range(60)]
        run = await here.intake.submit(
            Admission(
                key="c",
                birth=Birth(policy=PolicyName.API_NAMED, agent="main"),
                lane=Lane.INTERACTIVE,
                origin=Origin.MESSAGE,
                bodies=[body for step in steps for body in (User(text="q"), step)] + [User(text="/echo x")],
            )
        )
        assert (await here.intake.answer(run.run))[1] == "x"
        found = await summaries(here)
        counts = [int(entry.body.text.split()[3]) for entry in found]
        assert counts == sorted(counts)
        assert len(found) > 4
        await here.say("c", "/echo y")
        assert (await summaries(here))[-1].body.text.startswith("offline summary of 5")
        assert here.head("c").hot_entries < 30
        assert all(sum(len(body.text) for body in prompt.bodies) <= WINDOW * 2 for prompt in model.prompts)

    run(work, tmp_path, model)


def test_a_person_is_not_waited_for(tmp_path: Path) -> None:
    """While a run waits for a person's word a request is kept, one for all who ask, and answered: it is not done."""
    tool = Tool(spec=ToolSpec(name="shell", description="", parameters={}), run=lambda *_: never(), asks=True)

    async def never() -> str:
        return "ran"

    async def main() -> None:
        async with inside(tmp_path, Listening(), tools=[tool]) as here:
            await here.say("c", "/echo x")
            await here.say("c", "/run ls")
            found = [await here.conversations.compact(here.head("c")) for _ in range(3)]
            assert [(one.is_done, one.has_summary) for one in found] == [(False, False)] * 3
            (approval,) = await here.store.approvals(state=None, session=None, before=None, limit=9)
            await here.store.decide(approval.id, Decision.DENY)
            last = await here.conversations.compact(here.head("c"))
            assert (last.is_done, last.has_summary, len(await summaries(here))) == (True, True, 1)

    asyncio.run(main())


def test_what_a_summary_takes_is_counted(tmp_path: Path) -> None:
    """The tokens of a summary are the run's and the day's; it is no step of the run."""

    async def dear(prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        yield Answer(text="s", usage=Usage(input_tokens=1_000_000, output_tokens=1))

    async def work(here: Inside) -> None:
        for number in range(2):
            await here.say("c", f"/echo {number}")
        run = await here.say("c", "/compact")
        assert (run.usage.input_tokens, run.usage.output_tokens, run.steps) == (1_000_000, 1, 0)

    run(work, tmp_path, Listening(dear))


def test_a_chat_begins_afresh(tmp_path: Path) -> None:
    """The message /new opens another conversation under the key; what was said before is archived and readable."""
    model = Listening()

    async def work(here: Inside) -> None:
        await here.say("c", "/echo old")
        old = here.head("c")
        run = await here.say("c", "/new")
        former = f"c~{old.id}"
        told = f"A new conversation. What was said before stands in {former}."

        assert (await here.intake.answer(run))[1] == told
        assert await here.texts("c") == [told, "/new", told]
        assert (here.head(former).id, here.head(former).state) == (old.id, State.ARCHIVED)
        assert await here.texts(former) == ["/echo old", "old"]
        await here.say("c", "/echo on")
        assert [body.text for body in model.answered[-1].bodies] == ["/new", told, "/echo on"]
        assert here.head("c").title == "/echo on"

        again = await here.conversations.renew(here.head("c"))
        assert again.former is not None
        assert (await here.conversations.renew(again.session)).former is None

    run(work, tmp_path, model)


def test_what_runs_goes_on_under_another_key(tmp_path: Path) -> None:
    """A conversation that works when another one takes its key is not disturbed, nor archived."""
    gate = asyncio.Event()

    async def slow(arguments: str, _: Caller) -> str:
        await gate.wait()
        return "late"

    async def main() -> None:
        tool = Tool(spec=ToolSpec(name="wait", description="", parameters={}), run=slow)
        async with inside(tmp_path, Listening(), tools=[tool]) as here:
            run = await here.send("c", "/sleep 5")
            renewed = await here.conversations.renew(here.head("c"))
            assert renewed.former is not None
            gate.set()
            assert (await here.intake.answer(run))[1] == "slept 5"
            assert here.head(renewed.former.key).state is State.ACTIVE
            assert (await here.texts(renewed.former.key))[-1] == "slept 5"

    asyncio.run(main())


def test_a_chat_branches_off(tmp_path: Path) -> None:
    """A fork shares what was said before an entry, summary included; the original stays as it was."""
    model = Listening()

    async def work(here: Inside) -> None:
        await talk(here, 12)
        await here.say("c", f"/big {70_000}")
        await here.say("c", "/echo mistaken")
        before, texts = here.head("c"), await here.texts("c")
        seq = texts.index("/echo mistaken") + 1
        forked = await here.conversations.fork(before, seq, None, "/echo right")
        assert forked.run is not None
        assert (await here.intake.answer(forked.run))[1] == "right"

        assert (here.head("c"), await here.texts("c")) == (before, texts)
        mistaken, right = model.answered[-2].bodies, model.answered[-1].bodies
        assert [body.text for body in mistaken[:-1]] == [body.text for body in right[:-1]]
        assert any(isinstance(body, Summary) for body in right)
        assert forked.session.key == f"chat:{forked.session.id}"
        assert any(
            "Branched off from c before its entry" in text for text in await here.texts(forked.session.key)
        )
        await mover.delete(here.store, before)
        assert sum((await here.store.orphans()).values()) == 0
        blob = next(entry.body.blob for entry in await here.transcript(forked.session.key) if entry.body.blob)
        assert len(await here.store.blob(blob.hash)) == 70_000
        await talk(here, 12, forked.session.key)
        assert len(await summaries(here, forked.session.key)) > 2

    run(work, tmp_path, model, window=6_000)


def test_only_conversations(tmp_path: Path) -> None:
    """What is no conversation is not compacted by hand, nor begun afresh, nor branched off from."""

    async def work(here: Inside) -> None:
        run = await here.ask(PolicyName.API, "/echo x")
        session = here.store.session_by_id(run.session)
        assert session is not None
        with pytest.raises(WrongState):
            await here.conversations.compact(session)
        with pytest.raises(WrongState):
            await here.conversations.renew(session)
        with pytest.raises(WrongState):
            await here.conversations.fork(session, 1, None, None)
        await here.say("c", "/echo x")
        head = here.head("c")
        await mover.archive(here.store, head)
        with pytest.raises(WrongState, match="archived"):
            await here.conversations.compact(here.head("c"))
        await mover.delete(here.store, here.head("c"))
        with pytest.raises(SessionNotFound):
            await here.conversations.compact(head)
        with pytest.raises(SessionNotFound):
            await here.conversations.renew(head)
        assert here.store.session("c") is None

    run(work, tmp_path, Listening())
