"""Loads of `hostile` that are hard to read rather than many: bodies, webhooks, and what a model says and wants done."""

import asyncio
import base64
import http.client
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

from child import Child, free_port
from report import MIB
from tidegate import signature

KEY = b"a key of twenty-four byt"
SECRET = "HOSTILE_SECRET"  # noqa: S105 - the name of a variable
BODY_BYTES = 4 * MIB - 1_024
HOOK_BYTES = MIB - 1_024
CALLS = 10_000
DELTAS = 100_000
PAUSE_S = 0.2  # between two of a kind

ASK = json.dumps({"model": "victim", "messages": [{"role": "user", "content": "hello"}]}).encode()

Events = Callable[[int], Iterator[bytes]]
Send = Callable[[int], None]

CONFIG = """\
[providers.hostile]
type = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key_env = "{secret}"

[agents.main]

[agents.victim]
model = "hostile/tiny"

[hooks.hostile]
secret_env = "{secret}"
max_body = "1MB"
rate = 600
template = "/echo {{body}}"
"""


def configured(place: Path) -> Path:
    """Write a configuration with a hook, and a second agent whose provider is hostile."""
    port = free_port()
    os.environ[SECRET] = signature.PREFIX + base64.b64encode(KEY).decode()
    path = place / "tidegate.toml"
    path.write_text(CONFIG.format(port=port, secret=SECRET))
    return path


def load_library(child: Child) -> None:
    """Let the gateway load what speaks to models, which it keeps: nobody is there to answer yet."""
    _post(child, "/v1/chat/completions", ASK, {})


@asynccontextmanager
async def nested_body(child: Child) -> AsyncIterator[None]:
    """Send 4 MiB of nested lists as a completion, again and again."""
    unit = "[" * 60 + "]" * 60 + ","
    async with _repeated(child, f'{{"messages":[{unit * (BODY_BYTES // len(unit))}0]}}'.encode()):
        yield


@asynccontextmanager
async def many_keys(child: Child) -> AsyncIterator[None]:
    """Send objects of as many keys as there may be, of which the last one stands twice."""
    async with _repeated(child, _keys(45_000)):
        yield


@asynccontextmanager
async def signed_hook(child: Child) -> AsyncIterator[None]:
    """Send 1 MiB of keys, and values that indentation makes large, properly signed."""
    unit = "[" * 50 + "0,0,0" + "]" * 50 + ","
    bodies = [_keys(45_000), f"[{unit * (HOOK_BYTES // len(unit))}0]".encode()]

    def send(number: int) -> None:
        body = bodies[number % 2]
        made = signature.sign([KEY], f"hostile-{number}", int(time.time()), body)
        headers = {"webhook-id": made.id, "webhook-timestamp": made.timestamp}
        _post(child, "/hooks/hostile", body, headers | {"webhook-signature": made.signature})

    async with _again(send):
        yield


@asynccontextmanager
async def many_calls(child: Child) -> AsyncIterator[None]:
    """Let a model ask for 10,000 tools in one answer, each in an event of its own."""
    async with _answering(child, lambda _: (_event(_call(number)) for number in range(CALLS))):
        yield


@asynccontextmanager
async def short_deltas(child: Child) -> AsyncIterator[None]:
    """Let a model answer 100,000 characters, each in an event of its own, as fast as they are read."""
    async with _answering(child, lambda _: (_event({"content": "x"}) for _ in range(DELTAS))):
        yield


@asynccontextmanager
async def large_edit(child: Child) -> AsyncIterator[None]:
    """Let a model write a file of 512 KiB and put 4 KiB in the place of each of its characters."""
    write = {"path": "large", "text": "x" * (MIB // 2)}
    edit = {"path": "large", "old": "x", "new": "y" * 4_096, "all": True}

    def events(request: int) -> Iterator[bytes]:
        name, arguments = ("write_file", write) if request % 2 else ("edit_file", edit)
        yield _event(_call(0, name, json.dumps(arguments)))

    async with _answering(child, events):
        yield


def _port(child: Child) -> int:
    """Return where the configuration says that the provider is."""
    text = (child.state.parent / "tidegate.toml").read_text()
    return int(text.partition("127.0.0.1:")[2].partition("/")[0])


def _keys(count: int) -> bytes:
    return ("{" + ",".join(f'"{number:x}":0' for number in range(count)) + ',"0":1}').encode()


def _call(number: int, name: str = "list_files", arguments: str = "{}") -> dict[str, object]:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": number, "id": f"c{number}", "type": "function", "function": function}]}


def _event(delta: object, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "h", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
    return f"data: {json.dumps(head | {'choices': [choice]})}\n\n".encode()


@asynccontextmanager
async def _answering(child: Child, events: Events) -> AsyncIterator[None]:
    """Be the provider of the second agent, and ask that agent again and again."""
    requests = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(size.partition(b":")[2]))
            requests += 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            for event in events(requests):
                writer.write(event)
                await writer.drain()
            writer.write(_event({}, "stop") + b"data: [DONE]\n\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", _port(child))
    async with server, _repeated(child, ASK):
        yield


def _repeated(child: Child, body: bytes) -> AbstractAsyncContextManager[None]:
    return _again(lambda _: _post(child, "/v1/chat/completions", body, {}))


@asynccontextmanager
async def _again(send: Send) -> AsyncIterator[None]:
    """Send one after the other, until the end."""
    is_on = True

    async def repeat() -> None:
        number = 0
        while is_on:
            with suppress(OSError, http.client.HTTPException):
                await asyncio.to_thread(send, number)
            number += 1
            await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(repeat())
        yield
        is_on = False


def _post(child: Child, path: str, body: bytes, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=60)
    try:
        connection.request("POST", path, body, {"Authorization": f"Bearer {child.token}", **headers})
        connection.getresponse().read()
    finally:
        connection.close()
