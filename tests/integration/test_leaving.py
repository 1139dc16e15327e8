"""A client that goes takes its run along, unless the session has a name."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_process import TOKEN, GatewayProcess, until
from llm_server import LlmServer, Reply


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a model that says half an answer and then nothing more."""
    with LlmServer() as running:
        running.script = [Reply(text="half an answer", end="hang")]
        yield running


@pytest.fixture
def gateway(tmp_path: Path, server: LlmServer) -> Iterator[GatewayProcess]:
    """Run a gateway that asks it."""
    config = f'[model]\nprovider = "local"\nname = "m"\n[providers.local]\nbase_url = "{server.base_url}"\n'
    with GatewayProcess(tmp_path / "state", config=config) as running:
        yield running


def asking(gateway: GatewayProcess, *headers: str, stream: bool) -> socket.socket:
    """Send a request over a socket of its own."""
    body = json.dumps({"stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {TOKEN}",
        f"Content-Length: {len(body)}",
        *headers,
        "",
        "",
    )
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    client.sendall("\r\n".join(lines).encode() + body)
    return client


def connections(gateway: GatewayProcess) -> int:
    """Return how many are open."""
    return int(gateway.get("/api/status")["containers"]["connections"]["entries"])


def runs(gateway: GatewayProcess) -> list[str]:
    """Return how the runs stand."""
    return [run["outcome"] or run["state"] for run in gateway.get("/api/runs")["runs"]]


@pytest.mark.parametrize(
    ("stream", "hears"), [(True, True), (True, False), (False, False)], ids=["middle", "start", "plain"]
)
def test_an_unnamed_request_ends_with_its_client(
    gateway: GatewayProcess, server: LlmServer, *, stream: bool, hears: bool
) -> None:
    """The run is cancelled and the model's stream closed, before the first byte, in the middle, or without a stream."""
    with asking(gateway, stream=stream) as client:
        until(lambda: server.requests)
        while hears and b"half" not in client.recv(4096):
            pass
        assert runs(gateway) == ["running"]
    assert server.hung_up.wait(2)
    until(lambda: runs(gateway) == ["cancelled"])


@pytest.mark.parametrize("header", ["X-Tidegate-Session: app", "Idempotency-Key: k"])
def test_what_somebody_may_come_back_to_goes_on(
    gateway: GatewayProcess, server: LlmServer, header: str
) -> None:
    """A named session goes on without its client, and so does an answer that is promised to whoever asks again."""
    before = connections(gateway)
    with asking(gateway, header, stream=True) as client:
        while b"half" not in client.recv(4096):
            pass
    until(lambda: connections(gateway) == before)  # it has seen that the client went
    assert runs(gateway) == ["running"]
    assert not server.hung_up.is_set()


def test_a_request_that_waits_its_turn(gateway: GatewayProcess, server: LlmServer, tmp_path: Path) -> None:
    """A run that is still queued when its client goes is never begun."""
    config = (tmp_path / "state/tidegate.toml").read_text() + "[runs]\nslots = 1\n"
    gateway.stop()
    gateway.kill()
    (tmp_path / "state/tidegate.toml").write_text(config)
    gateway.start()
    with asking(gateway, stream=True):
        until(lambda: server.requests)
        with asking(gateway, stream=False):
            until(lambda: sorted(runs(gateway)) == ["queued", "running"])
        until(lambda: sorted(runs(gateway)) == ["cancelled", "running"])
    until(lambda: runs(gateway) == ["cancelled"] * 2)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [((), "cancelled"), (("Idempotency-Key: k",), "running"), (("X-Tidegate-Session: app",), "running")],
    ids=["unnamed", "promised", "named"],
)
def test_a_killed_gateway_goes_on_for_somebody(
    gateway: GatewayProcess, server: LlmServer, headers: tuple[str, ...], expected: str
) -> None:
    """After a crash the client of an unnamed request is gone, and so is its run; what is promised goes on."""
    server.script *= 2
    with asking(gateway, *headers, stream=True) as client:
        while b"half" not in client.recv(4096):
            pass
        gateway.kill()
    gateway.start()
    until(lambda: runs(gateway) == [expected])
    if expected == "running":
        until(lambda: len(server.requests) == 2)
    assert len(server.requests) == (2 if expected == "running" else 1)
