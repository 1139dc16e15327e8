import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import msgspec
import pytest

from tidegate.agent.loop import DENIED, EXPIRED, NAME_CHARS, UNFIT, Agent, OverBudget, Paused, run
from tidegate.agent.model import Answer, Delta, Model, Prompt, ToolCall, ToolSpec
from tidegate.agent.tools import INTERRUPTED, Caller, Tool, ToolBox, interrupted
from tidegate.domain.approval import MAX_ARGUMENT_BYTES, Question, Verdict
from tidegate.domain.budget import Budget
from tidegate.domain.compaction import Reason
from tidegate.domain.entry import Assistant, Body, Call, Notice, Result, Summary, User
from tidegate.domain.run import Step, Usage
from tidegate.errors import ContextOverflow, ModelFailed
from tidegate.ids import RunId, SessionId

QUESTION = User(text="q")
ONE = Usage(input_tokens=3, output_tokens=2)


class Script:
    """A model that answers what it was told to, and remembers what it was asked."""

    name = "script"

    def __init__(self, *answers: Answer | Exception | None) -> None:
        self._answers = list(answers)
        self.asked: list[list[Body]] = []

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Answer the next thing, or break off."""
        self.asked.append(list(prompt.bodies))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield Delta(text="...")
        if answer is not None:
            yield answer


class Paper:
    """A journal that keeps everything in a list."""

    caller = Caller(session=SessionId("s"), run=RunId("r"), agent="main")

    def __init__(self, *verdicts: Verdict) -> None:
        self.steps: list[Step] = []
        self.heard: list[str] = []
        self.verdicts = list(verdicts)
        self.asked: list[tuple[Question, bool]] = []
        #: why it was asked to compact, and what it then has
        self.compacted: list[Reason] = []
        self.shorter: Sequence[Body] | None = None

    async def compact(self, reason: Reason) -> Sequence[Body] | None:
        """Give what there is."""
        self.compacted.append(reason)
        return self.shorter

    async def keep(self, step: Step) -> Sequence[Body]:
        """Keep a step."""
        self.steps.append(step)
        return step.bodies

    def has_to_wait(self) -> bool:
        """Wait for nothing."""
        return False

    async def verdict(self, question: Question, *, is_new: bool) -> Verdict:
        """Give the next verdict."""
        self.asked.append((question, is_new))
        return self.verdicts.pop(0)

    def hear(self, delta: Delta) -> None:
        """Remember a piece."""
        self.heard.append(delta.text)


def tool(
    name: str, run_tool: Callable[[str], str] = str.upper, *, is_idempotent: bool = False, asks: bool = False
) -> Tool:
    """Return a tool that turns its arguments into its answer."""

    async def answer(arguments: str, _: Caller) -> str:
        return run_tool(arguments)

    spec = ToolSpec(name=name, description="", parameters={"type": "object"})
    return Tool(spec=spec, run=answer, is_idempotent=is_idempotent, asks=asks)


def agent(model: Model, *tools: Tool, budget: Budget | None = None) -> Agent:
    """Return an agent with a model and some tools."""
    return Agent(
        name="main",
        model=model,
        instructions="be kind",
        tools=ToolBox(tools),
        budget=budget or Budget(),
        max_prompt_bytes=1 << 20,
    )


def call(call_id: str, name: str = "t", arguments: str = "{}") -> ToolCall:
    """Return a call that a model asks for."""
    return ToolCall(call_id=call_id, tool=name, arguments=arguments)


def test_an_answer_ends_the_run() -> None:
    """An answer without a call is handed back to be kept with the run's end, with what it took."""
    paper = Paper()
    model = Script(Answer(text="hello", usage=ONE))
    last = asyncio.run(run(agent(model), paper, [QUESTION], 0, Usage()))
    assert last == Step(bodies=[Assistant(text="hello", tokens=5)], usage=ONE, model="script")
    assert (paper.steps, paper.heard, model.asked) == ([], ["..."], [[QUESTION]])


