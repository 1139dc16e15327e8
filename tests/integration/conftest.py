"""What the tests of the command line share, and those of answers that stop in the middle."""

import subprocess
from collections.abc import Iterator

import pytest

from command_line import CommandLine, command, limited
from gateway_process import GatewayProcess
from llm_server import LlmServer, Reply

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


@pytest.fixture(scope="module")
def provider() -> Iterator[LlmServer]:
    """Run a scripted provider for all tests of a file."""
    with LlmServer() as running:
        yield running


@pytest.fixture(scope="module")
def half_gateway(tmp_path_factory: pytest.TempPathFactory, provider: LlmServer) -> Iterator[GatewayProcess]:
    """Run a gateway that asks the `half_model`, and waits for nothing when it is stopped."""
    config = (
        f'[model]\nprovider = "local"\nname = "m"\n[providers.local]\nbase_url = "{provider.base_url}"\n'
        '[gateway]\ndrain = "0s"\n'
    )
    with GatewayProcess(tmp_path_factory.mktemp("half") / "state", config=config) as running:
        yield running


@pytest.fixture
def half_model(provider: LlmServer) -> LlmServer:
    """Let the provider say half an answer and then nothing more, and forget what it was asked before."""
    provider.script = [Reply(text="half an answer", end="hang")]
    provider.requests.clear()
    provider.hung_up.clear()
    return provider
