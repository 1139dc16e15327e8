"""A row that nobody can read is an error of this house for whoever asks for it, and nothing for anybody else."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_process import GatewayProcess, error_of


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """Run a gateway whose newest session, `odd`, cannot be read, and in whose session `cut` an entry cannot."""
    with GatewayProcess(tmp_path / "state") as running:
        for key in ("fine", "cut", "odd"):
            running.say(key, "/echo hi")
        assert running.stop() == 0
        damage(running.state)
        running.start()
        yield running


def damage(state: Path) -> None:
    """Write past the gateway."""
    connection = sqlite3.connect(state / "tidegate.db")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("UPDATE sessions SET outcome = 'odd' WHERE key = 'odd'")
    connection.execute(
        "UPDATE entries SET body = x'00' WHERE session = (SELECT id FROM sessions WHERE key = 'cut')"
    )
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/entries"),
        ("GET", "/events"),
        ("POST", "/messages?wait=1"),
        ("POST", "/cancel"),
        ("POST", "/archive"),
        ("POST", "/pin"),
        ("POST", "/compact"),
        ("DELETE", ""),
    ],
)
def test_who_asks_for_it_is_told(gateway: GatewayProcess, method: str, path: str) -> None:
    """Every route of the session says what is wrong and what helps."""
    answer = gateway.http.request(
        method, f"/api/sessions/odd{path}", json={"text": "hi"} if "messages" in path else None
    )
    assert error_of(answer) == (500, "corrupt")
    assert "session 'odd'" in answer.json()["error"]["message"]
    assert "--scrub" in answer.json()["error"]["hint"]


def test_nobody_else_is_touched(gateway: GatewayProcess) -> None:
    """Lists, the status and other sessions are as they were; clients of OpenAI's API are told not to repeat it."""
    assert {one["key"] for one in gateway.get("/api/sessions")["sessions"]} == {"fine", "cut"}
    assert {one["session"] for one in gateway.get("/api/runs")["runs"]} == {"fine", "cut", "odd"}
    assert gateway.get("/api/status")["shares_reads"] is None
    assert gateway.http.get("/metrics").status_code == 200
    assert gateway.say("fine", "/echo still")["reply"] == "still"
    asked = gateway.http.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "hi"}]},
        headers={"X-Tidegate-Session": "odd"},
    )
    assert (asked.status_code, asked.json()["error"]["code"]) == (500, "corrupt")
    assert asked.headers["x-should-retry"] == "false"


def test_what_cannot_be_packed_is_told(gateway: GatewayProcess) -> None:
    """To archive a session with a damaged entry says so, rather than that it is busy."""
    answer = gateway.post("/api/sessions/cut/archive")
    assert error_of(answer) == (500, "corrupt")
    assert "is damaged" in answer.json()["error"]["message"]
