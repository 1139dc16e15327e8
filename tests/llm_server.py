"""A scripted model server on loopback, for tests of everything that speaks to a real provider.

It speaks as OpenAI does, and as Anthropic does below ``/v1/messages`` (`anthropic_words`).

Each request takes the next `Reply` of the script; when the script is used up it is answered by rule:
``/echo TEXT`` answers TEXT, ``/call TOOL JSON`` asks for a tool and then answers its result, all else gets
``ok``. A history that a strict provider refuses is refused (`strict`). Requests are recorded. Every wait in here is
bounded by `WAIT_S`.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import anthropic_words
import strict
from replies import MURMUR_S, PIECES, WAIT_S, Json, Reply, pieces

__all__ = ["PIECES", "WAIT_S", "LlmServer", "Reply", "Request"]

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one request asked."""

    path: str
    headers: dict[str, str]
    body: Json

    @property
    def messages(self) -> list[Json]:
        """The conversation as the client sent it."""
        return list(self.body["messages"])

    @property
    def is_anthropic(self) -> bool:
        """Whether it speaks as Anthropic does."""
        return self.path.partition("?")[0].endswith("/messages")


@dataclass
class LlmServer:
    """The server; a context manager, listening on a free port."""

    script: list[Reply] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    #: set when a client hung up on a reply that hangs
    hung_up: threading.Event = field(default_factory=threading.Event)
    #: what was refused, and why
    refused: list[str] = field(default_factory=list)
    #: how many tokens it takes, of 3 bytes each, all that is sent counted; it refuses more as llama.cpp does
    window: int | None = None

    def __enter__(self) -> Self:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False  # so that closing waits for them
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(WAIT_S)

    @property
    def base_url(self) -> str:
        """What a client is configured with."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def take(self, request: Request) -> Reply:
        """Record a request and say what it is answered."""
        self.requests.append(request)
        if reason := strict.refusal(request.body, is_anthropic=request.is_anthropic):
            self.refused.append(reason)
            error = {"type": "invalid_request_error", "message": reason}
            return Reply(status=400, body=json.dumps({"type": "error", "error": error}))
        count = len(json.dumps(request.body, ensure_ascii=False).encode()) // 3
        if self.window is not None and count > self.window:
            self.refused.append(f"{count} tokens")
            return _too_long(count, self.window)
        reply = self.script.pop(0) if self.script else _by_rule(request.messages)
        return reply if self.window is None else replace(reply, read_tokens=count)


def _too_long(count: int, window: int) -> Reply:
    """Refuse a prompt; source: tools/server/server.cpp of llama.cpp."""
    words = (
        f"request ({count} tokens) exceeds the available context size ({window} tokens), try increasing it"
    )
    error = {"code": 400, "message": words, "type": "exceed_context_size_error"}
    return Reply(status=400, body=json.dumps({"error": {**error, "n_prompt_tokens": count, "n_ctx": window}}))


def _by_rule(messages: list[Json]) -> Reply:
    last = messages[-1]
    block = last["content"][-1] if isinstance(last["content"], list) else {"text": last["content"]}
    if last["role"] == "tool" or block.get("type") == "tool_result":
        return Reply(text=str(block.get("text") or block.get("content")))
    command, _, rest = str(block["text"]).partition(" ")
    if command == "/call":
        tool, _, arguments = rest.partition(" ")
        return Reply(calls=[(f"call_{len(messages)}", tool, arguments or "{}")])
    return Reply(text=rest if command == "/echo" else "ok")


def _handler(server: LlmServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        llm = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    llm: LlmServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.llm.take(Request(path=self.path, headers=headers, body=body))
        self.close_connection = True
        try:
            if reply.body is not None or not body.get("stream"):
                self._send_whole(reply)
            else:
                self._stream(reply)
        except (BrokenPipeError, ConnectionResetError):
            self.llm.hung_up.set()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""

    def _send_whole(self, reply: Reply) -> None:
        text = json.dumps(_completion(reply)) if reply.body is None else reply.body
        headers = {"content-type": reply.content_type, "content-length": str(len(text.encode()))}
        self._send_head(reply.status, headers | dict(reply.headers))
        self.wfile.write(text.encode())
        self._end(reply)

    def _stream(self, reply: Reply) -> None:
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        self._send_head(200, headers | dict(reply.headers))
        for _ in range(reply.murmurs):
            self._murmur(reply)
        is_anthropic = self.path.partition("?")[0].endswith("/messages")
        for event in anthropic_words.events(reply) if is_anthropic else _events(reply):
            self._send_chunk(event)
        self._end(reply)
        if reply.end != "torn":
            self._send_chunk("")

    def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())

    def _end(self, reply: Reply) -> None:
        if reply.end not in {"hang", "linger"}:
            return
        for _ in range(int(WAIT_S / MURMUR_S)):
            self._murmur(reply)

    def _murmur(self, reply: Reply) -> None:
        """Say what is said meanwhile, after a moment in which the client may hang up."""
        self.connection.settimeout(MURMUR_S)
        try:
            if not self.connection.recv(1):
                raise ConnectionResetError
        except TimeoutError:
            if reply.murmur:
                self._send_chunk(reply.murmur)


def _events(reply: Reply) -> Iterator[str]:
    for thought, _ in reply.thoughts:
        yield _event({"reasoning_content": thought})
    for piece in pieces(reply):
        yield _event({"content": piece})
    for index, call in enumerate(_calls(reply)):
        yield _event({"tool_calls": [{"index": index, **call}]})
    if reply.trouble:
        yield f"data: {json.dumps(reply.trouble)}\n\n"
    elif reply.end in {"whole", "linger"}:
        yield _event({}, _finish(reply))
    if reply.end == "whole" and not reply.trouble:
        yield f"data: {json.dumps({**_head('chat.completion.chunk'), 'choices': [], 'usage': _usage(reply)})}\n\n"
        yield "data: [DONE]\n\n"


def _event(delta: Json, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({**_head('chat.completion.chunk'), 'choices': [choice]})}\n\n"


def _completion(reply: Reply) -> Json:
    message = {"role": "assistant", "content": reply.text or None, "tool_calls": _calls(reply) or None}
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply)}
    return {**_head("chat.completion"), "choices": [choice], "usage": _usage(reply)}


def _usage(reply: Reply) -> Json:
    usage: Json = USAGE | ({} if reply.read_tokens is None else {"prompt_tokens": reply.read_tokens})
    if not reply.cached_tokens:
        return usage
    return usage | {"prompt_tokens_details": {"cached_tokens": reply.cached_tokens}}


def _head(kind: str) -> Json:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_800_000_000, "model": "scripted"}


def _finish(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.calls else "stop")


def _calls(reply: Reply) -> list[Json]:
    return [
        {"id": call_id, "type": "function", "function": {"name": tool, "arguments": arguments}}
        for call_id, tool, arguments in reply.calls
    ]
