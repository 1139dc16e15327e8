"""What a person notices while somebody means ill: each load beside a chat, on a gateway of its own.

A load is an async context manager in `LOADS`: while it is open, its harm is being done. Beside it a person chats on one
connection, and a probe asks for a session that is not there on another one, with the token, or it would be closed as a
stranger's; its longest answer is taken for the lag of the loop. What the person met before the load is told, too.

Run: python bench/hostile.py [LOAD …] [--seconds N]. To reach, for each: lag at most 100 ms; memory back within 8 MiB
at most 10 s after the load has gone; a person's p99 at most 50 ms meanwhile; no message without an answer.
"""

import argparse
import asyncio
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import hostile_work
from child import Child, compile_bytecode, folder
from latency import Person
from report import MIB, Goal, finish, percentiles, say

SILENT = 2_000
STREAMS = 1_000
HISTORY = 64  # entries of a chat that streams begin to read
LARGE_CHARS = 30_000  # an entry of it
NARROW_BYTES = 4 << 10  # what a client that reads nothing lets come
CONNECT_AT_ONCE = 50
CONNECT_S = 10.0
PAUSE_S = 0.05  # between two messages of the person, and between two probes
LOOK_S = 0.1  # between two looks at the memory
WARM_UP_S = 5.0
BACK_S = 10.0  # after which all is to be as before

