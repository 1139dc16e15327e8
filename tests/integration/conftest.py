"""A real gateway in a process of its own, and the real command line against it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

import tidegate

START_S = 30
COMMAND_S = 20


class Told(NamedTuple):
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


class CommandLine(NamedTuple):
    """The command line, with the state folder that it is used on."""

    state: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of every command: nothing of the machine's own configuration."""
        xdg = str(self.state / "xdg")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        source = str(Path(tidegate.__file__).parents[1])
        return kept | {"XDG_CONFIG_HOME": xdg, "TIDEGATE_HOME": str(self.state), "PYTHONPATH": source}

    def run(self, *args: str | Path, stdin: bytes = b"") -> Told:
        """Run a command to its end."""
        done = subprocess.run(
            self.command(*args),
            input=stdin,
            capture_output=True,
            timeout=COMMAND_S,
            env=self.environment,
            check=False,
        )
        return Told(done.returncode, done.stdout.decode(), done.stderr.decode())

    def json(self, *args: str | Path) -> dict[str, object]:
        """Run a command that ends well, and return the JSON that it prints."""
        told = self.run(*args, "--json")
        assert (told.code, told.err) == (0, "")
        found: dict[str, object] = json.loads(told.out)
        return found

    def start(self, *args: str | Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a command whose output is read while it runs."""
        return subprocess.Popen(
            self.command(*args),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
        )

    @staticmethod
    def command(*args: str | Path) -> list[str]:
        """Return how the command line is called."""
        return [sys.executable, "-m", "tidegate", *map(str, args)]


@pytest.fixture(scope="session")
def tidegate_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """Start a gateway; yield the command line on its state folder."""
    line = CommandLine(tmp_path_factory.mktemp("state"))
    with line.start("up", "--port", "0") as process:
        watchdog = threading.Timer(START_S, process.kill)
        watchdog.start()
        assert process.stdout is not None
        printed = []
        for text in process.stdout:
            printed.append(text)
            if (line.state / "gateway.json").exists():
                break
        else:
            pytest.fail(f"the gateway has not started: {printed}")
        watchdog.cancel()
        watchdog.join()
        yield line
        process.terminate()
        process.communicate(timeout=START_S)
    assert process.returncode == 0
