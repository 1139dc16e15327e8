"""How a prompt reads in the words of pydantic-ai, and how its stream reads in ours. Pure.

Whatever a model once wrote is sent back to it with each prompt, so what a strict provider would refuse is
mended: else one bad answer would block a session for good. Arguments that are no JSON object are wrapped by
the library; impossible names, ids that repeat and messages without a word are mended here.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from typing import assert_never

import msgspec
from pydantic_ai.messages import (
    CachePoint,
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
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from tidegate.agent import opaque
from tidegate.agent.limit import Room
from tidegate.agent.model import Prompt, ToolCall, ToolSpec
from tidegate.agent.pairing import pairs, unused
from tidegate.agent.prompt import reminded
from tidegate.domain.entry import Assistant, Body, Call, Notice, Result, Summary, System, User, opaque_of

BROKEN_OFF = "[broken off here by a failure of the connection; the rest never came]"
LEFT_OUT = "[the beginning of the conversation is left out]"
GO_ON = "[go on]"
BLANK = "[an empty message]"

_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")  # OpenAI's limit; Anthropic takes 64

_Asked = System | User | Result | Summary
_Answered = Assistant | Call


def messages(prompt: Prompt, by: str) -> list[ModelMessage]:
    """Return the instructions and the transcript; what only readers see is left out.

    What *by*, see `Target.identity`, once gave goes back to it whole.
    """
    found: list[ModelMessage] = []
    if prompt.instructions:
        found.append(ModelRequest(parts=[SystemPromptPart(content=prompt.instructions)]))
    bodies = reminded(prompt.bodies, prompt.reminder)
    told = list(_identified([body for body in bodies if _is_told(body)]))
    spoken = [body for body in told if not isinstance(body, System)]
    if spoken and isinstance(spoken[0], _Answered):  # a long turn is cut where it has to be
        told.insert(0, User(text=LEFT_OUT))
    if not spoken or isinstance(spoken[-1], _Answered):  # few models go on with their own words
        told.append(User(text=GO_ON))
    for is_answer, group in groupby(told, key=lambda body: isinstance(body, _Answered)):
        if is_answer:
            found += _responses([body for body in group if isinstance(body, _Answered)], by)
        else:
            found.append(_request(group))
    return found


def marked(messages: Sequence[ModelMessage]) -> Sequence[ModelMessage]:
    """Set a mark, for providers that want one, up to where the next prompt is the same: the message before the latest.

    What the latest message of a user is told with is gone from it in the next prompt.
    """
    asked = [
        part
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, UserPromptPart)
    ]
    for part in asked[-2:-1]:
        part.content = [str(part.content), CachePoint()]
    return messages


def simplified(prompt: Prompt) -> Prompt | None:
    """Return a prompt in which nothing is left that some provider refuses; None if nothing of that was in it.

    A provider's own data are left out, ids are such as all take, and what users say in a row is one message.
    """
    told, bodies = [body for body in prompt.bodies if _is_told(body)], list[Body]()
    for body in _identified(told, keeps_ids=False):
        match body:
            case Assistant() | Call():
                bodies.append(msgspec.structs.replace(body, opaque=""))
            case User() | Summary() if bodies and isinstance(bodies[-1], User | Summary):
                bodies[-1] = User(text=f"{_read(bodies[-1])}\n\n{_read(body)}")
            case _:
                bodies.append(body)
    return None if bodies == told else msgspec.structs.replace(prompt, bodies=bodies)


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


def take(event: ModelResponseStreamEvent, room: Room) -> None:
    """Count what an event adds to the answer.

    Raises:
        Flood: That is too much.
    """
    part = event.part if isinstance(event, PartStartEvent) else None
    room.take(size_of(event), parts=int(part is not None), calls=int(isinstance(part, ToolCallPart)))


def size_of(event: ModelResponseStreamEvent) -> int:
    """Return how many characters an event adds to the answer, of whatever kind."""
    match event:
        case PartStartEvent(part=TextPart(content=text) | ThinkingPart(content=text)):
            return len(text)
        case PartStartEvent(part=ToolCallPart(args=args, tool_name=name, tool_call_id=call_id)):
            return len(name) + len(call_id) + len(str(args or ""))
        case PartDeltaEvent(delta=ToolCallPartDelta(args_delta=args, tool_name_delta=more)):
            return len(more or "") + len(str(args or ""))
        case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return len(text)
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=thought, signature_delta=signature)):
            return len(thought or "") + len(signature or "")
        case _:
            return 0


def is_progress(event: ModelResponseStreamEvent) -> bool:
    """Whether an event brings an answer on by a word, a thought, or a call or a piece of one."""
    match event:
        case PartStartEvent(part=ToolCallPart()):
            return True
        case (
            PartStartEvent(part=TextPart(content=text) | ThinkingPart(content=text))
            | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
        ):
            return bool(text.strip())
        case PartDeltaEvent(delta=ToolCallPartDelta(args_delta=args) as more):
            return bool(more.tool_name_delta or more.tool_call_id or args)
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=thought, signature_delta=signature)):
            return bool(thought or signature)
        case _:
            return False


def calls_of(response: ModelResponse, *, is_cut: bool) -> list[ToolCall]:
    """Return the calls that an answer asks for, with their arguments as the model wrote them.

    A call that the model was still writing when it reached its limit is left out, even if it happens to be JSON.
    """
    parts = response.parts[:-1] if is_cut and isinstance(response.parts[-1], ToolCallPart) else response.parts
    return [
        ToolCall(call_id=clean(part.tool_call_id), tool=clean(part.tool_name), arguments=clean(_raw(part)))
        for part in parts
        if isinstance(part, ToolCallPart)
    ]


def clean(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can spell and UTF-8 cannot."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _raw(part: ToolCallPart) -> str:
    return part.args if isinstance(part.args, str) and part.args else part.args_as_json_str()


def _is_told(body: Body) -> bool:
    """Whether a model is told of it."""
    return not isinstance(body, Notice) and (not isinstance(body, System) or bool(body.text.strip()))


def _identified(bodies: Sequence[Body], *, keeps_ids: bool = True) -> Iterator[Body]:
    """Give each call an id that providers take and no other call has, and its result the same."""
    calls = {result: call for call, result in pairs(bodies).items()}
    given: dict[int, str] = {}
    taken: set[str] = set()
    for at, body in enumerate(bodies):
        if isinstance(body, Call):
            is_kept = keeps_ids and body.call_id not in taken and _ID.fullmatch(body.call_id)
            given[at] = body.call_id if is_kept else unused(body.call_id, taken)
            taken.add(given[at])
            yield msgspec.structs.replace(body, tool=_name(body.tool), call_id=given[at])
        elif not isinstance(body, Result):
            yield body
        elif at in calls:
            yield msgspec.structs.replace(body, tool=_name(body.tool), call_id=given[calls[at]])


def _request(bodies: Iterable[Body]) -> ModelRequest:
    return ModelRequest(parts=[_asked(body) for body in bodies if isinstance(body, _Asked)])


def _responses(bodies: Sequence[_Answered], by: str) -> Iterator[ModelResponse]:
    """Yield the answers in a row of bodies; the first body of an answer may hold what else was in it.

    Blank texts are left out, which models write before a call and refuse to read; so are answers that say nothing.
    """
    starts = [at for at, body in enumerate(bodies) if at == 0 or opaque_of(body)]
    for start, end in pairwise([*starts, len(bodies)]):
        answer = bodies[start:end]
        whole = opaque.restore(answer, by) if opaque_of(answer[0]) else None
        response = whole or ModelResponse(parts=[_answered(body) for body in answer])
        said = [
            part for part in response.parts if not (isinstance(part, TextPart) and not part.content.strip())
        ]
        if any(not isinstance(part, ThinkingPart) for part in said):
            yield replace(response, parts=said)


def _asked(body: _Asked) -> ModelRequestPart:
    match body:
        case System():
            return SystemPromptPart(content=body.text)
        case User() | Summary():
            return UserPromptPart(content=_read(body))
        case Result():
            return ToolReturnPart(tool_name=body.tool, content=_shown(body), tool_call_id=body.call_id)
        case _:
            assert_never(body)


def _read(body: User | Summary) -> str:
    if isinstance(body, Summary):
        # made from what users and tools said, so it does not get the authority of a system message
        return f"[summary of the conversation so far]\n{body.text}"
    return body.text if body.text.strip() else BLANK


def _answered(body: _Answered) -> ModelResponsePart:
    if isinstance(body, Assistant):
        return TextPart(content=f"{body.text}\n\n{BROKEN_OFF}" if body.is_partial else body.text)
    return ToolCallPart(tool_name=body.tool, args=body.text, tool_call_id=body.call_id)


def _shown(body: Result) -> str:
    if body.blob is None:
        return body.text
    return f"{body.text}\n[only the beginning is shown; the whole result has {body.blob.bytes} bytes]"


def _name(tool: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", tool)[:64] or "unnamed"
