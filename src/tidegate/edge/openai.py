"""Chat completions for clients that speak OpenAI's API; ``model`` is the name of an agent.

Without a session header the request's messages are the whole context of a session that ends with its answer. With
``X-Tidegate-Session: KEY`` it is that session, and only what comes after the last assistant message is new.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from itertools import takewhile
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidegate.agent.loop import Agent
from tidegate.domain.entry import Body
from tidegate.domain.run import Lane, Origin, Run, RunState
from tidegate.domain.session import Outcome, PolicyName
from tidegate.edge import openai_errors, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.event_stream import ALIVE
from tidegate.edge.leaving import LeavingStream, unless_left
from tidegate.edge.openai_messages import INSTRUCTING, ChatMessageIn, bodies_of
from tidegate.edge.query import agent_name, receipt_of
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest, NoAnswer, TidegateError
from tidegate.ids import session_key
from tidegate.runtime.intake import Intake
from tidegate.runtime.reply import Reply
from tidegate.store.admission import Admission, Admitted, Birth, Receipt

KEEP_ALIVE_S = 10.0
#: ways to say that the model chooses by itself, of the tools that it has, or uses none
_FREE_CHOICES = (None, "auto", "none")


class StreamOptionsIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream should hold besides text."""

    include_usage: bool | None = None


class ChatIn(msgspec.Struct, frozen=True, kw_only=True):
    """A request; null is as good as absent. Sampling parameters are the agent's own, a request's are passed over."""

    messages: list[ChatMessageIn]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptionsIn | None = None
    n: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    modalities: list[str] | None = None


class OpenAI:
    """Handlers of the compatible routes."""

    def __init__(self, intake: Intake, agents: Mapping[str, Agent], started_at: int) -> None:
        self._intake = intake
        self._agents = agents
        self._created = started_at // 1_000

    async def models(self, _: Request) -> Response:
        """List the agents; the first one is the default."""
        return Json({"object": "list", "data": [self._model(name) for name in self._agents]})

    async def model(self, request: Request) -> Response:
        """Show an agent."""
        return Json(self._model(agent_name(self._agents, request.path_params["model"])))

    async def complete(self, request: Request) -> Response:
        """Answer a conversation."""
        chat = await wire.decode(await wire.body_of(request), ChatIn)
        agent = agent_name(self._agents, chat.model)
        admitted = await self._intake.submit(_admission(request, chat, agent))
        head = {
            "id": f"chatcmpl-{admitted.run.id}",
            "created": admitted.run.created_at // 1_000,
            "model": agent,
        }
        headers = {"X-Tidegate-Session": admitted.session.key}
        reply = self._intake.reply(admitted, quiet_s=KEEP_ALIVE_S if chat.stream else None)
        abandon = partial(self._abandon, admitted, request)
        if chat.stream:
            with_usage = chat.stream_options is not None and bool(chat.stream_options.include_usage)
            stream = await unless_left(request, _begun(_stream(reply, head, with_usage=with_usage)), abandon)
            return LeavingStream(stream, headers, abandon)
        text = await unless_left(request, reply.whole(), abandon)
        _check_end(reply.run)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": _finish(reply), "logprobs": None}
        answer = head | {"object": "chat.completion", "choices": [choice], "usage": _usage(reply.run)}
        return Json(answer, headers=headers)

    async def _abandon(self, admitted: Admitted, request: Request) -> None:
        """End the run of a client that has gone, if nobody else may ask for its answer."""
        if not admitted.session.policy.is_conversation and "idempotency-key" not in request.headers:
            await self._intake.abandon(admitted)

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "tidegate"}

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
                method="GET",
                path="/v1/models/{model}",
                handler=self.model,
                summary="Show an agent, as OpenAI shows a model",
                errors=(404,),
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


