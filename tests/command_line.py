"""The real command line, on a state folder, each command in a process of its own."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

import tidegate

COMMAND_S = 20

Process = subprocess.Popen[bytes]


class Told(NamedTuple):
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


class CommandLine(NamedTuple):
    """The command line, with the state folder that it is used on."""

    state: Path
    #: what else is in the environment of every command
    variables: Mapping[str, str] = MappingProxyType({})

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of every command: nothing of the machine's own configuration."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TIDEGATE_") and name not in {"COLUMNS", "LINES"}
        }
        return kept | {
            "XDG_CONFIG_HOME": str(self.state / "xdg"),
            "XDG_STATE_HOME": str(self.state / "xdg"),
            "TIDEGATE_HOME": str(self.state),
            "PYTHONPATH": str(Path(tidegate.__file__).parents[1]),
            "TERM": "dumb",
            **self.variables,
        }

    def run(self, *args: str | Path, stdin: bytes = b"") -> Told:
        """Run a command to its end."""
        done = subprocess.run(
            command(*args),
            input=stdin,
            capture_output=True,
            timeout=COMMAND_S,
            env=self.environment,
            check=False,
        )
        return Told(done.returncode, done.stdout.decode(), done.stderr.decode())

    def json(self, *args: str | Path) -> Any:
        """Run a command that ends well, and return the JSON that it prints."""
        told = self.run(*args, "--json")
        assert (told.code, told.err) == (0, "")
        return json.loads(told.out)

    def start(self, *args: str | Path, screen: int | None = None) -> Process:
        """Start a command: its output is read while it runs, or it has a terminal as its *screen*."""
        stdin = subprocess.DEVNULL if screen is None else screen
        out = subprocess.PIPE if screen is None else screen
        return subprocess.Popen(command(*args), stdin=stdin, stdout=out, stderr=out, env=self.environment)


def command(*args: str | Path) -> list[str]:
    """Return how the command line is called."""
    return [sys.executable, "-m", "tidegate", *map(str, args)]


def key_of(request: pytest.FixtureRequest) -> str:
    """Return a session key of the test's own."""
    return f"t:{request.node.name}"


def timeless(text: str) -> str:
    """Return what was printed without how long calls took."""
    return re.sub(r" in \d+(\.\d)? s\b", " in # s", text)


@contextmanager
def limited(process: Process, limit_s: float = COMMAND_S) -> Iterator[None]:
    """Kill a process when the block fails or takes too long: then its output ends, and nobody waits for more."""
    watchdog = threading.Timer(limit_s, process.kill)
    watchdog.start()
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        watchdog.cancel()
        watchdog.join()
