import asyncio
from pathlib import Path

from inside import inside
from tidegate.agent.model import ToolCall
from tidegate.agent.tools import Caller, ToolBox
from tidegate.clock import ManualClock
from tidegate.domain.budget import Budget
from tidegate.domain.entry import Result
from tidegate.domain.session import PolicyName
from tidegate.runtime.tools.status import Who, status_tool


def test_it_tells_where_the_model_is(tmp_path: Path) -> None:
    """Time, session, agent, what the run has used and may still use, and when the session goes on."""

    async def main() -> str:
        async with inside(tmp_path) as here:
            run = await here.ask(PolicyName.API_NAMED, "/echo hi", "notes")
            await here.intake.outcome(run)
            who = {"main": Who(model="offline", budget=Budget(max_steps=5, max_tokens=100))}
            box = ToolBox([status_tool(here.store, here.clock, who)])
            caller = Caller(session=run.session, run=run.id, agent="main")
            result = await box.call(ToolCall(call_id="c", tool="session_status", arguments=""), caller)
            assert isinstance(result, Result)
            assert not result.is_error, result.text
            return result.text

    now = "2027-01-15T08:00:00.000Z"
    assert ManualClock().now() == 1_800_000_000_000
    assert asyncio.run(main()).splitlines() == [
        f"time: {now}",
        "session: notes (api, active)",
        "agent: main, model: offline",
        "entries: 2",
        "tokens of this run: 2, left: 98",
        "steps of this run: 1, left: 4",
        "next: archives in 1 h, at 2027-01-15T09:00:00.000Z",
    ]
