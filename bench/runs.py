"""What a run takes in memory while it waits for its model: with a short prompt, and with the longest that may be sent.

A scripted model server in this process holds every answer back until all runs are open at once; the gateway is a
process of its own. Told is its resident memory with all runs open, less that before them, divided by their number; a
forecast counts as much for each slot (`runtime/forecast.py`).

Run: python bench/runs.py [--runs N]. To reach: at most 160 KiB a run, and two and a half times its prompt.
"""

import argparse
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from child import Child, compile_bytecode, folder
from report import MIB, Goal, finish, say

KIB = 1 << 10
CONFIG = (
    '[model]\nprovider = "openai"\nname = "scripted"\nbase_url = "{url}"\napi_key_env = "TIDEGATE_TOKEN"\n'
)
HOLD = "hold"
TEXT_BYTES = 40_000  # of a message; its row still holds it
LONG_TEXTS = 11  # about what a window of 128,000 tokens takes
SETTLE = 3  # rounds before a measurement, so that nothing is there for the first time


class Server(ThreadingHTTPServer):
    """The model; requests whose last message says so are held until `gate` is open."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gate = threading.Event()
        self.held = threading.Semaphore(0)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        """Answer in one piece."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if str(body["messages"][-1]["content"]).startswith(HOLD):
            self.server.held.release()
            self.server.gate.wait()
        choice = {"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}
        event = {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }
        data = f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Taken(NamedTuple):
    """What each of the runs took, and how long its prompt was."""

    run_kib: float
    prompt_kib: float


@contextmanager
def serving() -> Iterator[tuple[Server, str]]:
    """Run the model server."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server, f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def measure(child: Child, server: Server, runs: int, texts: int) -> Taken:
    """Fill as many chats, then open a run in each at once."""
    keys = [f"chat-{texts}-{number}" for number in range(runs)]
    for key in keys:
        for number in range(texts):
            _say(child, key, f"{number} " + "word " * (TEXT_BYTES // 5))
    for _ in range(SETTLE):
        for key in keys:
            _say(child, key, "go on")
    before = child.rss_bytes
    server.gate.clear()
    with ThreadPoolExecutor(runs) as pool:
        asked = [pool.submit(_say, child, key, HOLD) for key in keys]
        for _ in keys:
            server.held.acquire()
        during = child.rss_bytes
        server.gate.set()
        for answer in asked:
            answer.result()
    return Taken(round((during - before) / runs / KIB, 1), round(texts * TEXT_BYTES / KIB, 1))


def _say(child: Child, key: str, text: str) -> None:
    child.ask("POST", f"/api/sessions/{key}/messages?wait=1", {"text": text})


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=24, help="at once, at most the slots of the gateway")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure")
    asked = parser.parse_args()
    compile_bytecode()
    with folder(asked.dir) as state, serving() as (server, url):
        config = state / "runs.toml"
        config.write_text(CONFIG.format(url=url))
        child = Child(state, config)
        try:
            idle = child.rss_bytes
            _say(child, "first", "hello")
            libraries_mib = (child.rss_bytes - idle) / MIB
            say("short prompts")
            short = measure(child, server, asked.runs, 0)
            say("the longest prompts")
            long = measure(child, server, asked.runs, LONG_TEXTS)
        finally:
            child.stop()
    factor = max(0.0, long.run_kib - short.run_kib) / long.prompt_kib
    figures = {
        "libraries_mib": round(libraries_mib, 1),
        "short": short._asdict(),
        "long": long._asdict(),
        "prompts": round(factor, 2),
    }
    goals = [
        Goal("libraries of models, once, MiB", libraries_mib, 64.0),
        Goal("a run with a short prompt, KiB", short.run_kib, 160.0),
        Goal("prompts that a long one takes", factor, 2.5),
    ]
    finish("runs", {"runs": asked.runs, "slots": 32}, figures, goals)


if __name__ == "__main__":
    main()
