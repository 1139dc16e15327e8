"""Calls a tool as the loop does, with arguments as a model would write them."""

from collections.abc import Sequence

import msgspec

from tidegate.agent.model import ToolCall
from tidegate.agent.tools import Caller, Tool, ToolBox
from tidegate.domain.entry import Result
from tidegate.ids import RunId, SessionId

CALLER = Caller(session=SessionId("s"), run=RunId("r"), agent="main")


async def call(tools: Sequence[Tool], name: str, **arguments: object) -> Result:
    """Call the tool with this name and return its result."""
    text = msgspec.json.encode(arguments).decode()
    result = await ToolBox(tools).call(ToolCall(call_id="c", tool=name, arguments=text), CALLER)
    assert isinstance(result, Result)
    return result
