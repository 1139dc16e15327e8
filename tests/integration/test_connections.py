import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from gateway_process import TOKEN, GatewayProcess, until

DESCRIPTORS = 1_024
STRANGERS = 1_084
HEAD = "POST /api/sessions/a/messages HTTP/1.1\r\nHost: localhost\r\n"
KNOWN = f"Authorization: Bearer {TOKEN}\r\n"
#: what strangers, and clients that have the token, begin with and never end
SAID = (
    "",
    HEAD,
    HEAD + KNOWN,
    f"{HEAD}Content-Length: 9\r\n\r\n",
    f"{HEAD}{KNOWN}Content-Length: 9\r\n\r\n{{",
    f"{HEAD}Transfer-Encoding: chunked\r\n\r\n",
)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """Run a gateway that may have 1,024 descriptors."""
    with GatewayProcess(tmp_path / "state", descriptors=DESCRIPTORS) as running:
        yield running


def connect(gateway: GatewayProcess, said: str, held: ExitStack) -> socket.socket:
    """Connect, say something and stay; the gateway may close the connection."""
    one = held.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=10))
    with suppress(OSError):
        one.sendall(said.encode())
    return one


def figures(gateway: GatewayProcess) -> dict[str, float]:
    """Scrape the gateway over its open connection."""
    lines = gateway.http.get("/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def held_of(figures: dict[str, float], name: str) -> float:
    """Return how full a container is."""
    return figures[f'tidegate_container_entries{{name="{name}"}}']


def test_silent_clients_keep_nobody_out(gateway: GatewayProcess) -> None:
    """More silent clients than descriptors: an open connection commits, a new one is served, all is as before after."""
    gateway.say("person", "/echo before")
    before = held_of(figures(gateway), "connections")
    with ExitStack() as held:
        for number in range(STRANGERS):
            connect(gateway, SAID[number % len(SAID)], held)
        assert gateway.say("person", "/echo meanwhile")["reply"] == "meanwhile"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        fresh = httpx.post(
            f"{gateway.url}/api/sessions/new/messages?wait=1",
            json={"text": "/echo new"},
            headers=headers,
            timeout=10,
            trust_env=False,
        )
        assert fresh.json()["reply"] == "new"
        seen = figures(gateway)
        assert seen['tidegate_refused_total{reason="connection_limit"}'] > 0
        assert held_of(seen, "guest_connections") < DESCRIPTORS / 4
    gone = time.monotonic()
    until(lambda: held_of(figures(gateway), "connections") <= before)
    assert time.monotonic() - gone < 10
    after = figures(gateway)
    assert held_of(after, "guest_connections") == 0
    assert held_of(after, "request_bytes") < 16_384
    assert gateway.say("person", "/echo after")["reply"] == "after"
    assert "accept_failed" not in gateway.log.read_text()


def test_who_is_late_is_let_go(gateway: GatewayProcess) -> None:
    """A head that does not come is waited for 10 s; an open connection and its answers are not touched by that."""
    with ExitStack() as held:
        silent, half = (connect(gateway, said, held) for said in ("", HEAD))
        began = time.monotonic()
        assert silent.recv(100) == b""
        assert half.recv(12) == b"HTTP/1.1 408"
        assert 8 < time.monotonic() - began < 14
    assert figures(gateway)['tidegate_refused_total{reason="slow_head"}'] == 2


@pytest.mark.parametrize(
    "said",
    [
        "GET /healthz HTTP/1.1\r\n" + "a: b\r\n" * 200 + "\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50,
        "GET /healthz HTTP/1.1\r\na: " + "b" * (70 << 10),
        "no HTTP\r\n\r\n",
    ],
    ids=["200 headers", "50 requests at once", "a long header", "no HTTP"],
)
def test_what_is_too_much_closes_the_connection(gateway: GatewayProcess, said: str) -> None:
    """Headers, requests in a row and heads are bounded; nothing of it becomes a line in the log."""
    with ExitStack() as held:
        one = connect(gateway, said, held)
        answer = b"".join(iter(lambda: _read(one), b""))
        assert b"HTTP/1.1 400" in answer or answer.count(b"HTTP/1.1 200") < 50
    assert gateway.http.get("/healthz").json() == {"ok": True}
    assert not re.search("Traceback|Invalid HTTP", gateway.log.read_text())


def _read(one: socket.socket) -> bytes:
    try:
        return one.recv(65_536)
    except ConnectionResetError:
        return b""
