"""The tool that asks another agent to do a part of the work."""

from typing import Annotated

import msgspec
from msgspec import Meta

from tidegate.agent.tools import Caller, Later, Tool, decoded, spec
from tidegate.runtime.subagents import Subagents

MAX_TIMEOUT_S = 7 * 86_400

_Label = Annotated[str, Meta(max_length=80)]
_Seconds = Annotated[int, Meta(ge=1, le=MAX_TIMEOUT_S)]


class SpawnAgent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of `spawn_agent`."""

    task: Annotated[
        str, Meta(min_length=1, description="What to do, with all that the sub-agent needs to know.")
    ]
    agent: Annotated[str | None, Meta(description="Which agent; by default one like you.")] = None
    label: Annotated[_Label | None, Meta(description="A short name for the task.")] = None
    timeout: Annotated[_Seconds | None, Meta(description="After how many seconds to give up.")] = None
    wait: Annotated[
        bool, Meta(description="Whether to wait for the result; else it comes as a message later.")
    ] = True


def spawn_tool(subagents: Subagents) -> Tool:
    """Return the tool ``spawn_agent``."""

    async def run(wanted: SpawnAgent, caller: Caller) -> str | Later:
        return await subagents.spawn(
            caller,
            task=wanted.task,
            agent=wanted.agent,
            label=wanted.label or "sub-agent",
            timeout_s=wanted.timeout,
            waits=wanted.wait,
        )

    return Tool(
        spec=spec(
            "spawn_agent",
            "Give a task to a sub-agent, which works in a session of its own and answers with its result. "
            "Call it several times at once to have tasks done side by side.",
            SpawnAgent,
        ),
        run=decoded(SpawnAgent, run),
        is_idempotent=True,  # the same call never makes a second child
    )
