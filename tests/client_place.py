"""Where clients of others are tried: a real gateway on a scripted provider, and the clients as they are published.

They are installed by ``make clients``; where one is missing the test is passed over, but not where ``CI`` is set.
"""

import importlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway_process import GatewayProcess
from llm_server import LlmServer, Reply

#: what a provider answers that will not answer otherwise the next time
REFUSED = Reply(status=401, body='{"error": {"message": "who are you", "code": "invalid_api_key"}}')


class ClientPlace(NamedTuple):
    """A gateway and its provider."""

    gateway: GatewayProcess
    provider: LlmServer

    @property
    def base_url(self) -> str:
        """What clients are configured with."""
        return f"{self.gateway.url}/v1"

    @property
    def runs(self) -> int:
        """How many runs there have been."""
        return len(self.gateway.get("/api/runs?limit=1000")["runs"])

    def check_history(self, turns: int) -> None:
        """Check that in each of so many turns the model has read what was said before, each of it once."""
        asked = [
            [message["content"] for message in request.messages if message["role"] != "system"]
            for request in self.provider.requests
        ]
        said = [text for turn in range(1, turns + 1) for text in (f"/echo answer {turn}", f"answer {turn}")]
        assert asked == [said[: 2 * turn - 1] for turn in range(1, turns + 1)]


def library(name: str) -> Any:
    """Import a client."""
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        _missing(name)
    return importlib.import_module(name)


def needed(path: Path) -> Path:
    """Return a file that a client needs."""
    if not path.exists():
        _missing(str(path))
    return path


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed: make clients")
    pytest.skip(f"{what} is not installed: make clients")