async def _begun(stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Return a stream once it has begun, so that what fails before its first word has a status of its own."""
    first = await anext(stream)

    async def whole() -> AsyncGenerator[bytes, None]:
        async with aclosing(stream):
            yield first
            async for event in stream:
                yield event

    return whole()


async def _stream(reply: Reply, head: dict[str, object], *, with_usage: bool) -> AsyncGenerator[bytes, None]:
    """Yield the events of an answer.

    Raises:
        TidegateError: It failed before its first word; what fails later is an event.
    """
    chunk = head | {"object": "chat.completion.chunk"}
    start = _event(chunk, {"role": "assistant", "content": ""})
    has_begun = False
    try:
        async with aclosing(reply.texts()) as texts:
            async for text in texts:
                if not has_begun:
                    yield start
                    has_begun = True
                yield _event(chunk, {"content": text}) if text else ALIVE
        _check_end(reply.run)
    except TidegateError as error:
        if not has_begun:
            raise
        yield _data({"error": openai_errors.content(error)})
        return
    if not has_begun:
        yield start
    yield _event(chunk, {}, finish=_finish(reply))
    if with_usage:
        yield _data(chunk | {"choices": [], "usage": _usage(reply.run)})
    yield b"data: [DONE]\n\n"


def _check_end(run: Run) -> None:
    """Refuse to pass off an end without an answer as one; that it waits for a person is told in its words.

    Raises:
        NoAnswer: The run failed, was cancelled or took too long.
    """
    if run.state is not RunState.DONE or run.outcome is Outcome.OK:
        return
    message = run.error or f"the run was {str(run.outcome).replace('_', ' ')}"
    if run.failure is None:
        raise NoAnswer(message)
    raise NoAnswer(message, reason=run.failure.code, retry_after_s=run.failure.retry_after_s)


def _finish(reply: Reply) -> str:
    return "length" if reply.is_cut else "stop"


def _event(chunk: dict[str, object], delta: dict[str, object], *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return _data(chunk | {"choices": [choice]})


def _data(content: object) -> bytes:
    return b"data: %s\n\n" % wire.event_data(content)


def _usage(run: Run) -> dict[str, object]:
    return {
        "prompt_tokens": run.usage.input_tokens,
        "completion_tokens": run.usage.output_tokens,
        "total_tokens": run.usage.total,
        "prompt_tokens_details": {"cached_tokens": run.usage.cached_tokens},
    }


def _admission(request: Request, chat: ChatIn, agent: str) -> Admission:
    """Make a piece of work of a request.

    Raises:
        BadRequest: It asks for something that there is not.
    """
    _check(chat)
    key = request.headers.get("x-tidegate-session")
    bodies = bodies_of(_new_messages(chat.messages) if key else chat.messages)
    receipt = receipt_of(request, f"completions:{key or ''}", chat)
    return Admission(
        key=session_key(key) if key else None,
        birth=Birth(policy=PolicyName.API_NAMED if key else PolicyName.API, agent=agent),
        agent_is_named=chat.model is not None,
        lane=Lane.INTERACTIVE,
        origin=Origin.MESSAGE,
        bodies=bodies,
        receipt=_repeat(key, bodies) if key and receipt is None else receipt,
    )


def _repeat(key: str, bodies: Sequence[Body]) -> Receipt:
    """Return what tells a message that a client repeats while the session is still at it from a new one."""
    digest = hashlib.blake2b(msgspec.json.encode(bodies), digest_size=16)
    return Receipt(scope=f"open:{key}", key=digest.hexdigest(), body_hash=digest.digest(), while_open=True)


def _check(chat: ChatIn) -> None:
    """Refuse what would make the answer another one than was asked for; what only colours it is passed over.

    Raises:
        BadRequest: It asks for something that there is not.
    """
    for name, tools, choice in (
        ("tools", chat.tools, chat.tool_choice),
        ("functions", chat.functions, chat.function_call),
    ):
        if (tools and choice != "none") or choice not in _FREE_CHOICES:
            raise BadRequest(
                "the agent uses its own tools; a request cannot bring any", hint=f"leave `{name}` out"
            )
    if chat.n not in {1, None}:
        raise BadRequest(f"n={chat.n} is not possible; there is one answer")
    if chat.logprobs:
        raise BadRequest("logprobs are not known", hint="leave `logprobs` out")
    if chat.response_format and chat.response_format.get("type") != "text":
        raise BadRequest(
            "the answer is text; no other `response_format` is possible", hint="ask for it in words"
        )
    if chat.modalities and chat.modalities != ["text"]:
        raise BadRequest("the answer is text; no other of `modalities` is possible")


def _new_messages(messages: Sequence[ChatMessageIn]) -> Sequence[ChatMessageIn]:
    """Return what comes after the last assistant message, behind what the request instructs before anything else.

    Raises:
        BadRequest: Nothing does.
    """
    last = max((index for index, message in enumerate(messages) if message.role == "assistant"), default=-1)
    if last + 1 == len(messages):
        raise BadRequest("in a session only what comes after the last answer is new; there is nothing")
    instructing = list(takewhile(lambda message: message.role in INSTRUCTING, messages))
    return [*instructing[: last + 1], *messages[last + 1 :]]
