"""Whether a gateway that has little memory is ever killed, and whom it refuses.

A real gateway in a process of its own with ``limits.memory = "128MB"`` inside 256 MiB of address space; or, with
``--group``, with no limit set in a control group of 256 MiB, where the machine lets one be made. 10,000 sessions arrive
over HTTP as fast as they are taken, a third of them with texts of 200 KB that come back as answers, while a few people
talk in their chats.

Run: python bench/pressure.py [--quick] [--group]. To reach: the process lives, every refusal is a 429 with
``Retry-After``, every message to a chat is answered.
"""

import argparse
import asyncio
import json
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from child import Child, compile_bytecode, folder
from report import MIB, Goal, finish, percentiles, say

LIMIT = "128MB"
ADDRESS_BYTES = 256 * MIB
GROUP_BYTES = 256 * MIB
LARGE_CHARS = 200_000
PEOPLE = 4
ANSWER_S = 300.0
GROUPS = Path("/sys/fs/cgroup")


class Answer(NamedTuple):
    """What came back for one request: 0 where nothing did."""

    status: int
    retry_after: str | None
    seconds: float


class Crowd:
    """Everybody who asks for something."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self.sessions: list[Answer] = []
        self.chats: list[Answer] = []

    async def come(self, count: int, at_once: int) -> None:
        """Let sessions arrive over so many connections, and people talk meanwhile."""
        numbers = iter(range(count))
        async with asyncio.TaskGroup() as people:
            talking = [people.create_task(self._talk(f"person-{at}")) for at in range(PEOPLE)]
            async with asyncio.TaskGroup() as crowd:
                for _ in range(at_once):
                    crowd.create_task(self._arrive(numbers))
            for one in talking:
                one.cancel()

    async def _arrive(self, numbers: Iterator[int]) -> None:
        line = Line(self._port, self._token)
        for number in numbers:
            text = f"/echo {number} " + ("x" * LARGE_CHARS if number % 3 == 0 else "hello")
            body = {"messages": [{"role": "user", "content": text}]}
            self.sessions.append(await line.post("/v1/chat/completions", body))
        line.close()

    async def _talk(self, key: str) -> None:
        line = Line(self._port, self._token)
        try:
            while True:
                self.chats.append(
                    await line.post(f"/api/sessions/{key}/messages?wait=1", {"text": "/echo hi"})
                )
                await asyncio.sleep(0.05)
        finally:
            line.close()


class Line:
    """A connection that is kept open, and opened again when it breaks."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader

    async def post(self, path: str, content: object) -> Answer:
        """Ask for one thing."""
        started = time.perf_counter()
        status, headers = 0, dict[str, str]()
        try:
            async with asyncio.timeout(ANSWER_S):
                status, headers = await self._post(path, json.dumps(content).encode())
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self.close()
        return Answer(status, headers.get("retry-after"), time.perf_counter() - started)

    async def _post(self, path: str, body: bytes) -> tuple[int, dict[str, str]]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        await self._reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split()[1]), headers

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


@contextmanager
def group(size: int) -> Iterator[Path]:
    """Lend a control group with a limit on its memory.

    Raises:
        OSError: None can be made here.
    """
    first = GROUPS / "memory"
    parent, name = (first, "memory.limit_in_bytes") if first.is_dir() else (GROUPS, "memory.max")
    path = parent / f"tidegate-bench-{os.getpid()}"
    path.mkdir()
    try:
        (path / name).write_text(str(size))
        yield path
    finally:
        with suppress(OSError):
            path.rmdir()


def measure(state: Path, count: int, at_once: int, joined: Path | None) -> tuple[Crowd, dict[str, object]]:
    """Let a crowd come to a gateway, and return what it met and what became of the gateway."""

    def narrow() -> None:
        if joined is None:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
        else:
            (joined / "cgroup.procs").write_text(str(os.getpid()))

    if joined is None:
        (state / "tidegate.toml").write_text(f'[limits]\nmemory = "{LIMIT}"\n')
    child = Child(state, prepare=narrow)
    crowd = Crowd(child.port, child.token)
    try:
        started = time.perf_counter()
        asyncio.run(crowd.come(count, at_once))
        took_s = time.perf_counter() - started
        status = child.ask("GET", "/api/status")
        told: dict[str, object] = {
            "seconds": round(took_s, 1),
            "peak_rss_mib": round(child.peak_bytes / MIB, 1),
            "pressure": status["pressure"],
        }
    finally:
        code = child.stop()
    return crowd, told | {"exit_code": code}


def goals_of(crowd: Crowd, exit_code: object) -> Sequence[Goal]:
    """Return what has to be true."""
    refused = [answer for answer in crowd.sessions if answer.status not in {0, 200}]
    wrong = sum(answer.status != 429 or not answer.retry_after for answer in refused)
    return [
        Goal("killed, or ended with an error", float(exit_code != 0), 0),
        Goal("refusals that are no 429 with Retry-After", wrong, 0),
        Goal("sessions that heard nothing", sum(answer.status == 0 for answer in crowd.sessions), 0),
        Goal("messages to chats without an answer", sum(answer.status != 200 for answer in crowd.chats), 0),
        Goal("no chat was answered meanwhile", float(not crowd.chats), 0),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the sessions")
    parser.add_argument("--group", action="store_true", help="in a control group, with no limit set")
    parser.add_argument("--at-once", type=int, default=256, help="connections")
    wanted = parser.parse_args()
    count = 1_000 if wanted.quick else 10_000
    compile_bytecode()
    with folder(None) as state:
        say(f"{count:,} sessions over {wanted.at_once} connections …")
        if wanted.group:
            with group(GROUP_BYTES) as joined:
                crowd, told = measure(state, count, wanted.at_once, joined)
        else:
            crowd, told = measure(state, count, wanted.at_once, None)
    figures = told | {
        "sessions": dict(Counter(answer.status for answer in crowd.sessions)),
        "chats": dict(Counter(answer.status for answer in crowd.chats)),
        "chat_seconds": percentiles([answer.seconds for answer in crowd.chats]),
    }
    conditions = {
        "sessions": count,
        "at_once": wanted.at_once,
        "memory": "a group of 256 MiB" if wanted.group else f"{LIMIT} inside 256 MiB of address space",
    }
    finish("pressure", conditions, figures, goals_of(crowd, told["exit_code"]))


if __name__ == "__main__":
    main()
