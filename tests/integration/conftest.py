"""What the tests of the command line share."""

import subprocess
from collections.abc import Iterator

import pytest

from command_line import CommandLine, command, limited

START_S = 30


@pytest.fixture(scope="session")
def tidegate_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """Start a gateway that makes its own token; yield the command line on its state folder."""
    line = CommandLine(tmp_path_factory.mktemp("state"))
    log = (line.state / "log").open("w+b")
    with (
        log,
        subprocess.Popen(
            command("up", "--port", "0"), stdout=subprocess.PIPE, stderr=log, env=line.environment
        ) as process,
    ):
        with limited(process, START_S):
            assert process.stdout is not None
            any((line.state / "gateway.json").exists() for _ in process.stdout)
            assert process.poll() is None, (line.state / "log").read_text()
        yield line
        process.terminate()
        with limited(process, START_S):
            process.communicate()
    assert process.returncode == 0
