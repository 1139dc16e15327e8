"""Tools: what one is, and how it is called.

A tool takes the arguments as the model wrote them and answers text. Whatever goes wrong in it, a wrong
argument included, becomes a result that the model can read; only a cancelled run goes through.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from functools import partial
from typing import TypeVar

import msgspec

from tidegate import strict_json
from tidegate.agent.model import ToolCall, ToolSpec
from tidegate.domain.entry import Result
from tidegate.domain.run import Lease
from tidegate.errors import Refused
from tidegate.ids import RunId, SessionId
from tidegate.strict_json import MAX_LOOP_BYTES, NotStrict
from tidegate.threads import on_thread

Args = TypeVar("Args", bound=msgspec.Struct)

MAX_RESULT_BYTES = 16 << 20  # a larger result is refused, as a larger blob would be
MAX_ERROR_CHARS = 4_000  # what went wrong is told in fewer
INTERRUPTED = "interrupted: the gateway stopped during this call, so its outcome is unknown"


class ToolFailed(Refused):
    """The tool could not do it."""

    code = "tool_failed"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """In whose name a tool is called."""

    session: SessionId
    run: RunId
    agent: str
    #: of the run's lease
    fence: int = 0
    #: the call that is being made; empty between calls
    call_id: str = ""

    @property
    def lease(self) -> Lease:
        """The right to write to the run, as long as it lasts."""
        return Lease(run=self.run, session=self.session, fence=self.fence)


class Later(msgspec.Struct, frozen=True):
    """Instead of a result: it will be written to the transcript by somebody else, once it is there."""


class Reach(StrEnum):
    """How far a tool reaches; what comes from outside has by itself only those that read."""

    #: it looks at what the gateway has, and changes nothing
    READ = "read"
    #: it changes something, or has somebody else do so
    WRITE = "write"
    #: it sends something out of the house, an address included
    OUT = "out"


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """Something a model may call."""

    spec: ToolSpec
    #: takes the JSON text of the arguments; what it raises is told to the model, a `ToolFailed` word for word
    run: Callable[[str, Caller], Awaitable[str | Later]]
    #: calling it twice is as good as calling it once, so a crash may repeat it
    is_idempotent: bool = False
    #: a person has to allow each call
    asks: bool = False
    reach: Reach = Reach.WRITE
    deadline_s: float = 120.0


def spec(name: str, description: str, arguments: type[msgspec.Struct]) -> ToolSpec:
    """Describe a tool to models; *arguments* is a struct of plain fields, each annotated with its description."""
    _, components = msgspec.json.schema_components([arguments])
    schema = components[arguments.__name__]
    parameters = {key: schema[key] for key in ("type", "properties", "required") if key in schema}
    return ToolSpec(
        name=name, description=description, parameters={**parameters, "additionalProperties": False}
    )


def decoded(
    arguments: type[Args], run: Callable[[Args, Caller], Awaitable[str | Later]]
) -> Callable[[str, Caller], Awaitable[str | Later]]:
    """Return *run* as a `Tool` has it: the JSON text is decoded and checked first, on a thread if it is long.

    A key that stands twice is refused: a person who allows a call may have read the other one.
    """

    def read(text: str) -> Args:
        try:
            return msgspec.convert(strict_json.read(text.encode(errors="surrogatepass") or b"{}"), arguments)
        except NotStrict as error:
            raise ToolFailed(f"wrong arguments: the text {error}") from None

    async def checked(text: str, caller: Caller) -> str | Later:
        is_long = len(text) > MAX_LOOP_BYTES
        return await run(await on_thread(partial(read, text)) if is_long else read(text), caller)

    return checked


class ToolBox:
    """The tools of one agent, by name."""

    def __init__(self, tools: Sequence[Tool] = ()) -> None:
        self._tools: Mapping[str, Tool] = {tool.spec.name: tool for tool in tools}

    @property
    def specs(self) -> list[ToolSpec]:
        """The tools as the model sees them."""
        return [tool.spec for tool in self._tools.values()]

    def without(self, name: str) -> "ToolBox":
        """Return the same tools but one."""
        if name not in self._tools:
            return self
        return ToolBox([tool for tool in self._tools.values() if tool.spec.name != name])

    def is_idempotent(self, name: str) -> bool:
        """Whether a call whose outcome is unknown may be repeated."""
        return name in self._tools and self._tools[name].is_idempotent

    def asks(self, name: str) -> bool:
        """Whether a person has to allow each call."""
        return name in self._tools and self._tools[name].asks

    def only(self, names: Collection[str]) -> "ToolBox":
        """Return a box with those of the tools that are named."""
        return ToolBox([tool for name, tool in self._tools.items() if name in names])

    def reading(self) -> "ToolBox":
        """Return a box with those of the tools that only read."""
        return ToolBox([tool for tool in self._tools.values() if tool.reach is Reach.READ])

    def each(self, change: Callable[[Tool], Tool]) -> "ToolBox":
        """Return a box with what *change* makes of each of the tools."""
        return ToolBox([change(tool) for tool in self._tools.values()])

    @property
    def names(self) -> AbstractSet[str]:
        """What the tools are called."""
        return self._tools.keys()

    async def call(self, call: ToolCall, caller: Caller) -> Result | Later:
        """Call a tool under its deadline and answer a result, whatever happens in it."""
        tool = self._tools.get(call.tool)
        if tool is None:
            return failed(call, f"there is no tool {call.tool!r}")
        try:
            async with asyncio.timeout(tool.deadline_s) as deadline:
                answer = await tool.run(call.arguments, msgspec.structs.replace(caller, call_id=call.call_id))
        except msgspec.DecodeError as error:
            return failed(call, f"wrong arguments: {error}")
        except ToolFailed as error:
            return failed(call, f"{error.message}; {error.hint}" if error.hint else error.message)
        except Exception as error:  # noqa: BLE001 - the wall of a tool: the model reads what went wrong and decides
            if deadline.expired():
                return failed(call, f"{call.tool} took longer than {tool.deadline_s:g} s")
            return failed(call, f"{call.tool} failed: {type(error).__name__}: {error}")
        return answer if isinstance(answer, Later) else _result(call, answer)


def failed(call: ToolCall, text: str) -> Result:
    """Return the result of a call that came to nothing."""
    clean = text[:MAX_ERROR_CHARS].encode(errors="replace").decode()
    return Result(tool=call.tool, call_id=call.call_id, text=clean, is_error=True)


def interrupted(call: ToolCall) -> Result:
    """Return the result of a call that a crash cut off and that may not be repeated."""
    return failed(call, INTERRUPTED)


def _result(call: ToolCall, text: str) -> Result:
    data = text.encode(errors="replace")  # halves of surrogate pairs cannot be stored
    if len(data) > MAX_RESULT_BYTES:
        return failed(call, f"the result has more than {MAX_RESULT_BYTES >> 20} MiB")
    return Result(tool=call.tool, call_id=call.call_id, text=data.decode())
