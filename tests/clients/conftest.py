from collections.abc import Iterator

import pytest

from client_place import ClientPlace
from gateway_process import GatewayProcess
from llm_server import LlmServer


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientPlace]:
    """Run a gateway on a scripted provider."""
    with LlmServer() as provider:
        config = f'[model]\nprovider = "openai"\nname = "tiny"\nbase_url = "{provider.base_url}"\n'
        state = tmp_path_factory.mktemp("clients") / "state"
        with GatewayProcess(state, config=config) as gateway:
            yield ClientPlace(gateway, provider)


@pytest.fixture
def place(running: ClientPlace) -> ClientPlace:
    """Forget what other tests have asked."""
    running.provider.script.clear()
    running.provider.requests.clear()
    return running