def test_calls_are_kept_before_they_are_made() -> None:
    """A call is durable before its tool runs, its result before the model is asked again."""
    paper = Paper()
    seen: list[int] = []

    def look(arguments: str) -> str:
        seen.append(len(paper.steps))
        return arguments.upper()

    model = Script(Answer(text="", calls=[call("1", arguments="x")], usage=ONE), Answer(text="done"))
    last = asyncio.run(run(agent(model, tool("t", look)), paper, [QUESTION], 0, Usage()))
    said, answered = Call(tool="t", call_id="1", text="x", tokens=5), Result(tool="t", call_id="1", text="X")
    assert paper.steps == [Step(bodies=[said], usage=ONE, model="script"), Step(bodies=[answered])]
    assert seen == [1]
    assert model.asked[1] == [QUESTION, said, answered]
    assert isinstance(last, Step)
    assert last.bodies == [Assistant(text="done")]


def test_calls_side_by_side() -> None:
    """Several calls of one answer run together; their results come in the order of the calls."""
    paper = Paper()
    both = asyncio.Barrier(2)

    async def meet(arguments: str, _: Caller) -> str:
        await both.wait()
        return arguments

    spec = ToolSpec(name="t", description="", parameters={"type": "object"})
    model = Script(
        Answer(text="", calls=[call("1", arguments="a"), call("2", arguments="b")]), Answer(text="x")
    )
    asyncio.run(run(agent(model, Tool(spec=spec, run=meet, deadline_s=10)), paper, [QUESTION], 0, Usage()))
    assert paper.steps[1].bodies == [
        Result(tool="t", call_id="1", text="a"),
        Result(tool="t", call_id="2", text="b"),
    ]


def test_after_a_crash() -> None:
    """An open call is repeated where that is harmless; any other is told as interrupted, and the model decides."""
    paper = Paper()
    history: list[Body] = [
        QUESTION,
        Call(tool="safe", call_id="1", text="a"),
        Call(tool="risky", call_id="2", text="b"),
    ]
    model = Script(Answer(text="I see"))
    tools = [tool("safe", is_idempotent=True), tool("risky")]
    asyncio.run(run(agent(model, *tools), paper, history, 1, ONE))
    lost = interrupted(call("2", "risky", "b"))
    assert paper.steps == [Step(bodies=[Result(tool="safe", call_id="1", text="A"), lost])]
    assert model.asked == [[*history, Result(tool="safe", call_id="1", text="A"), lost]]


@pytest.mark.parametrize("rest", [[], [Notice(text="by the way")]], ids=["", "notice"])
def test_what_is_answered_is_not_asked_again(rest: list[Body]) -> None:
    """Where the transcript ends with an answer there is nothing to do."""
    model = Script()
    last = asyncio.run(run(agent(model), Paper(), [QUESTION, Assistant(text="a"), *rest], 1, ONE))
    assert (last, model.asked) == (None, [])


@pytest.mark.parametrize("budget", [Budget(max_steps=2), Budget(max_tokens=10)], ids=["steps", "tokens"])
def test_over_budget(budget: Budget) -> None:
    """A run that has used up its steps or tokens, those before a crash included, may not ask again."""
    paper = Paper()
    model = Script(Answer(text="", calls=[call("1")], usage=ONE))
    with pytest.raises(OverBudget):
        asyncio.run(run(agent(model, tool("t"), budget=budget), paper, [QUESTION], 1, ONE))
    assert len(model.asked) == 1
    assert len(paper.steps) == 2


def test_an_answer_that_breaks_off() -> None:
    """A model that never ends its answer has failed; nothing of it is kept."""
    paper = Paper()
    with pytest.raises(ModelFailed):
        asyncio.run(run(agent(Script(None)), paper, [QUESTION], 0, Usage()))
    assert paper.steps == []


def test_names_of_a_model_are_bounded() -> None:
    """However long the name or id that a model makes up, what is kept of it is short."""
    paper = Paper()
    wild = ToolCall(call_id="i" * 9_999, tool="n" * 9_999, arguments="{}")
    model = Script(Answer(text="", calls=[wild]), Answer(text="sorry"))
    asyncio.run(run(agent(model), paper, [QUESTION], 0, Usage()))
    (kept,) = paper.steps[0].bodies
    assert kept == Call(tool="n" * NAME_CHARS, call_id="i" * NAME_CHARS, text="{}")


