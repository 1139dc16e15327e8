"""A provider that hangs holds up those who asked it, and nobody else."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from gateway_process import GatewayProcess, until
from llm_server import LlmServer, Reply
from tidegate.runtime.runner import POLL_S

SLOTS = 4


@pytest.fixture
def servers() -> Iterator[tuple[LlmServer, LlmServer]]:
    """Run two scripted providers."""
    with LlmServer() as hung, LlmServer() as well:
        yield hung, well


def waited_s(gateway: GatewayProcess, key: str) -> float:
    """Return how long the latest run of a session waited for its slot."""
    (run,) = gateway.get("/api/runs", session=key, limit=1)["runs"]
    created, started = (datetime.fromisoformat(run[name]) for name in ("created_at", "started_at"))
    return (started - created).total_seconds()


def test_others_are_answered(servers: tuple[LlmServer, LlmServer], tmp_path: Path) -> None:
    """More people than there are slots ask the one that hangs; a person who asks another one is answered at once.

    So it is after a restart, when all that was under way is begun again.
    """
    hung, well = servers
    text = f"""
[model]
provider = "well"
name = "tiny"
[providers.well]
base_url = "{well.base_url}"
[providers.hung]
base_url = "{hung.base_url}"
[agents.main]
[agents.slow]
model = "hung/tiny"
[runs]
slots = {SLOTS}
[gateway]
drain = "0s"
"""
    hung.script = [Reply(end="hang") for _ in range(4 * SLOTS)]
    with GatewayProcess(tmp_path / "state", config=text) as gateway:
        for number in range(SLOTS + 2):
            response = gateway.http.post(
                f"/api/sessions/s{number}/messages", json={"text": "hi", "agent": "slow"}
            )
            assert response.status_code == 202
        until(lambda: len(hung.requests) == SLOTS - 1)
        assert gateway.say("c", "/echo well")["reply"] == "well"
        assert waited_s(gateway, "c") < POLL_S / 2
        gateway.kill()
        gateway.start()
        until(lambda: len(hung.requests) == 2 * (SLOTS - 1))
        assert gateway.say("c", "/echo again")["reply"] == "again"
        assert waited_s(gateway, "c") < POLL_S / 2
        states = [run["state"] for run in gateway.get("/api/runs")["runs"]]
        assert (states.count("running"), states.count("queued")) == (SLOTS - 1, 3)
