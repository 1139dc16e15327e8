"""Runs one program in a process of its own, within limits, and leaves nothing of it behind.

The program gets an argument vector, never a shell; an environment made for it; a folder; bytes to read. What it
writes is kept up to a bound, its beginning and its end, and never buffered beyond that. When the time is over or the
caller is cancelled, the program and its descendants are ended; when the gateway is killed, they are too (`launcher`).
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

from tidegate.errors import Unavailable

GRACE_S = 2.0  # between SIGTERM and SIGKILL
LEAVE_S = 8.0  # for the launcher to end everything, once told to
LINGER_S = 1.0  # for the last output, once the launcher has ended
LAUNCHER = Path(__file__).with_name("launcher.py")
REPORT_BYTES = 4_096  # the launcher writes less


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a program may take."""

    seconds: float
    memory_bytes: int = 4 << 30  # of address space
    file_bytes: int = 256 << 20
    output_bytes: int = 64 << 10


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run; `folder` is the descriptor of the folder to run it in."""

    argv: Sequence[str]
    folder: int
    environment: Mapping[str, str]
    stdin: bytes = b""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a program ended: with an exit code, by a signal, or not even started (`error`)."""

    code: int | None = None
    signal: int | None = None
    error: str = ""
    timed_out: bool = False
    #: the beginning of what it wrote, and the end
    head: bytes = b""
    tail: bytes = b""
    #: how many bytes between the two were dropped
    dropped: int = 0


async def run(program: Program, limits: Limits) -> Ended:
    """Run a program and return how it ended and what it wrote, both streams as they came.

    Cancellation: ends the program and all its descendants first.

    Raises:
        Unavailable: No process can be started now.
    """
    with contextlib.ExitStack() as stack:
        told, reports = (stack.enter_context(_owned(end)) for end in os.pipe())
        line, lifeline = (stack.enter_context(_owned(end)) for end in os.pipe())
        talk = await _start(program, limits, line.number, reports.number)
        line.close()
        reports.close()
        timed_out = False
        try:
            async with asyncio.timeout(limits.seconds):
                await asyncio.shield(talk.is_over)
        except TimeoutError:
            timed_out = True
        finally:
            lifeline.close()
            await _left(talk)
        ended = _outcome(_report(told.number))
        head, tail, dropped = talk.output.taken()
        return msgspec.structs.replace(ended, timed_out=timed_out, head=head, tail=tail, dropped=dropped)


class Output:
    """The beginning and the end of what somebody writes; the middle is counted and dropped."""

    def __init__(self, max_bytes: int) -> None:
        self._head_bytes = max_bytes // 4
        self._tail_bytes = max_bytes - self._head_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Take what was written next."""
        room = self._head_bytes - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._tail_bytes:
            self._trim()

    def taken(self) -> tuple[bytes, bytes, int]:
        """Return the beginning, the end and how many bytes are missing between them."""
        self._trim()
        return bytes(self._head), bytes(self._tail), self._dropped

    def _trim(self) -> None:
        surplus = max(0, len(self._tail) - self._tail_bytes)
        del self._tail[:surplus]
        self._dropped += surplus


class _Talk(asyncio.SubprocessProtocol):
    """The gateway's side of a program that runs."""

    def __init__(self, output: Output) -> None:
        self.is_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.output = output
        self.transport: asyncio.SubprocessTransport | None = None
        self._linger: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, _: int, data: bytes) -> None:
        """Take a piece of the output."""
        self.output.add(data)

    def process_exited(self) -> None:
        """Wait for the rest of the output, but not for ever: a descendant nobody could find may hold the pipe."""
        assert self.transport is not None  # noqa: S101 - asyncio calls in this order
        self._linger = asyncio.get_running_loop().call_later(LINGER_S, self.transport.close)

    def connection_lost(self, _: Exception | None) -> None:
        """Note that the launcher has ended and that nothing more will come."""
        if self._linger is not None:
            self._linger.cancel()
        if self.transport is not None:
            self.transport.close()
        if not self.is_over.done():
            self.is_over.set_result(None)


class _Owned:
    """A descriptor that is closed once, at the latest when its owner leaves."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._is_open = True

    def close(self) -> None:
        """Close it. Idempotent."""
        if self._is_open:
            self._is_open = False
            os.close(self.number)


@contextlib.contextmanager
def _owned(number: int) -> Iterator[_Owned]:
    owned = _Owned(number)
    try:
        yield owned
    finally:
        owned.close()


async def _start(program: Program, limits: Limits, lifeline: int, report: int) -> _Talk:
    order = {
        "lifeline": lifeline,
        "report": report,
        "folder": program.folder,
        "memory": limits.memory_bytes,
        "cpu_s": round(limits.seconds) + 1,  # of each process; the time limit comes first for a single one
        "file": limits.file_bytes,
        "grace_s": GRACE_S,
    }
    try:
        transport, talk = await asyncio.get_running_loop().subprocess_exec(
            lambda: _Talk(Output(limits.output_bytes)),
            *(sys.executable, "-I", "-S", str(LAUNCHER), msgspec.json.encode(order).decode(), *program.argv),
            stdin=asyncio.subprocess.PIPE if program.stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(program.environment),
            pass_fds=(lifeline, report, program.folder),
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"no process can be started: {error.strerror}") from error
    if program.stdin:
        pipe = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
        pipe.write(program.stdin)
        pipe.write_eof()
    return talk


async def _left(talk: _Talk) -> None:
    """Wait until the launcher has ended everything; kill it if it cannot."""
    try:
        async with asyncio.timeout(LEAVE_S):
            await asyncio.shield(talk.is_over)
    except TimeoutError:
        assert talk.transport is not None  # noqa: S101 - it was started
        talk.transport.kill()
        await asyncio.shield(talk.is_over)


def _report(told: int) -> list[str]:
    """Read what the launcher has written; it has ended, so that this cannot block."""
    os.set_blocking(told, False)
    try:
        return os.read(told, REPORT_BYTES).decode().splitlines()
    except BlockingIOError:
        return []


def _outcome(report: Sequence[str]) -> Ended:
    """Read the report; where it has no end, the program has killed its launcher and is killed in turn."""
    found = dict(line.partition(" ")[::2] for line in report)
    if "error" in found:
        return Ended(error=found["error"])
    if "signal" in found:
        return Ended(signal=int(found["signal"]))
    if "exit" in found:
        return Ended(code=int(found["exit"]))
    if "group" in found:
        with contextlib.suppress(OSError):
            os.killpg(int(found["group"]), signal.SIGKILL)
    return Ended(error="the process that watched over it is gone")
