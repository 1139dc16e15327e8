"""A gateway in a process of its own: started as a user starts it, watched, ended whatever happens."""

import asyncio
import os
import secrets
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tidegate.config import FILE_NAME, Config, effective, toml
from tidegate.errors import Broken
from tidegate.folder import TOKEN_VARIABLE

START_S = 60.0
STOP_S = 30.0
LOG_FILE = "gateway.log"
TAIL_BYTES = 4_000

UP = ("tidegate", "up", "--port", "0")
LEAKY = ("tidegate.cli.leaky",)
_GREETING = b"Tidegate is up: "


class Gateway:
    """A gateway that is up."""

    def __init__(self, process: Process, url: str, token: str, log: Path) -> None:
        self.url = url
        self.token = token
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    async def until_dead(self) -> None:
        """Wait until the process ends by itself.

        Raises:
            Broken: It has ended; the message holds the end of its log.
        """
        code = await self._process.wait()
        raise Broken(f"the gateway ended {_told(code)} in the middle\n{_tail(self._log)}".rstrip())


@asynccontextmanager
async def up(state: Path, config: Config, *, leaks: bool) -> AsyncIterator[Gateway]:
    """Start a gateway on a state folder, hand it out once it is up, and stop it.

    Raises:
        Broken: It does not come up, or does not stop as it should.

    Cancellation: the process is asked to stop and killed if it does not.
    """
    path, log, token = state / FILE_NAME, state / LOG_FILE, secrets.token_urlsafe(24)
    path.write_text("\n".join(toml.lines(effective(config))), encoding="utf-8")
    program, *options = LEAKY if leaks else UP
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", program, *options, "--state", str(state), "--config", str(path)),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=file,
            env=_environment(token),
            start_new_session=True,  # Ctrl-C is for the soak, which then ends it
        )
    try:
        yield Gateway(process, await _url(process, log), token, log)
        code = await _stopped(process)
        if code:
            raise Broken(f"the gateway stopped {_told(code)}\n{_tail(log)}".rstrip())
    finally:
        try:
            await _stopped(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _url(process: Process, log: Path) -> str:
    """Wait for the greeting, which tells where it is."""
    said = b""
    try:
        async with asyncio.timeout(START_S):
            while process.stdout and (line := await process.stdout.readline()):
                if line.startswith(_GREETING):
                    return line.removeprefix(_GREETING).decode().strip().rstrip("/")
                said += line
            code = await process.wait()
    except TimeoutError:
        raise Broken(f"the gateway did not come up within {START_S:g} s\n{_tail(log)}".rstrip()) from None
    raise Broken(f"the gateway did not come up: it ended {_told(code)}\n{_tail(log)}".rstrip())


async def _stopped(process: Process) -> int:
    """Ask a process to stop, and kill it if it does not; return its exit code."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
    return await process.wait()


def _environment(token: str) -> dict[str, str]:
    """Return this process's environment without settings of a gateway."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    return kept | {TOKEN_VARIABLE: token}


def _told(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def _tail(log: Path) -> str:
    """Return the end of a log, whole lines."""
    with log.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
        file.seek(start)
        text = file.read().decode(errors="replace")
    return (text.partition("\n")[2] if start else text).strip()
