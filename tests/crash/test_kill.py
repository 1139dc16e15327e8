"""A gateway killed with SIGKILL at random moments: people and api clients write, agents spawn, the sweep archives.

``TIDEGATE_KILLS`` says how often (default 8 in the long run, half of that in the usual one).
"""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from extent import share
from gateway_process import TOKEN, GatewayProcess, environment

pytestmark = pytest.mark.serial

KILLS = int(os.environ.get("TIDEGATE_KILLS", share(8)))
SENDERS = 4

# Api sessions are archived at once and deleted after a second, so that a kill meets the sweep at work.
CONFIG = '[lifecycle.api]\ndelete_after = "1s"\n[sweep]\ninterval = "1s"\n'


class Sender:
    """Somebody who sends numbered messages to one session, each until it is acknowledged.

    Every other one asks for two sub-agents with each message.
    """

    def __init__(self, number: int) -> None:
        self.key = f"sender-{number}"
        self.spawns = number % 2 == 1
        self.acknowledged = 0
        self._next = 1

    def asked(self, number: int) -> str:
        """Return the text of a message."""
        return f"/spawn 2 /echo {number}" if self.spawns else f"/echo {number}"

    def answered(self, number: int) -> str:
        """Return the answer to a message."""
        return f"1: {number}\n2: {number}" if self.spawns else f"{number}"

    def send(self, gateway: GatewayProcess, on_ack: Callable[[], None], stop: threading.Event) -> None:
        """Send until told to stop or until the gateway dies; what got no answer is sent again next time."""
        while not stop.is_set():
            text = self.asked(self._next)
            try:
                response = gateway.send(self.key, text, once=f"{self.key}-{self._next}")
                gateway.http.post(
                    "/v1/chat/completions", json={"messages": [{"role": "user", "content": "/echo x"}]}
                )
            except httpx.TransportError:
                return
            if response.status_code == 202:
                self.acknowledged = self._next
                self._next += 1
                on_ack()
            else:
                assert response.status_code == 429, response.text


def round_of(gateway: GatewayProcess, senders: list[Sender], acks: int) -> None:
    """Let everybody send, and kill the gateway after so many acknowledgements."""
    left = [acks]
    enough = threading.Event()

    def on_ack() -> None:
        left[0] -= 1
        if left[0] <= 0:
            enough.set()

    threads = [threading.Thread(target=sender.send, args=(gateway, on_ack, enough)) for sender in senders]
    for thread in threads:
        thread.start()
    assert enough.wait(30)
    gateway.signal(signal.SIGKILL)
    assert gateway.wait() == -signal.SIGKILL
    for thread in threads:
        thread.join(30)


def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    """After every kill each acknowledged message is there once, in order, and is answered once."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    senders = [Sender(number) for number in range(SENDERS)]
    gateway = GatewayProcess(tmp_path / "state", config=CONFIG)
    for _ in range(KILLS):
        gateway.start()
        round_of(gateway, senders, chance.randint(1, 60))
    with gateway:
        for sender in senders:
            last = gateway.say(sender.key, "/echo end")
            said = told(gateway, sender.key, "user")[:-1]
            answered = [
                text for text in told(gateway, sender.key, "assistant")[:-1] if not text.startswith("{")
            ]

            assert last["reply"] == "end"
            numbers = range(1, len(said) + 1)
            assert said == [sender.asked(number) for number in numbers], f"seed {seed}"
            assert len(said) >= sender.acknowledged, f"seed {seed}"
            assert answered == [sender.answered(number) for number in numbers], f"seed {seed}"
        status = gateway.get("/api/status")
        assert sum(status["orphans"].values()) == 0
        assert doctor(gateway.state) == 0
    assert doctor(gateway.state) == 0


def told(gateway: GatewayProcess, key: str, role: str) -> list[str]:
    """Return what one side said in a session."""
    pages = gateway.pages(f"/api/sessions/{key}/entries", "entries", "after")
    return [entry["text"] for page in pages for entry in page if entry["role"] == role]


def doctor(state: Path) -> int:
    """Look at the store from outside, everything read."""
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
    return done.returncode
