"""Chat completions for clients that speak OpenAI's API; ``model`` is the name of an agent.

Without a session header the request's messages are the whole context of a session that ends with its answer. With
``X-Tidegate-Session: KEY`` it is that session, and only what comes after the last assistant message is new.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tidegate.agent.loop import Agent
from tidegate.domain.entry import Assistant, Body, Call, Entry, Result, System, User
from tidegate.domain.run import Lane, Origin, Run, RunState
from tidegate.domain.session import Outcome, PolicyName
from tidegate.edge import openai_errors, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.query import agent_name, receipt_of
from tidegate.edge.wire import Json
from tidegate.errors import BadMessage, BadRequest, NoAnswer, TidegateError
from tidegate.ids import session_key
from tidegate.runtime.bus import Piece
from tidegate.runtime.intake import Intake
from tidegate.store.admission import Admission, Admitted, Birth

MAX_MESSAGES = 2_000


class FunctionIn(msgspec.Struct, frozen=True, kw_only=True):
    """The function of a tool call in a request's history."""

    name: str
    arguments: str = "{}"


class ToolCallIn(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call in a request's history."""

    id: str
    function: FunctionIn


class ChatMessageIn(msgspec.Struct, frozen=True, kw_only=True):
    """One message; what else a client sends along is passed over."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[ToolCallIn] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class StreamOptionsIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream should hold besides text."""

    include_usage: bool = False


class ChatIn(msgspec.Struct, frozen=True, kw_only=True):
    """A request; sampling parameters are the agent's own, those of a request are passed over."""

    messages: list[ChatMessageIn]
    model: str | None = None
    stream: bool = False
    stream_options: StreamOptionsIn | None = None
    n: int | None = 1
    tools: list[dict[str, Any]] | None = None


class OpenAI:
    """Handlers of the compatible routes."""

    def __init__(self, intake: Intake, agents: Mapping[str, Agent], started_at: int) -> None:
        self._intake = intake
        self._agents = agents
        self._created = started_at // 1_000

    async def models(self, _: Request) -> Response:
        """List the agents; the first one is the default."""
        data = [
            {"id": name, "object": "model", "created": self._created, "owned_by": "tidegate"}
            for name in self._agents
        ]
        return Json({"object": "list", "data": data})

    async def complete(self, request: Request) -> Response:
        """Answer a conversation."""
        chat = await wire.decode(await wire.body_of(request), ChatIn)
        agent = agent_name(self._agents, chat.model)
        admitted = await self._intake.submit(_admission(request, chat, agent), at_once=not chat.stream)
        head = {
            "id": f"chatcmpl-{admitted.run.id}",
            "created": admitted.run.created_at // 1_000,
            "model": agent,
        }
        headers = {"X-Tidegate-Session": admitted.session.key}
        if chat.stream:
            with_usage = chat.stream_options is not None and chat.stream_options.include_usage
            stream = self._stream(admitted, head, with_usage=with_usage)
            return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
        run, text = await self._intake.answer(admitted.run)
        _check(run)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        answer = head | {"object": "chat.completion", "choices": [choice], "usage": _usage(run)}
        return Json(answer, headers=headers)

    async def _stream(
        self, admitted: Admitted, head: dict[str, object], *, with_usage: bool
    ) -> AsyncIterator[bytes]:
        chunk = head | {"object": "chat.completion.chunk"}
        yield _event(chunk, {"role": "assistant", "content": ""})
        try:
            async with aclosing(self._texts(admitted.run)) as texts:
                async for text in texts:
                    yield _event(chunk, {"content": text})
            run = await self._intake.outcome(admitted.run)
            _check(run)
        except TidegateError as error:
            yield b"data: %s\n\n" % msgspec.json.encode({"error": openai_errors.content(error)})
            return
        yield _event(chunk, {}, finish="stop")
        if with_usage:
            yield b"data: %s\n\n" % msgspec.json.encode(chunk | {"choices": [], "usage": _usage(run)})
        yield b"data: [DONE]\n\n"

    async def _texts(self, run: Run) -> AsyncGenerator[str, None]:
        """Yield what the run says as it comes; what was missed follows from the entries."""
        said = ""
        seen = 0
        async with aclosing(self._intake.follow(run)) as events:
            async for event in events:
                if isinstance(event, Piece) and event.run == run.id:
                    if event.at == len(said):
                        said += event.text
                        yield event.text
                elif (
                    isinstance(event, Entry)
                    and event.body.run == run.id
                    and isinstance(event.body, Assistant)
                ):
                    if missing := _missing(said, await self._intake.text(event)):
                        yield missing
                    said, seen = "", event.seq
        done, reply = await self._intake.answer(run)
        if done.reply_seq is not None and done.reply_seq > seen:
            yield _missing(said, reply)

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        return [
            Endpoint(
                method="GET",
                path="/v1/models",
                handler=self.models,
                summary="List agents, as OpenAI lists models",
            ),
            Endpoint(
                method="POST",
                path="/v1/chat/completions",
                handler=self.complete,
                body=ChatIn,
                summary="Answer a conversation, as OpenAI does",
                errors=(400, 404, 409, 413, 429, 503, 507),
                headers={
                    "X-Tidegate-Session": "the key of a session to go on with",
                    "Idempotency-Key": "same key and body: the same answer, for 24 hours",
                },
            ),
        ]


def _check(run: Run) -> None:
    """Refuse to pass off an end without an answer as one.

    Raises:
        NoAnswer: The run failed, was cancelled or took too long.
    """
    if run.state is RunState.WAITING:
        raise NoAnswer(
            "the run waits for a person to allow a call", hint="`tidegate approvals list` shows it"
        )
    if run.outcome is not Outcome.OK:
        raise NoAnswer(run.error or f"the run was {str(run.outcome).replace('_', ' ')}")


def _missing(said: str, text: str) -> str:
    """Return what of a text has not been said yet."""
    return text.removeprefix(said)


def _event(chunk: dict[str, object], delta: dict[str, object], *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return b"data: %s\n\n" % msgspec.json.encode(chunk | {"choices": [choice]})


def _usage(run: Run) -> dict[str, int]:
    return {
        "prompt_tokens": run.usage.input_tokens,
        "completion_tokens": run.usage.output_tokens,
        "total_tokens": run.usage.total,
    }


def _admission(request: Request, chat: ChatIn, agent: str) -> Admission:
    """Make a piece of work of a request.

    Raises:
        BadRequest: It asks for something that there is not.
    """
    if chat.tools:
        raise BadRequest("the agent uses its own tools; a request cannot bring any", hint="leave `tools` out")
    if chat.n not in {1, None}:
        raise BadRequest(f"n={chat.n} is not possible; there is one answer")
    key = request.headers.get("x-tidegate-session")
    bodies = _bodies(_new_messages(chat.messages) if key else chat.messages)
    if not bodies or not isinstance(bodies[-1], User | Result):
        raise BadRequest("the last message must be the user's or a tool's")
    return Admission(
        key=session_key(key) if key else None,
        birth=Birth(policy=PolicyName.API_NAMED if key else PolicyName.API, agent=agent),
        agent_is_named=chat.model is not None,
        lane=Lane.INTERACTIVE,
        origin=Origin.MESSAGE,
        bodies=bodies,
        receipt=receipt_of(request, f"completions:{key or ''}", chat),
    )


def _new_messages(messages: Sequence[ChatMessageIn]) -> Sequence[ChatMessageIn]:
    """Return what comes after the last assistant message."""
    last = max((index for index, message in enumerate(messages) if message.role == "assistant"), default=-1)
    return messages[last + 1 :]


def _bodies(messages: Sequence[ChatMessageIn]) -> list[Body]:
    if len(messages) > MAX_MESSAGES:
        raise BadRequest(f"{len(messages)} messages are more than {MAX_MESSAGES}")
    tools: dict[str, str] = {}
    bodies: list[Body] = []
    for index, message in enumerate(messages):
        bodies += _body(index, message, tools)
    return bodies


def _body(index: int, message: ChatMessageIn, tools: dict[str, str]) -> list[Body]:
    text = _text(index, message)
    match message.role:
        case "system" | "developer":
            return [System(text=text)]
        case "user":
            return [User(text=text)]
        case "assistant":
            calls: list[Body] = []
            for call in message.tool_calls or []:
                tools[call.id] = call.function.name
                calls.append(
                    Call(tool=call.function.name[:128], call_id=call.id[:128], text=call.function.arguments)
                )
            return [Assistant(text=text), *calls] if text or not calls else calls
        case "tool":
            call_id = message.tool_call_id or ""
            return [Result(tool=tools.get(call_id, "unknown")[:128], call_id=call_id[:128], text=text)]
        case _:
            raise BadMessage(
                f"messages[{index}].role is {message.role[:40]!r}", hint="use system, user, assistant, tool"
            )


def _text(index: int, message: ChatMessageIn) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for part in message.content:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise BadRequest(f"messages[{index}].content has a part that is no text", hint="send text alone")
    return "".join(part["text"] for part in message.content)
