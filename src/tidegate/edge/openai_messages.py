"""The messages of a chat completion, in every form that clients keep them in, as entries.

What stands in a history is taken as it was said: calls of tools that the client had, refusals, the older ``function``
role. Thoughts and empty answers are left out; what is no text cannot be read and is refused.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from tidegate.domain.entry import Assistant, Body, Call, Result, System, User
from tidegate.errors import BadMessage, BadRequest

MAX_MESSAGES = 2_000
NAME_CHARS = 128
INSTRUCTING = frozenset({"system", "developer"})  # roles

_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_THOUGHTS = frozenset({"reasoning", "reasoning_text", "thinking", "redacted_thinking"})


class FunctionIn(msgspec.Struct, frozen=True, kw_only=True):
    """The function of a call in a request's history."""

    name: str
    arguments: str | dict[str, Any] | None = None


class CustomIn(msgspec.Struct, frozen=True, kw_only=True):
    """A custom tool of a call in a request's history; its input is any text."""

    name: str
    input: str | None = None


class ToolCallIn(msgspec.Struct, frozen=True, kw_only=True):
    """A call in a request's history."""

    id: str | None = None
    function: FunctionIn | None = None
    custom: CustomIn | None = None


class ChatMessageIn(msgspec.Struct, frozen=True, kw_only=True):
    """One message; what else a client sends along is passed over."""

    role: str
    content: str | list[str | dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallIn] | None = None
    tool_call_id: str | None = None
    function_call: FunctionIn | None = None
    name: str | None = None


def bodies_of(messages: Sequence[ChatMessageIn]) -> list[Body]:
    """Return the messages as they are kept.

    Raises:
        BadRequest: There are none or too many, or one holds what cannot be read.
    """
    if len(messages) > MAX_MESSAGES:
        raise BadRequest(f"{len(messages)} messages are more than {MAX_MESSAGES}")
    reading = _Reading()
    bodies = [body for index, message in enumerate(messages) for body in reading.bodies(index, message)]
    if not bodies:
        raise BadRequest("there is no message")
    return bodies


class _Reading:
    """What of the messages before tells what a result belongs to."""

    def __init__(self) -> None:
        #: the name of each tool by the id of its call
        self._tools: dict[str, str] = {}
        #: the ids of calls by the older form, which have no id of their own, by name
        self._open: dict[str, str] = {}

    def bodies(self, index: int, message: ChatMessageIn) -> list[Body]:
        text = _text(index, message)
        match message.role:
            case "system" | "developer":
                return [System(text=text)]
            case "user":
                return [User(text=text)]
            case "assistant":
                said: list[Body] = [Assistant(text=text)] if text.strip() else []
                return [*said, *self._calls(index, message)]
            case "tool":
                return [self._result(message.tool_call_id or "", text)]
            case "function":
                return [self._result(self._open.pop(message.name or "", ""), text)]
            case _:
                raise BadMessage(
                    f"messages[{index}].role is {message.role[:40]!r}",
                    hint="use system, user, assistant, tool",
                )

    def _calls(self, index: int, message: ChatMessageIn) -> list[Body]:
        calls: list[Body] = []
        for number, call in enumerate(message.tool_calls or []):
            name, arguments = _called(f"messages[{index}].tool_calls[{number}]", call)
            calls.append(self._call(call.id or f"call_{index}_{number}", name, arguments))
        if message.function_call is not None:
            name, call_id = message.function_call.name, f"function_{index}"
            self._open[name] = call_id
            calls.append(self._call(call_id, name, _arguments(message.function_call)))
        return calls

    def _call(self, call_id: str, name: str, arguments: str) -> Call:
        self._tools[call_id] = name
        return Call(tool=name[:NAME_CHARS], call_id=call_id[:NAME_CHARS], text=arguments)

    def _result(self, call_id: str, text: str) -> Result:
        tool = self._tools.get(call_id, "unknown")
        return Result(tool=tool[:NAME_CHARS], call_id=call_id[:NAME_CHARS], text=text)


def _called(where: str, call: ToolCallIn) -> tuple[str, str]:
    """Return the name and the arguments of a call; a custom tool's input becomes its only argument."""
    if call.function is not None:
        return call.function.name, _arguments(call.function)
    if call.custom is not None:
        return call.custom.name, json.dumps({"input": call.custom.input or ""}, ensure_ascii=False)
    raise BadMessage(f"{where} has neither a function nor a custom tool")


def _arguments(function: FunctionIn) -> str:
    if isinstance(function.arguments, dict):
        return json.dumps(function.arguments, ensure_ascii=False)
    return function.arguments or "{}"


def _text(index: int, message: ChatMessageIn) -> str:
    if isinstance(message.content, list):
        return "".join(_part(index, part) for part in message.content)
    return message.content or message.refusal or ""


def _part(index: int, part: str | dict[str, Any]) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type")
    if kind in _THOUGHTS:
        return ""
    text = part.get(_TEXTS.get(str(kind), ""))
    if not isinstance(text, str):
        raise BadRequest(f"messages[{index}].content has a part that is no text", hint="send text alone")
    return text