def test_an_empty_answer_is_an_answer() -> None:
    """An answer with neither text nor call is kept as an empty one, and ends the run."""
    last = asyncio.run(run(agent(Script(Answer(text=""))), Paper(), [QUESTION], 0, Usage()))
    assert isinstance(last, Step)
    assert last.bodies == [Assistant(text="")]


def test_what_a_provider_adds_stays_with_its_answer() -> None:
    """It is kept with the first body of the answer, and the answer counts for the model that gave it."""
    paper = Paper()
    model = Script(
        Answer(text="I look", calls=[call("1")], opaque="o1", model="other"),
        Answer(text="", calls=[call("2")], opaque="o2"),
        Answer(text="done", opaque="o3"),
    )
    last = asyncio.run(run(agent(model, tool("t")), paper, [QUESTION], 0, Usage()))
    assert paper.steps[0].bodies == [
        Assistant(text="I look", opaque="o1"),
        Call(tool="t", call_id="1", text="{}"),
    ]
    assert paper.steps[2].bodies == [Call(tool="t", call_id="2", text="{}", opaque="o2")]
    assert isinstance(last, Step)
    assert last.bodies == [Assistant(text="done", opaque="o3")]
    assert [paper.steps[0].model, paper.steps[2].model] == ["other", "script"]


def test_a_partial_answer_answers_nothing() -> None:
    """Where the transcript ends with what a model broke off, it is asked again."""
    model = Script(Answer(text="whole"))
    history: list[Body] = [QUESTION, Assistant(text="half", is_partial=True)]
    last = asyncio.run(run(agent(model), Paper(), history, 1, ONE))
    assert isinstance(last, Step)
    assert last.bodies == [Assistant(text="whole")]


ASK = Question(call_id="1", tool="t", arguments="{}")


def test_a_call_waits_for_a_person() -> None:
    """Calls that need nobody are made and kept; those that do end the loop with what is asked."""
    paper = Paper(Verdict.UNDECIDED)
    model = Script(Answer(text="", calls=[call("1"), call("2", "free", "x")]))
    last = asyncio.run(run(agent(model, tool("t", asks=True), tool("free")), paper, [QUESTION], 0, Usage()))
    assert last == Paused(questions=[ASK])
    assert paper.asked == [(ASK, True)]
    assert paper.steps[1:] == [Step(bodies=[Result(tool="free", call_id="2", text="X")])]


@pytest.mark.parametrize(
    ("verdict", "text", "is_error"),
    [
        (Verdict.GO, "{}", False),
        (Verdict.DENIED, DENIED, True),
        (Verdict.EXPIRED, EXPIRED, True),
        (Verdict.UNKNOWN, INTERRUPTED, True),
    ],
)
def test_after_a_decision(verdict: Verdict, text: str, is_error: bool) -> None:  # noqa: FBT001 - a case
    """A loop that is taken up again asks what was decided and goes on with it."""
    paper = Paper(verdict)
    history: list[Body] = [QUESTION, Call(tool="t", call_id="1", text="{}")]
    last = asyncio.run(
        run(agent(Script(Answer(text="ok")), tool("t", asks=True)), paper, history, 1, Usage())
    )
    assert last == Step(bodies=[Assistant(text="ok")], usage=Usage(), model="script")
    assert paper.asked == [(ASK, False)]
    assert paper.steps == [Step(bodies=[Result(tool="t", call_id="1", text=text, is_error=is_error)])]


def test_what_cannot_be_shown_is_not_asked() -> None:
    """A call that is too long for a person to judge is refused, and the model can read why."""
    paper = Paper()
    model = Script(
        Answer(text="", calls=[call("1", arguments="x" * (MAX_ARGUMENT_BYTES + 1))]), Answer(text="ok")
    )
    asyncio.run(run(agent(model, tool("t", asks=True)), paper, [QUESTION], 0, Usage()))
    assert paper.steps[1] == Step(bodies=[Result(tool="t", call_id="1", text=UNFIT, is_error=True)])


