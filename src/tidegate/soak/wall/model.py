"""A scripted model behind HTTP, on loopback, in OpenAI's dialect: what a gateway in a soak asks instead of a real one.

It is as deterministic as the offline model, which does most of its thinking. Where that one has tools of its own, this
one does as real models do: it is slow by itself, and says much by itself.
"""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tidegate.agent.model import Answer, Prompt, ToolCall
from tidegate.agent.offline import OfflineModel
from tidegate.domain.entry import Assistant, Body, Result, User
from tidegate.domain.run import Usage
from tidegate.edge.lean import uvicorn
from tidegate.edge.server import Server

HOST = "127.0.0.1"
PIECE_CHARS = 4_000
MAX_BYTES = 1_000_000  # of what it says; a command for more is one that it gets wrong
STATUS = "session_status"

_SLEEP = re.compile(r"/sleep ([0-9.]+)")
_BIG = re.compile(r"/big ([0-9]+)")


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a request."""

    role: str
    content: str | list[dict[str, str]] | None = None
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        """Its text, however it was written."""
        if isinstance(self.content, list):
            return "".join(part.get("text", "") for part in self.content)
        return self.content or ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request; all else in it makes no difference."""

    messages: list[Said]


class ScriptedModel:
    """The model."""

    async def complete(self, request: Request) -> Response:
        """Answer a request, as a stream."""
        try:
            asked = msgspec.json.decode(await request.body(), type=Asked)
        except ClientDisconnect:  # a run may be cancelled at any time
            return Response(status_code=499)
        return StreamingResponse(self._events(list(_bodies(asked.messages))), media_type="text/event-stream")

    async def _events(self, bodies: Sequence[Body]) -> AsyncGenerator[bytes, None]:
        answer = await _answer(bodies)
        for start in range(0, len(answer.text), PIECE_CHARS):
            yield _chunk({"content": answer.text[start : start + PIECE_CHARS]})
        for delta in _calls(answer.calls):
            yield _chunk(delta)
        yield _chunk({}, "tool_calls" if answer.calls else "stop")
        used = {"prompt_tokens": answer.usage.input_tokens, "completion_tokens": answer.usage.output_tokens}
        yield _event({"choices": [], "usage": used | {"total_tokens": answer.usage.total}})
        yield b"data: [DONE]\n\n"


@asynccontextmanager
async def served(model: ScriptedModel) -> AsyncIterator[str]:
    """Serve a model on a free port, and hand out its base URL."""
    app = Starlette(routes=[Route("/v1/chat/completions", model.complete, methods=["POST"])])
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",  # streams that break off are a part of the load
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    with socket.create_server((HOST, 0)) as listener:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve(sockets=[listener]))
            try:
                await server.until_started()
                yield f"http://{HOST}:{listener.getsockname()[1]}/v1"
            finally:
                server.should_exit = True
            await serving


async def _answer(bodies: Sequence[Body]) -> Answer:
    at = max((at for at, body in enumerate(bodies) if isinstance(body, User)), default=-1)
    message = bodies[at].text if at >= 0 else ""
    if found := _SLEEP.fullmatch(message):
        await asyncio.sleep(float(found[1]))
        return _said(f"slept {found[1]}")
    if found := _BIG.fullmatch(message):
        return _big(int(found[1]), is_told=at < len(bodies) - 1, number=len(bodies))
    async for piece in OfflineModel().stream(Prompt(instructions="", bodies=bodies)):
        if isinstance(piece, Answer):
            return piece
    return _said("")


def _big(size: int, *, is_told: bool, number: int) -> Answer:
    """Look at the session first, then say so many bytes; too many are asked of a tool that takes none."""
    if is_told:
        return _said(("0123456789abcde\n" * (size // 16 + 1))[:size] if size <= MAX_BYTES else "too many")
    arguments = "{}" if size <= MAX_BYTES else f'{{"bytes": {size}}}'
    call = ToolCall(call_id=f"scripted-{number}", tool=STATUS, arguments=arguments)
    return Answer(text="", calls=(call,), usage=Usage(input_tokens=10, output_tokens=5))


def _said(text: str) -> Answer:
    return Answer(text=text, usage=Usage(input_tokens=10, output_tokens=1 + len(text) // 4))


def _bodies(messages: Iterable[Said]) -> Iterator[Body]:
    for message in messages:
        match message.role:
            case "user":
                yield User(text=message.text)
            case "assistant":
                yield Assistant(text=message.text)
            case "tool":
                yield Result(tool="", call_id=message.tool_call_id, text=message.text)


def _calls(calls: Iterable[ToolCall]) -> Iterator[dict[str, object]]:
    for index, call in zip(count(), calls, strict=False):
        function = {"name": call.tool, "arguments": call.arguments}
        yield {"tool_calls": [{"index": index, "id": call.call_id, "type": "function", "function": function}]}


def _chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _event(content: dict[str, object]) -> bytes:
    head = {
        "id": "scripted",
        "object": "chat.completion.chunk",
        "created": 1_800_000_000,
        "model": "scripted",
    }
    return b"data: %s\n\n" % msgspec.json.encode(head | content)
