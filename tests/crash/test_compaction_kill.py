"""A gateway killed with SIGKILL at random moments while chats are compacted, by themselves and on request.

``TIDEGATE_KILLS`` says how often (default 8).
"""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_process import TOKEN, GatewayProcess, environment

pytestmark = pytest.mark.serial

KILLS = int(os.environ.get("TIDEGATE_KILLS", "8"))
CONFIG = '[model]\ncontext_window = 2000\n[sweep]\ninterval = "1s"\n'
LONG = "x" * 600
CHATS = ("by-itself", "on-request")


class Talker:
    """Somebody who sends numbered long messages, each until it is answered, and asks for compactions in one chat."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.answered = 0
        self._next = 1

    def talk(self, gateway: GatewayProcess, enough: threading.Event, count: int) -> None:
        """Talk until so many answers have come or the gateway dies."""
        try:
            for _ in range(count):
                once = f"{self.key}-{self._next}"
                response = gateway.send(self.key, f"/echo {self._next} {LONG}", once=once, wait=1)
                if response.status_code == 200:
                    self.answered = self._next
                    self._next += 1
                if self.key == "on-request":
                    gateway.http.post(f"/api/sessions/{self.key}/compact")
        except httpx.TransportError:
            return
        finally:
            enough.set()


def test_a_kill_leaves_a_compaction_whole_or_undone(tmp_path: Path) -> None:
    """After every kill each message is there once, in order, and everything verifies."""
    chance = random.Random(seed := random.randrange(1 << 32))
    talkers = [Talker(key) for key in CHATS]
    gateway = GatewayProcess(tmp_path / "state", config=CONFIG)
    for _ in range(KILLS):
        gateway.start()
        enough = threading.Event()
        count = chance.randint(1, 12)
        threads = [
            threading.Thread(target=talker.talk, args=(gateway, enough, count + 4 * at))
            for at, talker in enumerate(talkers)
        ]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        gateway.signal(signal.SIGKILL)
        assert gateway.wait() == -signal.SIGKILL
        for thread in threads:
            thread.join(30)
    assert doctor(gateway.state) == "", f"seed {seed}"
    with gateway:
        for talker in talkers:
            gateway.say(talker.key, "/echo end")
            check(gateway, talker, seed)
        assert sum(gateway.get("/api/status")["orphans"].values()) == 0
    assert doctor(gateway.state) == ""


def check(gateway: GatewayProcess, talker: Talker, seed: int) -> None:
    """See that nothing is lost, doubled or out of order, and that there were compactions."""
    pages = gateway.pages(f"/api/sessions/{talker.key}/entries", "entries", "after")
    entries: list[dict[str, Any]] = [entry for page in pages for entry in page]
    asked = [entry["text"] for entry in entries if entry["role"] == "user"][:-1]
    said = [entry["text"] for entry in entries if entry["role"] == "assistant"][:-1]
    summaries = [entry["text"] for entry in entries if entry["type"] == "summary"]

    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1)), f"seed {seed}"
    assert asked == [f"/echo {number} {LONG}" for number in range(1, len(asked) + 1)], f"seed {seed}"
    assert said == [text.removeprefix("/echo ") for text in asked], f"seed {seed}"
    assert len(asked) >= talker.answered, f"seed {seed}"
    assert all(text.startswith("offline summary of") for text in summaries)
    counts = [int(text.split()[3]) for text in summaries]
    assert counts == sorted(counts), f"seed {seed}"
    assert counts[-1] <= len(asked), f"seed {seed}"
    assert gateway.session(talker.key)["hot_entries"] < 30


def doctor(state: Path) -> str:
    """Look at the store from outside, everything read; return what is wrong."""
    command = ["-m", "tidegate", "doctor", "--scrub", "--state", str(state)]
    done = subprocess.run(
        [sys.executable, *command],
        env=environment({"TIDEGATE_TOKEN": TOKEN}),
        check=False,
        timeout=60,
        capture_output=True,
    )
    if done.returncode:
        pytest.fail(done.stdout.decode() + done.stderr.decode())
    return ""
