import os
import socket
from pathlib import Path

import pytest

from tidegate.supervisor import ALIVE, READY, Supervisor


@pytest.mark.parametrize("is_abstract", [False, True])
def test_it_is_told(tmp_path: Path, *, is_abstract: bool) -> None:
    """Each message is one datagram to the socket that the environment names, with a file or without."""
    name = f"@{tmp_path}/s" if is_abstract else str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(name.replace("@", "\0", 1) if is_abstract else name)
        heard.settimeout(10)
        supervisor = Supervisor({"NOTIFY_SOCKET": name})
        supervisor.tell(READY, "STATUS=up")
        supervisor.tell(ALIVE)
        assert [heard.recv(100), heard.recv(100)] == [b"READY=1\nSTATUS=up", b"WATCHDOG=1"]


@pytest.mark.parametrize("name", ["", "/nonexistent/socket", "vsock:2:1", "relative", "@" + "x" * 200])
def test_nobody_listens(name: str) -> None:
    """Where nobody listens, nothing fails."""
    Supervisor({"NOTIFY_SOCKET": name} if name else {}).tell(READY)


def test_a_full_socket_does_not_block(tmp_path: Path) -> None:
    """Somebody who does not read does not hold up the gateway."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "s"))
        supervisor = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "s")})
        for _ in range(5_000):
            supervisor.tell(ALIVE)


@pytest.mark.parametrize(
    ("environment", "patience_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_patience(environment: dict[str, str], patience_s: float | None) -> None:
    """How long it waits for a sign of life is what it says to this process."""
    assert Supervisor(environment).patience_s == patience_s
