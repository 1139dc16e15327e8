"""A client that goes takes its run along, unless the session has a name."""

from pathlib import Path

import pytest

from gateway_process import GatewayProcess, asking, until
from llm_server import LlmServer


def connections(gateway: GatewayProcess) -> int:
    """Return how many are open."""
    return int(gateway.get("/api/status")["containers"]["connections"]["entries"])


def runs(gateway: GatewayProcess) -> list[str]:
    """Return how the runs stand, the latest first."""
    return [run["outcome"] or run["state"] for run in gateway.get("/api/runs")["runs"]]


@pytest.mark.parametrize(
    ("stream", "hears"), [(True, True), (True, False), (False, False)], ids=["middle", "start", "plain"]
)
def test_an_unnamed_request_ends_with_its_client(
    half_gateway: GatewayProcess, half_model: LlmServer, *, stream: bool, hears: bool
) -> None:
    """The run is cancelled and the model's stream closed, before the first byte, in the middle, or without a stream."""
    with asking(half_gateway, stream=stream) as client:
        until(lambda: half_model.requests)
        while hears and b"half" not in client.recv(4096):
            pass
        assert runs(half_gateway)[0] == "running"
    assert half_model.hung_up.wait(2)
    until(lambda: runs(half_gateway)[0] == "cancelled")


@pytest.mark.parametrize("header", ["X-Tidegate-Session: app", "Idempotency-Key: k"])
def test_what_somebody_may_come_back_to_goes_on(
    half_gateway: GatewayProcess, half_model: LlmServer, header: str
) -> None:
    """A named session goes on without its client, and so does an answer that is promised to whoever asks again."""
    before = connections(half_gateway)
    with asking(half_gateway, header, stream=True) as client:
        while b"half" not in client.recv(4096):
            pass
    until(lambda: connections(half_gateway) == before)  # it has seen that the client went
    assert runs(half_gateway)[0] == "running"
    assert not half_model.hung_up.is_set()


def test_a_request_that_waits_its_turn(
    half_gateway: GatewayProcess, half_model: LlmServer, tmp_path: Path
) -> None:
    """A run that is still queued when its client goes is never begun."""
    config = (half_gateway.state / "tidegate.toml").read_text() + "[runs]\nslots = 1\n"
    with GatewayProcess(tmp_path / "state", config=config) as gateway:
        with asking(gateway, stream=True):
            until(lambda: half_model.requests)
            with asking(gateway, stream=False):
                until(lambda: sorted(runs(gateway)) == ["queued", "running"])
            until(lambda: sorted(runs(gateway)) == ["cancelled", "running"])
        until(lambda: runs(gateway) == ["cancelled"] * 2)
    assert len(half_model.requests) == 1