Load = Callable[[Child], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def silent_sockets(child: Child) -> AsyncIterator[None]:
    """Connect and say nothing, half of a head, or a head whose body never comes; without a token."""
    said = (
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: local",
        b"POST /hooks/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n",
    )
    async with _connections(child, [said[number % len(said)] for number in range(SILENT)]):
        yield


@asynccontextmanager
async def unread_streams(child: Child) -> AsyncIterator[None]:
    """Open streams and read nothing: half of them of a long history, half of the chat of the person."""
    for number in range(HISTORY):
        await asyncio.to_thread(Person(child).say, f"/echo {number} {'x' * LARGE_CHARS}", key="history")
    heads = [_stream("history" if number % 2 else "person", child.token) for number in range(STREAMS)]
    async with _connections(child, heads):
        yield


#: by name; each is put on while a person chats
LOADS: Mapping[str, Load] = MappingProxyType(
    {
        "silent_sockets": silent_sockets,
        "unread_streams": unread_streams,
        "nested_body": hostile_work.nested_body,
        "many_keys": hostile_work.many_keys,
        "signed_hook": hostile_work.signed_hook,
        "many_calls": hostile_work.many_calls,
        "short_deltas": hostile_work.short_deltas,
        "large_edit": hostile_work.large_edit,
    }
)


def _stream(key: str, token: str) -> bytes:
    return (
        f"GET /api/sessions/{key}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


@asynccontextmanager
async def _connections(child: Child, said: list[bytes]) -> AsyncIterator[None]:
    """Hold a connection for each of *said*; those that the gateway closes or does not take are not opened again."""
    held: list[socket.socket] = []
    turns = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def connect(text: bytes) -> None:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
        one.setblocking(False)  # noqa: FBT003 - its signature
        held.append(one)
        with suppress(OSError, TimeoutError):
            async with turns, asyncio.timeout(CONNECT_S):
                loop = asyncio.get_running_loop()
                await loop.sock_connect(one, ("127.0.0.1", child.port))
                await loop.sock_sendall(one, text)

    try:
        async with asyncio.TaskGroup() as tasks:
            for text in said:
                tasks.create_task(connect(text))
        yield
    finally:
        for one in held:
            one.close()


class Witness:
    """What a person, a probe and the memory say, from threads of their own, until `end`."""

    def __init__(self, child: Child) -> None:
        self.waits: list[float] = []
        self.lags: list[float] = []
        self.failed = 0
        self.peak_bytes = 0
        self._child = child
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=part) for part in (self._talk, self._probe, self._look)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _talk(self) -> None:
        person, number = Person(self._child), 0
        while not self._ends.wait(PAUSE_S):
            number += 1
            try:
                self.waits.append(person.say(f"/echo {number}", key="person"))
            except (OSError, RuntimeError, http.client.HTTPException):
                self.failed += 1
                person = Person(self._child)

    def _probe(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._child.port, timeout=60)
        headers = {"Authorization": f"Bearer {self._child.token}"}
        while not self._ends.wait(PAUSE_S):
            started = time.perf_counter()
            try:
                connection.request("GET", "/api/sessions/nobody", headers=headers)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()
            self.lags.append(time.perf_counter() - started)
        connection.close()

    def _look(self) -> None:
        while not self._ends.wait(LOOK_S):
            self.peak_bytes = max(self.peak_bytes, self._child.rss_bytes)


@contextmanager
def witness(child: Child) -> Iterator[Witness]:
    """Let somebody look on."""
    looking = Witness(child)
    try:
        yield looking
    finally:
        looking.end()


def refused(child: Child) -> dict[str, float]:
    """Return what the gateway has refused so far, by reason."""
    connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=60)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {child.token}"})
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = re.findall(r'^tidegate_refused_total\{reason="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {reason: float(count) for reason, count in found if float(count)}


def measure(load: Load, place: Path, seconds: float) -> dict[str, object]:
    """Put a load on a fresh gateway for some seconds and return what was seen."""
    place.mkdir()
    child = Child(place / "state", hostile_work.configured(place))
    try:
        Person(child).say("/echo hello", key="person")
        hostile_work.load_library(child)
        with witness(child) as calm:
            time.sleep(WARM_UP_S)
        before = child.rss_bytes
        with witness(child) as seen:

            async def harm() -> None:
                async with load(child):
                    await asyncio.sleep(seconds)

            asyncio.run(harm())
        after = _settled(child, before)
        told = {
            "lag_ms": percentiles(seen.lags),
            "person_ms": percentiles(seen.waits),
            "person_ms_before": percentiles(calm.waits),
            "messages": len(seen.waits),
            "failed": seen.failed,
            "before_mib": round(before / MIB, 1),
            "peak_mib": round(seen.peak_bytes / MIB, 1),
            "after_mib": round(after / MIB, 1),
            "refused": refused(child),
        }
    finally:
        code = child.stop()
    return told | {"exit_code": code}


def _settled(child: Child, before: int) -> int:
    """Wait until memory is back, at most for the time that this may take, and return it."""
    ends_at = time.perf_counter() + BACK_S
    while time.perf_counter() < ends_at and child.rss_bytes > before:
        time.sleep(LOOK_S)
    return child.rss_bytes


def goals_of(name: str, seen: Mapping[str, object]) -> list[Goal]:
    """Return what has to be true under each load."""
    told = json.loads(json.dumps(seen))
    return [
        Goal(f"{name}: ended with an error", float(told["exit_code"] != 0), 0),
        Goal(f"{name}: messages without an answer", told["failed"], 0),
        Goal(f"{name}: longest lag, ms", told["lag_ms"].get("max", float("inf")), 100),
        Goal(f"{name}: a person's p99, ms", told["person_ms"].get("p99", float("inf")), 50),
        Goal(f"{name}: memory that stays, MiB", told["after_mib"] - told["before_mib"], 8),
    ]


def main() -> None:
    """Measure each load and print the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("loads", nargs="*", metavar="LOAD", help=f"of {', '.join(LOADS)}; all by default")
    parser.add_argument("--seconds", type=float, default=15.0, help="that each load stays on")
    options = parser.parse_args()
    if unknown := set(options.loads) - LOADS.keys():
        parser.error(f"no such load: {', '.join(sorted(unknown))}")
    wanted = options.loads or list(LOADS)
    compile_bytecode()
    figures: dict[str, object] = {}
    goals: list[Goal] = []
    with folder(None) as place:
        for name in wanted:
            say(f"{name} …")
            seen = measure(LOADS[name], place / name, options.seconds)
            figures[name] = seen
            goals += goals_of(name, seen)
    finish("hostile", {"seconds": options.seconds, "durability": "FULL", "model": "offline"}, figures, goals)


if __name__ == "__main__":
    main()
