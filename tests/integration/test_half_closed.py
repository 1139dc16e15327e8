"""Who is still there: a client that has only closed its half of the connection, and nobody after a crash."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_process import GatewayProcess, asking, until
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


def runs(gateway: GatewayProcess) -> list[str]:
    """Return how the runs stand."""
    return [run["outcome"] or run["state"] for run in gateway.get("/api/runs")["runs"]]


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


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("header", ["X-Tidegate-Session: app", "Accept: */*"], ids=["named", "unnamed"])
def test_who_says_nothing_more_may_still_listen(
    gateway: GatewayProcess, server: LlmServer, header: str, *, stream: bool
) -> None:
    """A client that closes its half of the connection after the request gets its whole answer, and the end of it."""
    gate = threading.Event()
    server.script = [Reply(text="one two three four", gate=gate)]
    with asking(gateway, header, stream=stream) as client:
        client.shutdown(socket.SHUT_WR)
        heard = b""
        while (b": alive" if stream else b"HTTP/1.1 100 Continue") not in heard:
            heard += client.recv(4096)
        assert runs(gateway) == ["running"]
        gate.set()
        for part in iter(lambda: client.recv(4096), b""):
            heard += part
    answer = heard.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"data: [DONE]\n\n" if stream else b"one two three four") in answer
    assert answer.endswith(b"0\r\n\r\n") == stream
    assert runs(gateway) == ["ok"]


def test_requests_in_a_row_are_all_answered(gateway: GatewayProcess) -> None:
    """What came before the client closed its half is answered, in order; a request that breaks off is not."""
    request = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
        client.sendall(request % b"healthz" + request % b"readyz" + request[:20])
        client.shutdown(socket.SHUT_WR)
        heard = b"".join(iter(lambda: client.recv(4096), b""))
    assert heard.count(b"HTTP/1.1") == 2
    assert heard.endswith(b'{"ready":true}')
