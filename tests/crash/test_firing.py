"""A gateway killed with SIGKILL again and again while the instants of its jobs come.

``TIDEGATE_KILLS`` says how often (default 8 in the long run, half of that in the usual one).
"""

import os
import random
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from extent import share
from gateway_process import GatewayProcess, until

pytestmark = pytest.mark.serial

KILLS = int(os.environ.get("TIDEGATE_KILLS", share(8)))
JOBS = 10 * KILLS
FIRST_S = 2.0
APART_S = 0.12


def test_no_instant_fires_twice_and_none_is_lost(tmp_path: Path) -> None:
    """Each instant makes one run, whose answer is delivered once, however often the gateway dies."""
    chance = random.Random(seed := random.randrange(1 << 32))
    gateway = GatewayProcess(tmp_path / "state")
    gateway.start()
    start = datetime.now(UTC) + timedelta(seconds=FIRST_S)
    for number in range(JOBS):
        at = (start + timedelta(seconds=number * APART_S)).isoformat()
        wanted = {"name": f"j{number}", "prompt": f"/echo {number}", "at": at, "deliver": "chat:me"}
        assert gateway.http.post("/api/jobs", json=wanted).status_code == 200
    for _ in range(KILLS):
        # not a wait for something, but a moment that nobody has chosen
        time.sleep(chance.uniform(0.0, 0.8))
        gateway.signal(signal.SIGKILL)
        assert gateway.wait() == -signal.SIGKILL
        gateway.start()
    until(lambda: len(answers(gateway)) >= JOBS)
    assert list(range(JOBS)) == sorted(answers(gateway)), f"seed {seed}"
    for number in range(JOBS):
        firings = gateway.get(f"/api/jobs/j{number}/firings")["firings"]
        assert [("fired", "ok", False)] == [(one["outcome"], one["result"], one["open"]) for one in firings]
    status = gateway.get("/api/status")
    assert 0 == sum(status["orphans"].values())
    assert gateway.stop() == 0


def answers(gateway: GatewayProcess) -> list[int]:
    """Return the numbers that were told in the chat so far."""
    response = gateway.http.get("/api/sessions/me/entries", params={"limit": 1_000})
    return [int(entry["text"].splitlines()[-1]) for entry in response.json().get("entries", [])]
