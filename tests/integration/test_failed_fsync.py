"""After a failed fsync nothing more is acknowledged, and the process ends."""

import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

import failing_disk
from gateway_process import WAIT_S, GatewayProcess, error_of, until


class OnFailingDisk(GatewayProcess):
    """A gateway whose disk confirms nothing once it is told to fail."""

    @property
    def command(self) -> list[str]:
        """The command line that starts it."""
        return [sys.executable, failing_disk.__file__, str(self.flag), "up"]

    @property
    def flag(self) -> Path:
        """Where the file is that lets the disk fail."""
        return self.state.with_name("failing")

    def keep_sending(self, key: str) -> tuple[list[int], list[tuple[int, str]]]:
        """Send numbers until nobody is there; return those that were acknowledged, and the errors."""
        taken: list[int] = []
        errors: list[tuple[int, str]] = []
        for number in range(100_000):
            try:
                answer = self.send(key, f"/echo {number}")
            except httpx.TransportError:
                break
            if answer.status_code == 202:
                taken.append(number)
            else:
                errors.append(error_of(answer))
        return taken, errors


def test_a_failed_fsync_ends_the_gateway(tmp_path: Path) -> None:
    """One clear last line and 74; whoever asks or waits meanwhile is told 503; what was acknowledged is there after."""
    gateway = OnFailingDisk(tmp_path / "state")
    gateway.start()
    try:
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(gateway.send, "waits", "/sleep 60", wait=1)
            until(lambda: gateway.get("/api/runs", state="running")["runs"])
            sending = threads.submit(gateway.keep_sending, "busy")
            until(lambda: gateway.http.get("/api/sessions/busy").status_code == 200)
            began = time.monotonic()
            gateway.flag.touch()
            assert gateway.process.wait(WAIT_S) == 74
            assert time.monotonic() - began < 5
            assert error_of(waiting.result()) == (503, "stopping")
            taken, errors = sending.result()
            assert {status for status, _ in errors} <= {503}
        said = gateway.log.read_text()
        assert said.endswith("error: the disk did not confirm a write: the disk said no\n")
        assert not re.search("Traceback|Exception in ASGI", said)
    finally:
        gateway.kill()
    with GatewayProcess(tmp_path / "state") as again:
        shown = {
            text
            for page in again.pages("/api/sessions/busy/entries", "entries", "after")
            for text in (entry["text"] for entry in page)
        }
        assert {f"/echo {number}" for number in taken} <= shown
