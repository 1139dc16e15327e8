"""The tool ``session_status``: where the model is, what time it is, and what this run may still spend."""

from collections.abc import Mapping

import msgspec

from tidegate.agent.tools import Caller, Reach, Tool, ToolFailed, decoded, spec
from tidegate.clock import Clock, iso
from tidegate.domain.budget import Budget
from tidegate.domain.run import Run
from tidegate.domain.session import DueTo, Session
from tidegate.store.port import Store
from tidegate.units import print_span


class SessionStatus(msgspec.Struct, forbid_unknown_fields=True):
    """The tool takes no arguments."""


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about an agent."""

    model: str
    budget: Budget


def status_tool(store: Store, clock: Clock, agents: Mapping[str, Who]) -> Tool:
    """Return the tool."""

    async def status(_: SessionStatus, caller: Caller) -> str:
        run = store.run(caller.run)
        session = store.session_by_id(caller.session)
        if run is None or session is None:
            raise ToolFailed("this session is not there any more")
        return _told(session, run, agents[caller.agent], clock.now())

    return Tool(
        spec=spec(
            "session_status", "Tell the time, this session and what this run may still spend.", SessionStatus
        ),
        run=decoded(SessionStatus, status),
        is_idempotent=True,
        reach=Reach.READ,
        deadline_s=10.0,
    )


def _told(session: Session, run: Run, who: Who, now: int) -> str:
    budget, usage = who.budget, run.usage
    lines = [
        f"time: {iso(now)}",
        f"session: {session.key} ({session.kind}, {session.state})",
        f"agent: {session.agent}, model: {who.model}",
        f"entries: {session.entries}",
        f"tokens of this run: {usage.total}, left: {max(0, budget.max_tokens - usage.total)}",
        f"steps of this run: {run.steps}, left: {max(0, budget.max_steps - run.steps)}",
        f"next: {_next(session, now)}",
    ]
    return "\n".join(lines)


def _next(session: Session, now: int) -> str:
    if session.due_at is None or session.due_to is None:
        return "this session is kept"
    match session.due_to:
        case DueTo.ARCHIVED:
            verb = "archives"
        case DueTo.DELETED:
            verb = "is deleted"
        case DueTo.COMPLETED:
            verb = "has to be done"
    return f"{verb} in {print_span(max(0, session.due_at - now))}, at {iso(session.due_at)}"
