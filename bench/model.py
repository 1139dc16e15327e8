"""What one request to a model over HTTP costs the gateway, with few and with many stored sessions.

A scripted model server runs in a process of its own, and this script is the client, so that what is measured is the
gateway alone: from an OpenAI client's request to the model's stream and back, with a session that is made, answered,
completed and kept.

Run: python bench/model.py [--requests N] [--sessions N ...] [--quick]. To reach: at most 20 ms of CPU a request, with
100 and with 100,000 stored sessions; resident memory flat over 1,000 requests.
"""

import argparse
import asyncio
import http.client
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvloop

from child import Child, compile_bytecode, environment, folder
from idle import archive_many
from report import MIB, Goal, finish, say, spread

BLOCKS = 10
WARM_UP = 100
FLAT_MIB = 2.0
WORDS = 40  # of an answer, each an event of its own
CONFIG = '[model]\nprovider = "{dialect}"\nname = "scripted"\nbase_url = "{url}"\n[sweep]\ninterval = "1s"\n'
BODY = json.dumps({"model": "main", "messages": [{"role": "user", "content": "What is new? " * 20}]})


class Block(NamedTuple):
    """What a block of requests took."""

    cpu_ms: float
    rss_mib: float


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests of one connection with the same stream, in the dialect that the path names."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):  # the gateway has closed it
            writer.close()
            return
        size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(size.partition(b":")[2]))
        events = _anthropic() if b"/messages" in head else _openai()
        body = "".join(events).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        await writer.drain()


def _openai() -> Iterator[str]:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1_800_000_000, "model": "scripted"}
    for word in range(WORDS):
        choice = {"index": 0, "delta": {"content": f"word {word} "}, "finish_reason": None}
        yield f"data: {json.dumps(head | {'choices': [choice]})}\n\n"
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 60, "completion_tokens": WORDS, "total_tokens": 60 + WORDS}
    yield f"data: {json.dumps(head | {'choices': [end], 'usage': usage})}\n\ndata: [DONE]\n\n"


def _anthropic() -> Iterator[str]:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "scripted", "content": []}
    started = message | {"stop_reason": None, "usage": {"input_tokens": 60, "output_tokens": 1}}
    yield _event("message_start", message=started)
    yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for word in range(WORDS):
        yield _event("content_block_delta", index=0, delta={"type": "text_delta", "text": f"word {word} "})
    yield _event("content_block_stop", index=0)
    yield _event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": WORDS})
    yield _event("message_stop")


def _event(kind: str, **more: object) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n"


async def _serve() -> None:
    """Be the model server; its address is the first line that it prints."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


@contextmanager
def model_server() -> Iterator[str]:
    """Run the model server in a process of its own; yield its address."""
    command = [sys.executable, __file__, "--serve"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip() if process.stdout else ""
    finally:
        process.kill()
        process.wait()


def ask(child: Child, count: int) -> None:
    """Ask the gateway so often, one request after the other, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=30)
    headers = {"Authorization": f"Bearer {child.token}", "Content-Type": "application/json"}
    try:
        for _ in range(count):
            connection.request("POST", "/v1/chat/completions", BODY, headers)
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(response.read().decode())
            response.read()
    finally:
        connection.close()


def measure(state: Path, dialect: str, url: str, requests: int) -> list[Block]:
    """Start a gateway, warm it up, and ask it block by block."""
    config = state.with_suffix(f".{dialect}.toml")
    config.write_text(CONFIG.format(dialect=dialect, url=url))
    child = Child(state, config)
    found = []
    try:
        ask(child, WARM_UP)
        for _ in range(BLOCKS):
            cpu_s = child.cpu_s
            ask(child, requests // BLOCKS)
            found.append(Block(1_000 * (child.cpu_s - cpu_s) / (requests // BLOCKS), child.rss_bytes / MIB))
    finally:
        child.stop()
    say(
        f"{state.name}, {dialect}: {statistics.median(one.cpu_ms for one in found):.2f} ms, {found[-1].rss_mib:.1f} MiB"
    )
    return found


def figures_of(blocks: Sequence[Block]) -> dict[str, object]:
    """Return what blocks tell."""
    return {
        "cpu_ms_per_request": spread([block.cpu_ms for block in blocks]),
        "rss_mib_by_block": [round(block.rss_mib, 2) for block in blocks],
        "rss_growth_mib": round(growth(blocks), 2),
    }


def growth(blocks: Sequence[Block]) -> float:
    """Return how much the floor of the second half lies above that of the first."""
    half = len(blocks) // 2
    return min(block.rss_mib for block in blocks[half:]) - min(block.rss_mib for block in blocks[:half])


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1_000, help="after the warm-up")
    parser.add_argument("--sessions", type=int, nargs="+", default=[100, 100_000], help="stored before")
    parser.add_argument("--quick", action="store_true", help="200 requests, 100 and 2,000 sessions")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to use; default: the temporary one")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.serve:
        uvloop.run(_serve())
        return
    requests, sizes = (200, [100, 2_000]) if wanted.quick else (wanted.requests, wanted.sessions)
    compile_bytecode()
    figures: dict[str, object] = {}
    goals = []
    with folder(wanted.dir) as path, model_server() as url:
        for size in sizes:
            state = path / f"with-{size}"
            state.mkdir(mode=0o700)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(archive_many(state, size))
            for dialect in ("openai", "anthropic"):
                blocks = measure(state, dialect, url, requests)
                figures[f"{dialect}, {size} sessions"] = figures_of(blocks)
                cpu_ms = statistics.median(block.cpu_ms for block in blocks)
                goals.append(Goal(f"CPU a request, ms, {dialect}, {size} sessions", cpu_ms, 20.0))
                goals.append(Goal(f"RSS growth, MiB, {dialect}, {size} sessions", growth(blocks), FLAT_MIB))
    conditions = {
        "requests": requests,
        "warm_up": WARM_UP,
        "concurrency": 1,
        "events_of_an_answer": WORDS,
        "durability": "WAL, synchronous=FULL",
        "entries_per_stored_session": 2,
        "bytecode": "compiled before",
    }
    finish("model", conditions, figures, goals)


if __name__ == "__main__":
    main()
