"""A gateway that speaks TLS itself: to its clients, to its own command line, and to whoever cannot."""

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from command_line import CommandLine
from gateway_process import TOKEN, GatewayProcess, until
from llm_server import LlmServer, Reply


class TlsGateway(GatewayProcess):
    """A gateway whose certificate is for a name of the world outside, signed by nobody known."""

    def __init__(self, folder: Path, model: str) -> None:
        self.certificate = folder / "cert.pem"
        key = folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",  # noqa: S607 - found by its name
             "-days", "2", "-subj", "/CN=gate.example", "-addext", "subjectAltName=DNS:gate.example",
             "-keyout", str(key), "-out", str(self.certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        config = (
            f'[gateway]\ntls_cert = "{self.certificate}"\ntls_key = "{key}"\n'
            f'[model]\nprovider = "local"\nname = "m"\n[providers.local]\nbase_url = "{model}"\n'
        )
        super().__init__(folder / "state", config=config)

    def start(self) -> None:
        """Start it, with a client that believes its certificate."""
        super().start()
        self.http.close()
        self.trust = ssl.create_default_context(cafile=self.certificate)
        self.trust.check_hostname = False
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.http = httpx.Client(
            base_url=self.url, headers=headers, timeout=20, trust_env=False, verify=self.trust
        )

    def connect(self) -> socket.socket:
        """Open a connection without TLS."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    @property
    def guests(self) -> int:
        """How many connections are open that have brought no token."""
        containers: dict[str, Any] = self.get("/api/status")["containers"]
        return int(containers["guest_connections"]["entries"])


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a model."""
    with LlmServer() as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path, server: LlmServer) -> Iterator[TlsGateway]:
    """Run a gateway that speaks TLS."""
    with TlsGateway(tmp_path, server.base_url) as running:
        yield running


def test_answers_come_whole(gateway: TlsGateway, server: LlmServer) -> None:
    """Short answers, long ones and streams come to their end, over one connection."""
    assert gateway.url.startswith("https://")
    assert gateway.say("a", "/echo hi")["reply"] == "hi"
    long = "word " * 200_000
    server.script = [Reply(text=long)]
    assert gateway.say("a", "go")["reply"] == long
    body = {"stream": True, "messages": [{"role": "user", "content": "/echo hi"}]}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as stream:
        assert stream.read().endswith(b"data: [DONE]\n\n")
    assert gateway.http.get("/ui/app.js").status_code == 200


def test_its_own_command_line_believes_it(gateway: TlsGateway, tmp_path: Path) -> None:
    """The command line needs no authority and no name, and believes no other certificate than this one."""
    line = CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN})
    assert line.run("status").code == 0
    (tmp_path / "other").mkdir()
    with LlmServer() as model, TlsGateway(tmp_path / "other", model.base_url) as other:
        card = gateway.state / "gateway.json"
        card.write_text(card.read_text().replace(gateway.url, other.url))
        told = line.run("status")
        assert (told.code, "CERTIFICATE_VERIFY_FAILED" in told.err) == (69, True)


def test_who_cannot_speak_it_is_let_go(gateway: TlsGateway) -> None:
    """A handshake that does not end is waited for 10 s, plain HTTP not at all; nobody else waits, nothing is left."""
    hello = b"\x16\x03\x01\x02\x00\x01"
    began = time.monotonic()
    with gateway.connect() as silent, gateway.connect() as half, gateway.connect() as plain:
        half.sendall(hello)
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert plain.recv(100) == b""
        assert time.monotonic() - began < 5
        assert gateway.say("a", "/echo hi")["reply"] == "hi"
        assert gateway.guests == 2
        assert [silent.recv(100), half.recv(100)] == [b"", b""]
        assert 8 < time.monotonic() - began < 14
    until(lambda: gateway.guests == 0)
    assert "Traceback" not in gateway.log.read_text()
