"""A summary that fails is not asked for with each message: it rests, also over a restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_process import GatewayProcess
from llm_server import LlmServer, Reply, Request

LONG = "x" * 1_500


class Unwilling(LlmServer):
    """A model that answers persons, and refuses whatever else is asked of it."""

    def take(self, request: Request) -> Reply:
        """Answer a person; a summary and what to remember are refused for good."""
        reply = super().take(request)
        return reply if is_persons(request) else Reply(status=400, body='{"error": {"message": "no"}}')

    @property
    def vain(self) -> int:
        """How many requests were refused."""
        return sum(not is_persons(request) for request in self.requests)


def is_persons(request: Request) -> bool:
    """Whether a person's message is to be answered."""
    return str(request.messages[-1]["content"]).startswith("go on")


@pytest.fixture
def server() -> Iterator[Unwilling]:
    """Run it."""
    with Unwilling() as running:
        yield running


def test_a_vain_summary_rests(tmp_path: Path, server: Unwilling) -> None:
    """However many messages come, the model is asked in vain once; a person who asks for it is obeyed at once."""
    config = (
        '[model]\nprovider = "local"\nname = "m"\ncontext_window = 2000\n'
        f'[providers.local]\nbase_url = "{server.base_url}"\n'
    )
    with GatewayProcess(tmp_path / "state", config=config) as gateway:
        for number in range(8):
            gateway.say("long", f"go on {number} {LONG}")
        vain = server.vain
        assert 1 <= vain <= 2  # what to remember, and the summary
        gateway.stop()
        gateway.kill()
        gateway.start()
        for number in range(3):
            gateway.say("long", f"go on {number} {LONG}")
        assert server.vain == vain
        gateway.say("long", "/compact")
        assert server.vain > vain
