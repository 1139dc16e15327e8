"""Ask the model, call its tools, ask again, until it answers without a call.

The transcript is the checkpoint: whatever the loop decides on is kept, durably, before it goes on, so that a loop that
was killed goes on from the last thing kept. It does not know who keeps.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec

from tidegate.agent.model import Answer, Delta, Model, ToolCall
from tidegate.agent.prompt import build, catalog_bytes, open_calls, with_catalog
from tidegate.agent.skills.catalog import TOOL as SKILL_TOOL
from tidegate.agent.tools import Caller, ToolBox, interrupted
from tidegate.domain.budget import Budget
from tidegate.domain.entry import Assistant, Body, Call, Notice
from tidegate.domain.run import Step, Usage
from tidegate.errors import ModelFailed, Refused
from tidegate.ids import SessionId

NAME_CHARS = 128


class OverBudget(Refused):
    """The run has used up what it may spend."""

    code = "over_budget"


async def no_skills(_session: SessionId, _max_bytes: int) -> str:
    """Tell of no skills."""
    return ""


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers: a model, its instructions, its tools and what one run of it may spend."""

    name: str
    model: Model
    instructions: str
    tools: ToolBox
    budget: Budget
    #: how much of a transcript the model gets to read
    max_prompt_bytes: int
    #: tells which skills a session has, in about so many bytes; nothing where it has none
    catalog: Callable[[SessionId, int], Awaitable[str]] = no_skills


class Journal(Protocol):
    """Who keeps what the loop decides."""

    @property
    def caller(self) -> Caller:
        """In whose name tools are called."""

    async def keep(self, step: Step) -> Sequence[Body]:
        """Make a step durable and return its bodies as they were kept."""

    def hear(self, delta: Delta) -> None:
        """Take notice of a piece of an answer that is still being made."""


async def run(
    agent: Agent, journal: Journal, history: Sequence[Body], steps: int, usage: Usage
) -> Step | None:
    """Work until the model has answered; *steps* and *usage* are what the run took before an interruption.

    The last step is returned, not kept: whoever closes the run keeps both at once. Nothing comes back where the
    transcript ends with an answer already.

    Raises:
        OverBudget: The run may not ask again.
        ModelFailed: The provider failed.
    """
    agent = await _equipped(agent, journal.caller.session)
    bodies = list(history)
    bodies += await _resume(agent, journal, bodies)
    while not _is_answered(bodies):
        over = agent.budget.spent(steps, usage)
        if over:
            raise OverBudget(over, hint=f"raise the limits in [agents.{agent.name}]")
        answer = await _ask(agent, journal, bodies)
        steps += 1
        usage = _sum(usage, answer.usage)
        step = Step(bodies=_said(answer), usage=answer.usage, model=agent.model.name)
        if not answer.calls:
            return step
        bodies += await journal.keep(step)
        bodies += await journal.keep(Step(bodies=await _call_all(agent, journal.caller, answer.calls)))
    return None


async def _equipped(agent: Agent, session: SessionId) -> Agent:
    """Return the agent as a session sees it: told of its skills, or without the tool that reads them."""
    catalog = await agent.catalog(session, catalog_bytes(agent.max_prompt_bytes))
    if not catalog:
        return msgspec.structs.replace(agent, tools=agent.tools.without(SKILL_TOOL))
    return msgspec.structs.replace(
        agent,
        instructions=with_catalog(agent.instructions, catalog),
        max_prompt_bytes=agent.max_prompt_bytes - len(catalog.encode()),
    )


async def _resume(agent: Agent, journal: Journal, bodies: Sequence[Body]) -> Sequence[Body]:
    """Settle the calls that a crash left open: repeat those that may be repeated, mark the others."""
    calls = open_calls(bodies)
    if not calls:
        return []
    repeated = [call for call in calls if agent.tools.is_idempotent(call.tool)]
    lost = [interrupted(call) for call in calls if call not in repeated]
    return await journal.keep(Step(bodies=[*lost, *await _call_all(agent, journal.caller, repeated)]))


async def _ask(agent: Agent, journal: Journal, bodies: Sequence[Body]) -> Answer:
    prompt = build(agent.instructions, bodies, agent.tools.specs, agent.max_prompt_bytes)
    async with aclosing(agent.model.stream(prompt)) as parts:
        async for part in parts:
            if isinstance(part, Answer):
                return part
            journal.hear(part)
    raise ModelFailed("the model's answer has no end")


async def _call_all(agent: Agent, caller: Caller, calls: Sequence[ToolCall]) -> list[Body]:
    """Call the tools side by side; results come in the order of the calls."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(agent.tools.call(call, caller)) for call in calls]
    return [task.result() for task in tasks]


def _said(answer: Answer) -> list[Body]:
    calls: list[Body] = [
        Call(tool=call.tool[:NAME_CHARS], call_id=call.call_id[:NAME_CHARS], text=call.arguments)
        for call in answer.calls
    ]
    return [Assistant(text=answer.text), *calls] if answer.text or not calls else calls


def _is_answered(bodies: Sequence[Body]) -> bool:
    last = next((body for body in reversed(bodies) if not isinstance(body, Notice)), None)
    return isinstance(last, Assistant)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
    )
