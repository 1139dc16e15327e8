import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest

from inside import Inside, PlayedModel, inside
from tidegate.agent.loop import DENIED
from tidegate.agent.model import Answer, Delta, Prompt, ToolCall, ToolSpec
from tidegate.agent.tools import Caller, Tool
from tidegate.clock import HOUR_MS
from tidegate.domain.approval import ApprovalState, Decision
from tidegate.domain.budget import Budget
from tidegate.domain.entry import Assistant, Call, Notice, Result
from tidegate.domain.run import Lane, Run, RunState, Usage
from tidegate.domain.session import Outcome, PolicyName
from tidegate.errors import Busy, ModelCut, ModelFailed, StorageFailed
from tidegate.runtime.bus import Piece
from tidegate.runtime.journal import MAX_PIECE_CHARS

CALL = ToolCall(call_id="c1", tool="note", arguments="{}")


def noting(calls: list[str], *, is_idempotent: bool = False) -> Tool:
    """Return a tool that notes how it was called."""

    async def note(arguments: str, _: Caller) -> str:
        calls.append(arguments)
        return "noted"

    spec = ToolSpec(name="note", description="notes", parameters={})
    return Tool(spec=spec, run=note, is_idempotent=is_idempotent)


async def never(_: Prompt) -> AsyncGenerator[Delta | Answer, None]:
    """Begin an answer and never end it."""
    yield Delta(text="I will")
    await asyncio.Event().wait()


def test_a_message_is_answered(tmp_path: Path) -> None:
    """A run ends ok, its question and answer stand in the transcript in order."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            run = await here.say("c", "/echo hi")

            assert (RunState.DONE, Outcome.OK) == (run.state, run.outcome)
            assert ["/echo hi", "hi"] == await here.texts("c")
            assert "hi" == (await here.intake.answer(run))[1]

    asyncio.run(main())


def test_a_message_takes_two_commits(tmp_path: Path) -> None:
    """Where a slot is free a run is claimed as it is admitted, and its answer is kept as it ends."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            commits: list[int] = []
            await here.say("c", "the runner is there now")
            here.store.writer.on_commit = lambda _seconds, count: commits.append(count)
            await here.say("c", "/echo hi")

            assert [1, 1] == commits

    asyncio.run(main())


