"""Ask the model, call its tools, ask again, until it answers without a call.

The transcript is the checkpoint: whatever the loop decides on is kept, durably, before it goes on, so that a loop that
was killed goes on from the last thing kept. A call that a person has to allow ends the loop until the person has
decided, and so does one whose result comes later; it then starts again, by the same path as after a crash. It does not
know who keeps.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple, Protocol

import msgspec

from tidegate.agent import measure, reminder
from tidegate.agent.model import Answer, Delta, Model, Prompt, ToolCall
from tidegate.agent.pairing import unused
from tidegate.agent.prompt import (
    WHOLE_RESULTS,
    build,
    catalog_bytes,
    open_calls,
    shortened,
    with_section,
)
from tidegate.agent.skills.catalog import TOOL as SKILL_TOOL
from tidegate.agent.tools import Caller, Later, ToolBox, failed, interrupted
from tidegate.domain.approval import MAX_ARGUMENT_BYTES, Question, Verdict
from tidegate.domain.budget import Budget
from tidegate.domain.compaction import Reason
from tidegate.domain.entry import Assistant, Body, Call, Notice, Result, User
from tidegate.domain.run import Step, Usage
from tidegate.errors import ContextOverflow, ModelFailed, Refused
from tidegate.ids import SessionId

NAME_CHARS = 128
NARROWINGS = 4  # how often a prompt that its provider finds too long is made shorter
DENIED = "denied: the owner does not allow this call; it was not carried out"
EXPIRED = "expired: nobody has decided on this call in time; it was not carried out"
REFUSED = (
    "refused: nobody waits here for the owner's word, so this call was not carried out. The owner can allow it:"
    " `tidegate approvals list` shows it, `tidegate approvals allow ID` allows it for 15 minutes, in which the same"
    " request may be made again"
)
CROWDED = "refused: too many calls wait for the owner's word already; this one was not put to the owner"
MAX_QUESTIONS = 20  # that one answer of a model may put to a person
UNFIT = (
    f"refused: a call with more than {MAX_ARGUMENT_BYTES >> 10} KiB of arguments cannot be shown to the owner"
)


class OverBudget(Refused):
    """The run has used up what it may spend."""

    code = "over_budget"


async def no_skills(_session: SessionId, _max_bytes: int) -> str:
    """Tell of no skills."""
    return ""


async def no_memory(_session: SessionId, _question: str, _max_bytes: int) -> str:
    """Tell of no memory."""
    return ""


def nothing_learnt() -> int | None:
    """Know of no window but the configured one."""
    return None


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers: a model, its instructions, its tools and what one run of it may spend."""

    name: str
    model: Model
    instructions: str
    tools: ToolBox
    budget: Budget
    #: how much the model gets to read: instructions, tools, summary and transcript; as it is configured
    max_prompt_bytes: int
    #: the same as the providers of its models have said, in refusing more; None where they have not
    learnt_prompt_bytes: Callable[[], int | None] = nothing_learnt
    #: a turn that is longer by itself is told in part; the offline model reads whatever there is
    tells_in_part: bool = True
    #: of how many turns it reads the results of tools whole
    whole_results: int = WHOLE_RESULTS
    #: tells which skills a session has, in about so many bytes; nothing where it has none
    catalog: Callable[[SessionId, int], Awaitable[str]] = no_skills
    #: what the latest message is told with; not in the instructions, so that prompts begin alike and can be cached
    reminder: str = ""
    #: tells what it remembers that is of use for a message, within so many bytes; nothing where there is nothing
    memory: Callable[[SessionId, str, int], Awaitable[str]] = no_memory

    @property
    def prompt_bytes(self) -> int:
        """How much the model gets to read now."""
        learnt = self.learnt_prompt_bytes()
        return self.max_prompt_bytes if learnt is None else min(learnt, self.max_prompt_bytes)


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a loop that cannot go on before a person has decided on these calls, or before results come."""

    questions: Sequence[Question] = ()
    #: it could go on, and has to leave the room to others for a while
    is_parked: bool = False


class Journal(Protocol):
    """Who keeps what the loop decides, and asks a person where one has to be asked."""

    @property
    def caller(self) -> Caller:
        """In whose name tools are called."""

    async def keep(self, step: Step) -> Sequence[Body]:
        """Make a step durable and return its bodies as they were kept."""

    async def compact(self, reason: Reason) -> Sequence[Body] | None:
        """Let a summary take the place of what is older, and return the transcript as it then is; None if it cannot."""

    async def verdict(self, question: Question, *, is_new: bool) -> Verdict:
        """Say what may become of a call that needs a person's word; it is new if it cannot have begun."""

    def has_to_wait(self) -> bool:
        """Say whether the run has to wait before the model is asked again."""

    def hear(self, delta: Delta) -> None:
        """Take notice of a piece of an answer that is still being made."""


