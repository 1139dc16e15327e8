"""How a prompt reads in the words of pydantic-ai, and how its stream reads in ours. Pure.

Whatever a model once wrote is sent back to it with each prompt, so what a strict provider would refuse is
mended: else one bad answer would block a session for good. Arguments that are no JSON object are wrapped by
the library, impossible names of tools are mended here.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import assert_never

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from tidegate.agent.model import Prompt, ToolCall, ToolSpec
from tidegate.domain.entry import Assistant, Body, Call, Notice, Result, Summary, System, User

_Asked = System | User | Result | Summary
_Answered = Assistant | Call


def messages(prompt: Prompt) -> list[ModelMessage]:
    """Return the instructions and the transcript; what only readers see is left out."""
    head: list[ModelMessage] = []
    if prompt.instructions:
        head.append(ModelRequest(parts=[SystemPromptPart(content=prompt.instructions)]))
    told = (body for body in prompt.bodies if not isinstance(body, Notice))
    groups = groupby(told, key=lambda body: isinstance(body, _Answered))
    return head + [_response(group) if is_answer else _request(group) for is_answer, group in groups]


def parameters(tools: Sequence[ToolSpec]) -> ModelRequestParameters:
    """Return the tools; their arguments are checked by themselves, not by the provider."""
    return ModelRequestParameters(
        function_tools=[
            ToolDefinition(
                name=tool.name,
                description=tool.description,
                parameters_json_schema=dict(tool.parameters),
                strict=False,
            )
            for tool in tools
        ]
    )


def text_of(event: ModelResponseStreamEvent) -> str:
    """Return the text that an event adds to the answer; thoughts and calls add none."""
    match event:
        case (
            PartStartEvent(part=TextPart(content=text))
            | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
        ):
            return clean(text)
        case _:
            return ""


def calls_of(response: ModelResponse) -> list[ToolCall]:
    """Return the calls that an answer asks for, with their arguments as the model wrote them."""
    return [
        ToolCall(call_id=clean(part.tool_call_id), tool=clean(part.tool_name), arguments=clean(_raw(part)))
        for part in response.parts
        if isinstance(part, ToolCallPart)
    ]


def clean(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can spell and UTF-8 cannot."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _raw(part: ToolCallPart) -> str:
    return part.args if isinstance(part.args, str) and part.args else part.args_as_json_str()


def _request(bodies: Iterable[Body]) -> ModelRequest:
    return ModelRequest(parts=[_asked(body) for body in bodies if isinstance(body, _Asked)])


def _response(bodies: Iterable[Body]) -> ModelResponse:
    return ModelResponse(parts=[_answered(body) for body in bodies if isinstance(body, _Answered)])


def _asked(body: _Asked) -> ModelRequestPart:
    match body:
        case System():
            return SystemPromptPart(content=body.text)
        case User():
            return UserPromptPart(content=body.text)
        case Summary():
            # made from what users and tools said, so it does not get the authority of a system message
            return UserPromptPart(content=f"[summary of the conversation so far]\n{body.text}")
        case Result():
            return ToolReturnPart(tool_name=_name(body.tool), content=_shown(body), tool_call_id=body.call_id)
        case _:
            assert_never(body)


def _answered(body: _Answered) -> ModelResponsePart:
    if isinstance(body, Assistant):
        return TextPart(content=body.text)
    return ToolCallPart(tool_name=_name(body.tool), args=body.text, tool_call_id=body.call_id)


def _shown(body: Result) -> str:
    if body.blob is None:
        return body.text
    return f"{body.text}\n[only the beginning is shown; the whole result has {body.blob.bytes} bytes]"


def _name(tool: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", tool)[:64] or "unnamed"