def test_a_caller_who_goes_takes_no_slot_from_others(tmp_path: Path) -> None:
    """A message whose caller goes while it is written is answered all the same, and no lane has more than its slots."""
    taken: list[int] = []
    parts: list[Inside] = []
    may_end = asyncio.Event()

    async def wait(_: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        taken.append(parts[0].runner.lanes[Lane.INTERACTIVE].taken)
        await may_end.wait()
        yield Answer(text="done", calls=(), usage=Usage())

    async def main() -> None:
        model = PlayedModel(*[wait] * 3)
        async with inside(tmp_path, model, slots=1) as here, asyncio.TaskGroup() as tasks:
            parts.append(here)
            may_end.set()
            await here.say("warm", "hello")
            may_end.clear()
            first = tasks.create_task(here.intake.message("a", "hi", "main", is_named=False, receipt=None))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.sleep(0)
            second = await here.intake.message("b", "hi", "main", is_named=False, receipt=None)
            may_end.set()
            await here.intake.outcome(second.run)
            (run,) = await here.store.runs(state=None, session=here.head("a").id, before=1 << 62, limit=9)
            await here.intake.outcome(run)
            assert ["hi", "done"] == await here.texts("a")
            assert [1, 1, 1] == taken

    asyncio.run(main())


def test_a_crowd_is_claimed_in_few_commits(tmp_path: Path) -> None:
    """What waits together starts together, up to the slots, and api sessions never take more than their half."""
    begun: list[Prompt] = []
    half = asyncio.Event()

    async def begin(prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        begun.append(prompt)
        if len(begun) == 32:
            half.set()
        yield Delta(text="I will")
        await asyncio.Event().wait()

    async def main() -> None:
        async with inside(tmp_path, PlayedModel(*[begin] * 40)) as here:
            lane = here.runner.lanes[Lane.INTERACTIVE]
            lane.slots = 64
            groups: list[int] = []
            here.store.writer.on_commit = lambda _, count: groups.append(count)
            async with asyncio.TaskGroup() as crowd:
                for _ in range(40):
                    crowd.create_task(here.ask(PolicyName.API, "wait"))
            await half.wait()
            commits = len(groups)
            await here.store.remember("a", "word behind all claims")

            assert (32, 0) == (lane.taken, lane.room_for_api)
            assert 32 == here.store.tallies().runs[Lane.INTERACTIVE, RunState.RUNNING]
            assert commits <= 16

    asyncio.run(main())


def test_messages_of_a_session_wait_for_each_other(tmp_path: Path) -> None:
    """Messages sent at once to one session are answered one after the other, in order."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            runs = [await here.send("c", f"/echo {number}") for number in range(5)]
            for run in runs:
                await here.intake.outcome(run)

            expected = [text for number in range(5) for text in (f"/echo {number}", f"{number}")]
            assert expected == await here.texts("c")

    asyncio.run(main())


def test_tool_calls_are_kept_before_they_are_made(tmp_path: Path) -> None:
    """A tool finds its own call in the transcript, and the model gets its result."""
    seen: list[list[str]] = []

    async def main() -> None:
        async def look(_: str, __: Caller) -> str:
            seen.append([type(entry.body).__name__ for entry in await here.transcript("c")])
            return "looked"

        tool = Tool(spec=ToolSpec(name="note", description="", parameters={}), run=look)
        model = PlayedModel(Answer(text="", calls=[CALL]), Answer(text="done"))
        async with inside(tmp_path, model, tools=[tool]) as here:
            await here.say("c", "go")

            assert [["User", "Call"]] == seen
            assert ["go", "{}", "looked", "done"] == await here.texts("c")
            assert isinstance(model.prompts[1].bodies[-1], Result)

    asyncio.run(main())


def test_failed_model_fails_the_run(tmp_path: Path) -> None:
    """A provider's failure ends the run as failed, with a notice for the reader that no model sees."""

    async def main() -> None:
        model = PlayedModel(ModelFailed("no answer", hint="check the key"), Answer(text="better"))
        async with inside(tmp_path, model) as here:
            run = await here.say("c", "go")
            again = await here.say("c", "again")

            assert (Outcome.FAILED, "no answer (check the key)") == (run.outcome, run.error)
            assert isinstance((await here.transcript("c"))[1].body, Notice)
            assert Outcome.OK is again.outcome
            assert not any(isinstance(body, Notice) for body in model.prompts[1].bodies)

    asyncio.run(main())


def test_a_broken_answer_is_kept_as_such(tmp_path: Path) -> None:
    """What was said before the model broke off stays, marked; the run has failed, and its tokens are counted."""

    async def main() -> None:
        cut = ModelCut(ModelFailed("it broke off"), text="half a", model="other", tokens=(7, 2))
        model = PlayedModel(cut, Answer(text="whole"))
        async with inside(tmp_path, model) as here:
            run = await here.say("c", "go")
            await here.say("c", "again")

            assert (Outcome.FAILED, "it broke off", None) == (run.outcome, run.error, run.reply_seq)
            assert Usage(input_tokens=7, output_tokens=2) == run.usage
            kept = [entry.body for entry in await here.transcript("c")]
            assert ["go", "half a", "failed: it broke off", "again", "whole"] == [body.text for body in kept]
            assert isinstance(kept[1], Assistant)
            assert kept[1].is_partial
            assert not getattr(kept[4], "is_partial", True)
            assert kept[1] in model.prompts[1].bodies

    asyncio.run(main())


@pytest.mark.parametrize("size", [10, 100_000])
def test_what_a_model_said_is_read_whole(tmp_path: Path, size: int) -> None:
    """Texts, arguments and a provider's own data of any size reach the model again, in this run and the next."""

    async def main() -> None:
        call = msgspec.structs.replace(CALL, arguments="x" * size)
        answer = Answer(text="y" * size, calls=[call], opaque="z" * size)
        model = PlayedModel(answer, Answer(text="done"), Answer(text="again"))
        async with inside(tmp_path, model, tools=[]) as here:
            await here.say("c", "go")
            await here.say("c", "go on")
            for prompt in model.prompts[1:]:
                said, asked = prompt.bodies[1:3]
                assert isinstance(said, Assistant)
                assert ("y" * size, "z" * size) == (said.text, said.opaque)
                assert "x" * size == asked.text

    asyncio.run(main())


def test_crashing_model_takes_nobody_along(tmp_path: Path) -> None:
    """A bug in one run fails that run; the next one is carried out."""

    async def main() -> None:
        async with inside(tmp_path, PlayedModel(ZeroDivisionError("x"), Answer(text="fine"))) as here:
            assert Outcome.FAILED is (await here.say("a", "go")).outcome
            assert Outcome.OK is (await here.say("b", "go")).outcome

    asyncio.run(main())


def test_cancel_stops_the_model(tmp_path: Path) -> None:
    """Cancelling a run ends its task at once; what it would have said later is refused."""

    async def main() -> None:
        async with inside(tmp_path, PlayedModel(never, Answer(text="next"))) as here:
            run = await here.send("c", "go")
            await here.until_piece(run)
            cancelled = await here.intake.cancel(run.id)

            assert Outcome.CANCELLED is cancelled.outcome
            assert Outcome.OK is (await here.say("c", "and now")).outcome
            assert ["go", "and now", "next"] == await here.texts("c")

    asyncio.run(main())


def test_a_piece_that_is_none(tmp_path: Path) -> None:
    """What comes as one huge piece is not gone through in the loop: from there on the answer comes with its entry."""
    pieces = ["once ", "x" * (MAX_PIECE_CHARS + 1), " more"]

    async def in_pieces(_: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        for piece in pieces:
            yield Delta(text=piece)
        yield Answer(text="".join(pieces))

    async def main() -> None:
        async with inside(tmp_path, PlayedModel(in_pieces, Answer(text="next"))) as here:
            run = await here.send("c", "go")
            heard = []
            with here.bus.subscribe(run.session) as subscription:
                while not isinstance(event := await subscription.get(), Run):
                    heard += [event.text] if isinstance(event, Piece) else []
            assert ["once "] == heard
            assert (await here.texts("c"))[-1].startswith("once x")
            run = await here.send("c", "and now")
            await here.until_piece(run)

    asyncio.run(main())


def test_a_cancellation_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store does not take a cancellation it is told so, and the run goes on a moment later."""

    async def main() -> None:
        async with inside(tmp_path, PlayedModel(never, Answer(text="after all"))) as here:
            here.runner.poll_s = 0.01
            run = await here.send("c", "go")
            await here.until_piece(run)

            async def refuse(*_: object) -> Run:
                raise Busy(retry_after_s=5)

            with monkeypatch.context() as patched:
                patched.setattr(here.store, "cancel_run", refuse)
                with pytest.raises(Busy):
                    await here.runner.cancel(run.id)
            here.clock.advance(2_000)
            assert Outcome.OK is (await here.intake.outcome(run)).outcome
            assert ["go", "after all"] == await here.texts("c")

    asyncio.run(main())


def test_what_nobody_carries_out_is_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was claimed while nobody could be told of it does not stay as it is: a chat has no deadline."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            here.runner.poll_s = 0.01
            await here.say("first", "/echo hi")
            with monkeypatch.context() as patched:

                def fail(*_: object) -> None:
                    raise MemoryError

                patched.setattr(here.runner, "_start", fail)
                run = await here.send("c", "/echo hi")
                assert RunState.RUNNING is run.state
                changed = asyncio.Event()
                here.store.listen(lambda _: changed.set())
                await changed.wait()
            found = here.store.run(run.id)
            assert found is not None
            assert RunState.QUEUED is found.state
            here.clock.advance(2_000)
            assert Outcome.OK is (await here.intake.outcome(run)).outcome
            assert ["/echo hi", "hi"] == await here.texts("c")

    asyncio.run(main())


def test_a_head_that_cannot_be_read_at_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told of a run that was claimed at the door reads nothing for that."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.say("first", "/echo hi")
            with monkeypatch.context() as patched:

                def fail(*_: object) -> None:
                    raise StorageFailed("the disk failed")

                patched.setattr(here.store, "session_by_id", fail)
                run = await here.send("c", "/echo hi")
            assert RunState.RUNNING is run.state
            assert Outcome.OK is (await here.intake.outcome(run)).outcome

    asyncio.run(main())


def test_deadline_ends_a_run(tmp_path: Path) -> None:
    """A run that takes longer than its budget of time ends as timed out, with a notice."""

    async def main() -> None:
        async with inside(tmp_path, PlayedModel(never), budget=Budget(max_runtime_ms=50)) as here:
            run = await here.say("c", "go")

            assert Outcome.TIMED_OUT is run.outcome
            assert isinstance((await here.transcript("c"))[-1].body, Notice)

    asyncio.run(main())


def test_budgets_are_kept(tmp_path: Path) -> None:
    """A run that has used its steps or its tokens may not ask the model again."""

    async def main(budget: Budget, folder: Path) -> int:
        calls = [Answer(text="", calls=[CALL], usage=Usage(input_tokens=60)) for _ in range(9)]
        model = PlayedModel(*calls)
        async with inside(folder, model, tools=[noting([])], budget=budget) as here:
            run = await here.say("c", "go")
            assert Outcome.FAILED is run.outcome
            return len(model.prompts)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert 3 == asyncio.run(main(Budget(max_steps=3), tmp_path / "a"))
    assert 2 == asyncio.run(main(Budget(max_tokens=100), tmp_path / "b"))


def test_interrupted_calls_are_settled_after_a_crash(tmp_path: Path) -> None:
    """After a crash an idempotent call is made again; any other is marked, and the model decides."""
    calls: list[str] = []

    async def before(*, is_idempotent: bool, folder: Path) -> None:
        started = asyncio.Event()

        async def hang(_: str, __: Caller) -> str:
            started.set()
            await asyncio.Event().wait()
            return ""

        tool = msgspec.structs.replace(noting([], is_idempotent=is_idempotent), run=hang)
        async with inside(folder, PlayedModel(Answer(text="", calls=[CALL])), tools=[tool]) as here:
            await here.send("c", "go")
            await started.wait()

    async def after(*, is_idempotent: bool, folder: Path) -> list[str]:
        model = PlayedModel(Answer(text="done"))
        async with inside(folder, model, tools=[noting(calls, is_idempotent=is_idempotent)]) as here:
            (run,) = await here.store.runs(state=None, session=None, before=99, limit=1)
            done = await here.intake.outcome(run)
            assert Outcome.OK is done.outcome
            entries = await here.transcript("c")
            assert 1 == sum(isinstance(entry.body, Call) for entry in entries)
            return [entry.body.text for entry in entries]

    for is_idempotent in (True, False):
        folder = tmp_path / str(is_idempotent)
        folder.mkdir()
        asyncio.run(before(is_idempotent=is_idempotent, folder=folder))
        texts = asyncio.run(after(is_idempotent=is_idempotent, folder=folder))
        expected = "noted" if is_idempotent else "interrupted"
        assert texts[2].startswith(expected)
    assert ["{}"] == calls


def test_api_takes_half_of_the_slots(tmp_path: Path) -> None:
    """While api sessions wait for the other half, a person's message is carried out."""

    async def main() -> None:
        def hang_or_answer(prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
            return never(prompt) if prompt.bodies[-1].text == "api" else answer()

        async def answer() -> AsyncGenerator[Delta | Answer, None]:
            yield Answer(text="here")

        async with inside(tmp_path, PlayedModel(*[hang_or_answer] * 5)) as here:
            for _ in range(4):
                await here.ask(PolicyName.API, "api")
            assert Outcome.OK is (await here.say("person", "hello")).outcome
            assert 2 == here.store.tallies().runs[Lane.INTERACTIVE, RunState.QUEUED]

    asyncio.run(main())


def test_a_long_call_is_repeated_whole(tmp_path: Path) -> None:
    """A call whose arguments were spilled gets all of them when a restart repeats it."""
    calls: list[str] = []
    long = msgspec.structs.replace(CALL, arguments=msgspec.json.encode(["x" * 100_000]).decode())

    async def before() -> None:
        started = asyncio.Event()

        async def hang(_: str, __: Caller) -> str:
            started.set()
            await asyncio.Event().wait()
            return ""

        tool = msgspec.structs.replace(noting([]), run=hang)
        async with inside(tmp_path, PlayedModel(Answer(text="", calls=[long])), tools=[tool]) as here:
            await here.send("c", "go")
            await started.wait()

    async def after() -> None:
        tools = [noting(calls, is_idempotent=True)]
        async with inside(tmp_path, PlayedModel(Answer(text="done")), tools=tools) as here:
            (run,) = here.store.open_runs(here.head("c").id)
            await here.intake.outcome(run)

    asyncio.run(before())
    asyncio.run(after())
    assert calls == [long.arguments]


def asking(calls: list[str]) -> Tool:
    """Return a tool that notes how it was called, once a person has allowed it."""
    return msgspec.structs.replace(noting(calls), asks=True)


async def slots_are_free(here: Inside) -> None:
    """See that nothing holds a slot, once the tasks that are about to end have ended."""
    for _ in range(100):
        await asyncio.sleep(0)
    assert here.runner.running == 0


async def decide(here: Inside, decision: Decision) -> None:
    """Decide on the only open question."""
    (approval,) = await here.store.approvals(state=ApprovalState.PENDING, session=None, before=None, limit=10)
    await here.store.decide(approval.id, decision)


@pytest.mark.parametrize(
    ("decision", "calls", "result"),
    [(Decision.ONCE, ["{}"], "noted"), (Decision.ALWAYS, ["{}"], "noted"), (Decision.DENY, [], DENIED)],
)
def test_a_run_waits_for_a_person(tmp_path: Path, decision: Decision, calls: list[str], result: str) -> None:
    """A run that needs a person's word waits without a slot, and goes on with the word."""
    made: list[str] = []

    async def main() -> None:
        model = PlayedModel(Answer(text="", calls=[CALL]), Answer(text="done"))
        async with inside(tmp_path, model, tools=[asking(made)]) as here:
            run = await here.say("c", "go")
            assert run.state is RunState.WAITING
            await slots_are_free(here)
            assert made == []

            await decide(here, decision)
            run = await here.intake.outcome(run)
            assert (RunState.DONE, Outcome.OK) == (run.state, run.outcome)
            assert ["go", "{}", result, "done"] == await here.texts("c")

    asyncio.run(main())
    assert made == calls


def test_always_is_not_asked_again(tmp_path: Path) -> None:
    """What is always allowed runs at once, in whichever session."""
    made: list[str] = []

    async def main() -> None:
        answers = [Answer(text="", calls=[CALL]), Answer(text="done")]
        async with inside(tmp_path, PlayedModel(*answers, *answers), tools=[asking(made)]) as here:
            run = await here.say("c", "go")
            await decide(here, Decision.ALWAYS)
            await here.intake.outcome(run)

            assert (await here.say("d", "go")).outcome is Outcome.OK

    asyncio.run(main())
    assert made == ["{}", "{}"]


def test_a_decision_survives_a_restart(tmp_path: Path) -> None:
    """A run that waited when the gateway stopped waits after it, and a decision reaches it."""
    made: list[str] = []

    async def before() -> None:
        async with inside(tmp_path, PlayedModel(Answer(text="", calls=[CALL])), tools=[asking(made)]) as here:
            await here.say("c", "go")

    async def after() -> None:
        async with inside(tmp_path, PlayedModel(Answer(text="done")), tools=[asking(made)]) as here:
            (run,) = here.store.open_runs(here.head("c").id)
            assert run.state is RunState.WAITING
            await decide(here, Decision.ONCE)
            assert (await here.intake.outcome(run)).outcome is Outcome.OK

    asyncio.run(before())
    asyncio.run(after())
    assert made == ["{}"]


def test_waiting_does_not_count_as_running_time(tmp_path: Path) -> None:
    """A run whose budget is ten seconds may wait for hours, and then still has what was left of them."""
    made: list[str] = []

    async def main() -> None:
        model = PlayedModel(Answer(text="", calls=[CALL]), Answer(text="done"))
        budget = Budget(max_runtime_ms=10_000)
        async with inside(tmp_path, model, tools=[asking(made)], budget=budget) as here:
            run = await here.say("c", "go")
            here.clock.advance(5 * HOUR_MS)
            await decide(here, Decision.ONCE)
            assert (await here.intake.outcome(run)).outcome is Outcome.OK

    asyncio.run(main())
