"""Clients that read nothing hold little, delay nobody and leave nothing: not for a while, nor for the collector.

Source: a thousand streams that nobody read left 20 MiB of objects that led back to themselves.
"""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import CoroutineType

import pytest
import uvloop

from tidegate.app import Gateway, gateway, listen
from tidegate.clock import SystemClock
from tidegate.config import Config
from tidegate.domain.entry import Entry
from tidegate.edge.protocol import Protocol
from tidegate.edge.stream import Stream
from tidegate.errors import BadMessage
from tidegate.ids import SessionId
from tidegate.runtime.bus import Subscription
from tidegate.strict_json import NotStrict

STREAMS = 20
WAIT_S = 10.0
MOST_COROUTINES = 10  # of a stream that waits
RESET = struct.pack("ii", 1, 0)  # a close that sends no end, but says that nobody is there

pytestmark = pytest.mark.serial


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Gateway]:
    """Serve a gateway in this process, without the collector."""
    with listen("127.0.0.1", 0) as listener, uncollected():
        async with gateway(Config(), folder, listener, SystemClock()) as built, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(built.inside.runner.serve())
            serving = tasks.create_task(built.server.serve(sockets=[listener]))
            await built.server.until_started()
            yield built
            built.server.should_exit = True
            await serving
            running.cancel()


@contextmanager
def uncollected() -> Iterator[None]:
    """Do without the collector."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def count(*kinds: type) -> int:
    """Return how many objects of some kinds there are, those included that only the collector could find."""
    return sum(isinstance(one, kinds) for one in gc.get_objects())


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test in the loop that a gateway has."""

    async def main() -> None:
        await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(WAIT_S):
        while not is_so():  # noqa: ASYNC110 - a socket that closes tells no event
            await asyncio.sleep(0.005)


def held_of(built: Gateway, name: str) -> int:
    """Return how full a container is."""
    return next(gauge.entries for gauge in built.inside.registry if gauge.name == name)


@contextmanager
def watched_turns(counts: list[int]) -> Iterator[None]:
    """Begin a new count with each turn of the loop."""
    loop, is_on = asyncio.get_running_loop(), True

    def turn() -> None:
        counts.append(0)
        if is_on:
            loop.call_soon(turn)

    turn()
    try:
        yield
    finally:
        is_on = False


def stream(built: Gateway, after: int) -> str:
    """Return the request of a stream of the session that all look at."""
    return (
        f"GET /api/sessions/s/events?after={after} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {built.token}\r\n\r\n"
    )


async def ask(built: Gateway, said: str, held: ExitStack) -> socket.socket:
    """Connect, say something and wait for the first word of the answer."""
    loop = asyncio.get_running_loop()
    one = held.enter_context(socket.socket())
    one.setblocking(False)  # noqa: FBT003 - its signature
    await loop.sock_connect(one, ("127.0.0.1", int(built.instance.url.rpartition(":")[2])))
    await loop.sock_sendall(one, said.encode())
    async with asyncio.timeout(WAIT_S):
        assert (await loop.sock_recv(one, 4_096)).startswith(b"HTTP/1.1 ")
    return one


def test_a_stream_is_one_task_and_ends_with_its_client(tmp_path: Path) -> None:
    """A stream takes one task and few coroutines while it lasts, and is gone at once when its client is."""

    async def main() -> None:
        async with served(tmp_path / "state") as built:
            admitted = await built.inside.intake.message(
                "s", "/echo hi", "main", is_named=False, receipt=None
            )
            await built.inside.intake.answer(admitted.run)
            said = stream(built, 2)
            with ExitStack() as held:
                await ask(built, said, held)
                await until(lambda: held_of(built, "subscribers") == 1)
                tasks, coroutines = len(asyncio.all_tasks()), count(CoroutineType)
                for _ in range(STREAMS):
                    await ask(built, said, held)
                await until(lambda: held_of(built, "subscribers") == STREAMS + 1)

                assert STREAMS == len(asyncio.all_tasks()) - tasks
                assert count(CoroutineType) - coroutines <= STREAMS * MOST_COROUTINES
            await until(lambda: held_of(built, "connections") + held_of(built, "subscribers") == 0)
            await until(lambda: not count(Stream, Subscription, Protocol))

    run(main)


def test_streams_read_one_in_each_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many streams begin at once, whatever else the loop has to do waits for one page at most."""

    async def main() -> None:
        async with served(tmp_path / "state") as built:
            store, reads = built.inside.store, [0]
            for number in range(5):
                admitted = await built.inside.intake.message(
                    "s", f"/echo {number}", "main", is_named=False, receipt=None
                )
                await built.inside.intake.answer(admitted.run)
            read = store.entries

            async def counted(session: SessionId, after: int, limit: int) -> list[Entry]:
                reads[-1] += 1
                return await read(session, after, limit)

            monkeypatch.setattr(store, "entries", counted)
            with ExitStack() as held, watched_turns(reads):
                for _ in range(STREAMS):
                    await ask(built, stream(built, 0), held)
                await until(lambda: sum(reads) >= 3 * STREAMS)
            await until(lambda: held_of(built, "subscribers") == 0)

            assert 1 == max(reads)

    run(main)


def test_a_refused_body_leaves_nothing(tmp_path: Path) -> None:
    """What a long body was found to be is let go with the answer; its error led back to itself through a thread."""

    async def main() -> None:
        async with served(tmp_path / "state") as built:
            body = "{" + ",".join(f'"{number}":0' for number in range(10_000)) + ',"0":1}'
            head = f"Host: localhost\r\nAuthorization: Bearer {built.token}\r\nContent-Length: {len(body)}"
            with ExitStack() as held:
                for _ in range(3):
                    await ask(built, f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n\r\n{body}", held)
            await until(lambda: held_of(built, "connections") == 0)
            await until(lambda: not count(BadMessage, NotStrict, Protocol))

    run(main)


def test_a_reset_leaves_no_timer(tmp_path: Path) -> None:
    """A connection that was answered and then reset is let go at once; the timer of a next request held it."""

    async def main() -> None:
        async with served(tmp_path / "state") as built:
            with ExitStack() as held:
                for _ in range(STREAMS):
                    one = await ask(
                        built, "POST /hooks/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n", held
                    )
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            await until(lambda: held_of(built, "connections") == 0)
            gc.collect()

            assert 0 == count(Protocol)

    run(main)
