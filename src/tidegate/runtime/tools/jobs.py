"""The tool with which a model has something done later, or again and again.

A person allows each call. What is made this way is the agent's own: a new session each time, with the tools that read
and nothing else unless the configuration names others, and its answer comes back to the conversation it was made in.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tidegate.agent.tools import Caller, Tool, ToolFailed, decoded, spec
from tidegate.domain.job import JobOrigin
from tidegate.domain.session import Kind, Session
from tidegate.errors import BadRequest, Conflict, LimitReached
from tidegate.ids import ulid
from tidegate.runtime.jobs import Jobs
from tidegate.store.port import Store

_Text = Annotated[str, Meta(max_length=256)]


class ScheduleJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of `schedule_job`."""

    prompt: Annotated[
        str, Meta(min_length=1, description="What to do then, with all that is needed to do it.")
    ]
    name: Annotated[_Text | UnsetType, Meta(description="A short name: a-z 0-9 . _ -")] = UNSET
    at: Annotated[_Text | UnsetType, Meta(description="Once: an instant as in RFC 3339, with its zone.")] = (
        UNSET
    )
    every: Annotated[_Text | UnsetType, Meta(description='Again and again: "30m", "2h", "1d".')] = UNSET
    cron: Annotated[_Text | UnsetType, Meta(description="Five fields, or @daily and the like.")] = UNSET
    timezone: Annotated[_Text | UnsetType, Meta(description="Of cron, such as Europe/Berlin.")] = UNSET


def schedule_tool(jobs: Jobs, store: Store, job_tools: Mapping[str, Sequence[str] | None]) -> Tool:
    """Return the tool ``schedule_job``; *job_tools* are the tools that the jobs of each agent get, None for readers."""

    async def run(wanted: ScheduleJob, caller: Caller) -> str:
        session = _conversation_of(store, caller)
        values = msgspec.to_builtins(wanted)
        values.setdefault("name", f"{caller.agent}-{ulid(session.updated_at).lower()}"[:64])
        values["agent"] = caller.agent
        values["tools"] = list(jobs.tools_of(caller.agent, job_tools.get(caller.agent)))
        if session.policy.is_conversation:
            values["deliver"] = f"chat:{session.key}"
        try:
            job = await jobs.make(values, JobOrigin.MODEL, caller.agent)
        except (BadRequest, Conflict, LimitReached) as refusal:
            hint = f"; {refusal.hint}" if refusal.hint else ""
            raise ToolFailed(f"refused: {refusal.message}{hint}") from refusal
        return f"job {job.name!r} is made; its answers come to this conversation"

    return Tool(
        spec=spec(
            "schedule_job",
            "Have something done later by an agent like you that knows nothing but the prompt. Exactly one of at, "
            "every and cron says when. The owner is asked first.",
            ScheduleJob,
        ),
        run=decoded(ScheduleJob, run),
        asks=True,
    )


def _conversation_of(store: Store, caller: Caller) -> Session:
    """Return the session that a job may be made from: a person's or a client's, so that jobs cannot beget jobs."""
    session = store.session_by_id(caller.session)
    if session is None or session.kind not in {Kind.CHAT, Kind.API}:
        raise ToolFailed("refused: only a conversation with a person can make jobs")
    return session