async def run(
    agent: Agent, journal: Journal, history: Sequence[Body], steps: int, usage: Usage
) -> Step | Paused | None:
    """Work until the model has answered; *steps* and *usage* are what the run took before an interruption.

    The last step is returned, not kept: whoever closes the run keeps both at once. Nothing comes back where the
    transcript ends with an answer already.

    Raises:
        OverBudget: The run may not ask again.
        ModelFailed: The provider failed.
    """
    agent = await _equipped(agent, journal.caller.session)
    agent = await _reminded(agent, journal.caller.session, history)
    bodies = list(history)
    taken = {body.call_id for body in bodies if isinstance(body, Call)}
    calls, are_new = open_calls(bodies), False
    while True:
        settled = await _settle(agent, journal, calls, are_new=are_new)
        if settled.results:
            bodies += await journal.keep(Step(bodies=settled.results))
        if len(settled.results) < len(calls):
            return Paused(questions=settled.questions)
        if steps and _is_answered(bodies):  # a request may end with an answer that it brings along
            return None
        over = agent.budget.spent(steps, usage)
        if over:
            raise OverBudget(over, hint=f"raise the limits in [agents.{agent.name}]")
        if journal.has_to_wait():
            return Paused(is_parked=True)
        answer, bodies, tokens = await _answer(agent, journal, bodies)
        answer = msgspec.structs.replace(answer, calls=_named(answer.calls, taken))
        steps += 1
        usage += answer.usage
        step = Step(bodies=_said(answer, tokens), usage=answer.usage, model=answer.model or agent.model.name)
        if not answer.calls:
            return step
        bodies += await journal.keep(step)
        calls, are_new = [*answer.calls], True


async def _equipped(agent: Agent, session: SessionId) -> Agent:
    """Return the agent as a session sees it: told of its skills, or without the tool that reads them."""
    catalog = await agent.catalog(session, catalog_bytes(agent.prompt_bytes))
    if not catalog:
        return msgspec.structs.replace(agent, tools=agent.tools.without(SKILL_TOOL))
    return _told(agent, catalog)


async def _reminded(agent: Agent, session: SessionId, history: Sequence[Body]) -> Agent:
    """Return the agent with what it remembers that is of use for the latest message, and is told beside that."""
    question = next((body.text for body in reversed(history) if isinstance(body, User)), "")
    memory = await agent.memory(session, question, reminder.room(agent.prompt_bytes))
    return msgspec.structs.replace(agent, reminder=memory)


def _told(agent: Agent, section: str) -> Agent:
    return msgspec.structs.replace(agent, instructions=with_section(agent.instructions, section))


class _Settled(NamedTuple):
    """What became of some calls: results, in the order of the calls, and what a person has to decide."""

    results: list[Body]
    questions: list[Question]


async def _settle(agent: Agent, journal: Journal, calls: Sequence[ToolCall], *, are_new: bool) -> _Settled:
    """Call what may be called. A call with neither result nor question gets its result later."""
    verdicts = [await _verdict(agent, journal, call, is_new=are_new) for call in calls]
    judged = list(zip(calls, verdicts, strict=True))
    made = iter(
        await _call_all(agent, journal.caller, [call for call, found in judged if found is Verdict.GO])
    )
    settled = _Settled([], [])
    for call, found in judged:
        match found:
            case Verdict.GO:
                result = next(made)
                settled.results.extend([] if isinstance(result, Later) else [result])
            case Verdict.UNDECIDED if len(settled.questions) < MAX_QUESTIONS:
                settled.questions.append(_question(call))
            case Verdict.UNKNOWN:
                settled.results.append(interrupted(call))
            case Verdict.DENIED:
                settled.results.append(failed(call, DENIED))
            case Verdict.EXPIRED:
                settled.results.append(failed(call, EXPIRED))
            case Verdict.UNFIT:
                settled.results.append(failed(call, UNFIT))
            case Verdict.REFUSED:
                settled.results.append(failed(call, REFUSED))
            case Verdict.CROWDED | Verdict.UNDECIDED:
                settled.results.append(failed(call, CROWDED))
    return settled


async def _verdict(agent: Agent, journal: Journal, call: ToolCall, *, is_new: bool) -> Verdict:
    """Say what may become of a call; one that a crash cut off is repeated only where that is harmless."""
    if not agent.tools.asks(call.tool):
        return Verdict.GO if is_new or agent.tools.is_idempotent(call.tool) else Verdict.UNKNOWN
    if len(call.arguments.encode(errors="replace")) > MAX_ARGUMENT_BYTES:
        return Verdict.UNFIT
    return await journal.verdict(_question(call), is_new=is_new)


