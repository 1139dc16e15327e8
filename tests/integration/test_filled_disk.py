"""A disk of 64 MiB that somebody else fills while messages come in: what the budget promises, measured from outside.

Mounting one needs root. Where that is not to be had, these tests are skipped, and counted as such.
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway_process import TOKEN, WAIT_S, GatewayProcess, error_of, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")

SIZE = 64 << 20
SENDERS = 4
RECOVERY_S = 10.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(place)]
    subprocess.run(mount, check=True, timeout=10)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)  # noqa: S607


class Filler:
    """Somebody else's files."""

    def __init__(self, place: Path) -> None:
        self._path = place / "filler"

    def fill(self, left: int = 0) -> None:
        """Take every free byte but *left*."""
        with self._path.open("ab", buffering=0) as file:
            try:
                while True:
                    free = os.statvfs(self._path).f_bavail * 4096 - left
                    if free <= 0:
                        return
                    os.posix_fallocate(file.fileno(), self._path.stat().st_size, min(free, 1 << 20))
            except OSError:
                return

    def clear(self) -> None:
        """Give it back."""
        self._path.unlink()


class Sender(threading.Thread):
    """Sends numbered messages to one chat, and keeps what was acknowledged and what was not."""

    def __init__(self, gateway: GatewayProcess, key: str, over: threading.Event) -> None:
        super().__init__()
        self.key = key
        self.accepted: list[str] = []
        self.refusals: list[tuple[int, str]] = []
        self.accepted_at = 0.0
        self._over = over
        self._http = httpx.Client(
            base_url=gateway.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=WAIT_S,
            trust_env=False,
        )

    def run(self) -> None:
        """Send until it is over; each message once, whatever is answered."""
        number = 0
        with self._http:
            while not self._over.is_set():
                number += 1
                text = f"/echo {self.key} {number} {'x' * 20_000}"
                answer = self._http.post(f"/api/sessions/{self.key}/messages", json={"text": text})
                if answer.status_code == 202:
                    self.accepted.append(text)
                    self.accepted_at = time.monotonic()
                else:
                    self.refusals.append(error_of(answer))
                    self._over.wait(0.05)


def test_a_disk_filled_from_outside(disk: Path) -> None:
    """Writes get 507, reads are served, no chat goes, it recovers by itself, and nothing acknowledged is lost.

    Its log lies on the same disk.
    """
    filler, over = Filler(disk), threading.Event()
    with GatewayProcess(disk / "state") as gateway:
        gateway.say("old", "/echo before")
        senders = [Sender(gateway, f"chat-{number}", over) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        until(lambda: all(len(sender.accepted) > 3 for sender in senders))
        filler.fill()
        until(lambda: all(sender.refusals for sender in senders))
        during = gateway.texts("old")
        counts = [len(sender.accepted) for sender in senders]
        filler.clear()
        cleared_at = time.monotonic()
        until(lambda: all(len(one.accepted) > count for one, count in zip(senders, counts, strict=True)))
        took_s = time.monotonic() - cleared_at
        over.set()
        for sender in senders:
            sender.join(WAIT_S)
        until(lambda: gateway.get("/api/runs", state="queued")["runs"] == [])
        until(lambda: gateway.get("/api/runs", state="running")["runs"] == [])
        said = {
            one.key: [text for text in gateway.texts(one.key) if text.startswith("/echo")] for one in senders
        }
        status = gateway.get("/api/status")

        assert {(507, "disk_full")} == {refusal for one in senders for refusal in one.refusals}
        assert ["/echo before", "before"] == during
        assert took_s < RECOVERY_S
        assert {one.key: one.accepted for one in senders} == said
        assert SENDERS + 1 == sum(status["sessions"]["chat"].values())
        assert 0 == sum(status["orphans"].values())


def test_deleting_on_a_full_disk(disk: Path) -> None:
    """On a disk without a free byte a person can delete everything: the reserve goes for it, and comes back later."""
    filler, count = Filler(disk), 20
    with GatewayProcess(disk) as gateway:
        for number in range(count):
            gateway.say(f"c{number}", f"/echo {number}")
    with GatewayProcess(disk) as gateway:  # anew, with a short log: a long one has room for what is deleted
        reserve = disk / "gateway.reserve"
        held = reserve.stat().st_blocks * 512
        filler.fill()
        codes = [gateway.http.delete(f"/api/sessions/c{number}").status_code for number in range(count)]
        is_out = not reserve.exists()
        refused = until(lambda: _refused(gateway))
        until(lambda: _standing(gateway) == ("critical", None))
        filler.clear()
        until(reserve.exists)
        answer = gateway.say("d", "/echo after")["reply"]

        assert 1 << 20 < held <= 2 << 20
        assert [200] * count == codes
        assert is_out
        assert (507, "disk_full") == refused
        assert "after" == answer
        assert ("normal", held) == _standing(gateway)
        assert [] == gateway.get("/api/sessions", kind="chat", q="c1")["sessions"]


def _standing(gateway: GatewayProcess) -> tuple[str, int | None]:
    found = gateway.get("/api/status")["disk"]
    return found["level"], found["reserve"]


def _refused(gateway: GatewayProcess) -> tuple[int, str] | None:
    response = gateway.send("c", "/echo " + "x" * 50_000)
    return error_of(response) if response.status_code != 202 else None


def test_a_start_on_a_full_disk(disk: Path) -> None:
    """Killed while the disk was full, it starts again, reads and deletes, and takes messages once there is space."""
    filler = Filler(disk)
    gateway = GatewayProcess(disk)
    with gateway:
        gateway.say("c", "/echo before")
        filler.fill()
        until(lambda: _refused(gateway))
        gateway.kill()
    with gateway:
        texts = gateway.texts("c")
        refused = _refused(gateway)
        deleted = gateway.http.delete("/api/sessions/c").status_code
        filler.clear()
        answer = until(lambda: gateway.send("d", "/echo after", wait=1).json().get("reply"))

    assert ["/echo before", "before"] == texts[:2]
    assert ((507, "disk_full"), 200, "after") == (refused, deleted, answer)


def test_deleting_alone_brings_it_back(disk: Path) -> None:
    """Its own chats fill what others have left of the disk: once some are deleted there is room for messages again."""
    filler = Filler(disk)
    with GatewayProcess(disk) as gateway:
        filler.fill(left=20 << 20)
        count = 0
        while gateway.send(f"c{count}", "/echo " + os.urandom(200_000).hex()).status_code == 202:
            count += 1
        said = until(lambda: _refused(gateway))
        codes = [gateway.http.delete(f"/api/sessions/c{number}").status_code for number in range(count // 2)]
        answer = until(lambda: gateway.send("d", "/echo after", wait=1).json().get("reply"))

        assert ((507, "disk_full"), "after") == (said, answer)
        assert {200} == set(codes)
        until(lambda: _standing(gateway)[0] == "normal")