LONG: list[Body] = [User(text="x" * 400), Assistant(text="y" * 400), QUESTION]
SHORT: list[Body] = [Summary(text="x and y"), QUESTION]
SMALL = 500  # bytes


def test_what_is_too_long_is_compacted_before_it_is_asked() -> None:
    """Above what the model may read a summary takes the place of the beginning; below it nothing happens."""
    paper, model = Paper(), Script(Answer(text="hello"))
    paper.shorter = SHORT
    small = msgspec.structs.replace(agent(model), max_prompt_bytes=SMALL)
    asyncio.run(run(small, paper, LONG, 0, Usage()))
    assert (paper.compacted, model.asked) == ([Reason.THRESHOLD], [SHORT])


def test_the_providers_count_comes_first() -> None:
    """What a provider has counted up to an answer holds, however long the texts look."""
    counted: list[Body] = [User(text="x" * 4_000), Assistant(text="y", tokens=100), QUESTION]
    paper, model = Paper(), Script(Answer(text="one"), Answer(text="two"))
    small = msgspec.structs.replace(agent(model), max_prompt_bytes=SMALL)
    asyncio.run(run(small, paper, counted, 0, Usage()))
    assert (paper.compacted, model.asked) == ([], [counted])

    counted = [User(text="x"), Assistant(text="y", tokens=200), QUESTION]
    asyncio.run(run(small, paper, counted, 0, Usage()))
    assert paper.compacted == [Reason.THRESHOLD]


def test_a_prompt_that_was_cut_is_not_counted() -> None:
    """Where turns were left out for want of a summary the provider's count says nothing of the whole."""
    paper, model = Paper(), Script(Answer(text="hello", usage=ONE))
    small = msgspec.structs.replace(agent(model), max_prompt_bytes=SMALL)
    last = asyncio.run(run(small, paper, LONG, 0, Usage()))
    assert model.asked == [[QUESTION]]
    assert last == Step(bodies=[Assistant(text="hello")], usage=ONE, model="script")


def test_an_overflow_is_compacted_and_asked_once_more() -> None:
    """If the provider finds a prompt too long it is asked again with a summary, once."""
    paper, model = Paper(), Script(ContextOverflow("too long"), Answer(text="hello"))
    paper.shorter = SHORT
    asyncio.run(run(agent(model), paper, LONG, 0, Usage()))
    assert (paper.compacted, model.asked) == ([Reason.OVERFLOW], [LONG, SHORT])


def test_what_a_provider_counts_longer_is_told_in_part() -> None:
    """Where there is nothing to compact, or that was not enough, less and less is told, and then it fails."""
    paper, model = Paper(), Script(ContextOverflow("no"), ContextOverflow("no"), Answer(text="hello"))
    bodies: list[Body] = [User(text="x" * 40_000)]
    asyncio.run(run(agent(model), paper, bodies, 0, Usage()))
    assert paper.compacted == [Reason.OVERFLOW]
    whole, half, quarter = (len(asked[0].text) for asked in model.asked)
    assert whole == 40_000
    assert 19_900 < half < 20_000
    assert 9_900 < quarter < 10_000

    stubborn = Script(*[ContextOverflow("too long")] * 4, ContextOverflow("still too long"))
    with pytest.raises(ContextOverflow, match="still"):
        asyncio.run(run(agent(stubborn), paper, bodies, 0, Usage()))


def test_a_learnt_window_counts_at_once() -> None:
    """What a provider says in its refusal holds for the next question of the same run."""
    paper, model = Paper(), Script(ContextOverflow("no"), Answer(text="hello"))
    taught = msgspec.structs.replace(agent(model), learnt_prompt_bytes=lambda: 4_000 if model.asked else None)
    asyncio.run(run(taught, paper, [User(text="x" * 40_000)], 0, Usage()))
    assert (taught.prompt_bytes, len(model.asked)) == (4_000, 2)
    assert 3_000 < len(model.asked[1][0].text) < 4_000