def _question(call: ToolCall) -> Question:
    return Question(call_id=call.call_id, tool=call.tool, arguments=call.arguments)


class _Heard(NamedTuple):
    """An answer, the transcript that it was given to, and how many tokens both have; 0 where nobody has counted."""

    answer: Answer
    bodies: list[Body]
    tokens: int


async def _answer(agent: Agent, journal: Journal, bodies: list[Body]) -> _Heard:
    """Ask the model; what is too long for it is compacted, before it is asked or once it says so.

    What is still too long then, by the provider's count and not by ours, is told it in part.
    """
    fits = _fits(agent, bodies)
    if not fits:
        bodies = [*(await journal.compact(Reason.THRESHOLD) or bodies)]
        fits = _fits(agent, bodies)
    asked = _asked(agent, bodies, None if fits else agent.prompt_bytes)
    try:
        return await _ask(agent, journal, bodies, asked)
    except ContextOverflow as error:
        refusal = error
    bodies = [*(await journal.compact(Reason.OVERFLOW) or bodies)]
    for _ in range(NARROWINGS):
        asked_bytes = asked.size
        asked = _asked(agent, bodies, agent.prompt_bytes)
        if asked.size >= asked_bytes:
            asked = _asked(agent, bodies, asked_bytes // 2)
        if asked.size >= asked_bytes:  # there is nothing to leave out
            break
        try:
            return await _ask(agent, journal, bodies, asked)
        except ContextOverflow as error:
            refusal = error
    raise refusal


def _fits(agent: Agent, bodies: Sequence[Body]) -> bool:
    """Whether a model is told the whole transcript, as far as its length is known."""
    read = shortened(bodies, agent.whole_results)
    beside = measure.text_size(agent.instructions) + measure.text_size(agent.reminder)
    tokens = measure.tokens(beside + measure.tools_size(agent.tools.specs), read)
    return tokens * measure.BYTES_PER_TOKEN <= agent.prompt_bytes


class _Asked(NamedTuple):
    """A prompt, and whether it holds the whole transcript."""

    prompt: Prompt
    is_whole: bool

    @property
    def size(self) -> int:
        """How long it is, in bytes."""
        return measure.prompt_tokens(self.prompt) * measure.BYTES_PER_TOKEN


def _asked(agent: Agent, bodies: Sequence[Body], max_bytes: int | None) -> _Asked:
    """Return what the model is asked: all, or so many bytes of it."""
    read = shortened(bodies, agent.whole_results)
    room = None if max_bytes is None else max_bytes - measure.text_size(agent.reminder)
    prompt = build(agent.instructions, read, agent.tools.specs, room, in_part=agent.tells_in_part)
    return _Asked(msgspec.structs.replace(prompt, reminder=agent.reminder), max_bytes is None)


async def _ask(agent: Agent, journal: Journal, bodies: list[Body], asked: _Asked) -> _Heard:
    async with aclosing(agent.model.stream(asked.prompt)) as parts:
        async for part in parts:
            if isinstance(part, Answer):
                is_counted = asked.is_whole and not part.usage.estimated
                return _Heard(part, bodies, part.usage.total if is_counted else 0)
            journal.hear(part)
    raise ModelFailed("the model's answer has no end")


async def _call_all(agent: Agent, caller: Caller, calls: Sequence[ToolCall]) -> list[Result | Later]:
    """Call the tools side by side; results come in the order of the calls."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(agent.tools.call(call, caller)) for call in calls]
    return [task.result() for task in tasks]


def _named(calls: Sequence[ToolCall], taken: set[str]) -> list[ToolCall]:
    """Return calls under the names that are kept of them; an id that another call has had is replaced, and *taken*."""
    named = []
    for call in calls:
        call_id = call.call_id[:NAME_CHARS]
        if not call_id or call_id in taken:
            call_id = unused(call_id, taken)
        taken.add(call_id)
        named.append(msgspec.structs.replace(call, tool=call.tool[:NAME_CHARS], call_id=call_id))
    return named


def _said(answer: Answer, tokens: int) -> list[Body]:
    """Return an answer as it is kept; the first body holds the provider's own data, if there are any."""
    calls = [Call(tool=call.tool, call_id=call.call_id, text=call.arguments) for call in answer.calls]
    said = [Assistant(text=answer.text, is_cut=answer.is_cut), *calls] if answer.text or not calls else calls
    first = msgspec.structs.replace(
        said[0], opaque=answer.opaque, tokens=tokens, is_estimated=bool(answer.usage.estimated)
    )
    return [first, *said[1:]]


def _is_answered(bodies: Sequence[Body]) -> bool:
    last = next((body for body in reversed(bodies) if not isinstance(body, Notice)), None)
    return isinstance(last, Assistant) and not last.is_partial
