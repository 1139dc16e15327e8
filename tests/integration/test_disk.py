"""A disk that is really full, and one that is really read-only: a small file system of its own.

Mounting one needs root. Where that is not to be had, these tests are skipped, and counted as such.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_process import GatewayProcess, error_of, refused_start, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")

SIZE = 8 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)  # noqa: S607


def mount(*arguments: str) -> None:
    """Call mount."""
    subprocess.run(["mount", *arguments], check=True, timeout=10)  # noqa: S607


def fill(place: Path) -> Path:
    """Take every free byte of a file system."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filler


def test_full_disk_refuses_writes_and_serves_reads(disk: Path) -> None:
    """On a full disk messages get 507, reads are answered, and once there is space again everything goes on."""
    with GatewayProcess(disk / "state") as gateway:
        gateway.say("c", "/echo before")
        filler = fill(disk)
        refused = until(lambda: _refused(gateway))
        texts = gateway.texts("c")
        filler.unlink()
        answer = until(lambda: gateway.send("d", "/echo after", wait=1).json().get("reply"))

        assert refused == (507, "disk_full")
        assert texts[:2] == ["/echo before", "before"]
        assert answer == "after"
        assert sum(gateway.get("/api/status")["orphans"].values()) == 0


def _refused(gateway: GatewayProcess) -> tuple[int, str] | None:
    """Send until a message is refused; the log may still have room for some."""
    response = gateway.send("c", "/echo " + "x" * 50_000)
    return error_of(response) if response.status_code != 202 else None


def test_accepted_messages_are_answered_after_a_full_disk(disk: Path) -> None:
    """Whatever was acknowledged while the disk filled up is in the transcript once, in order, and answered."""
    with GatewayProcess(disk / "state") as gateway:
        filler = fill(disk)
        accepted = 0
        while gateway.send("c", f"/echo {accepted + 1}").status_code == 202:
            accepted += 1
        filler.unlink()
        until(lambda: gateway.send("c", "/echo end", wait=1).json().get("reply") == "end")
        said = [text for text in gateway.texts("c") if text.startswith("/echo")]

        assert said == [f"/echo {number + 1}" for number in range(accepted)] + ["/echo end"]


def test_read_only_folder_stops_the_start(disk: Path) -> None:
    """A folder that cannot be written to is named, with exit code 74."""
    state = disk / "state"
    state.mkdir()
    mount("-o", "remount,ro", str(disk))
    code, said = refused_start(state)

    assert code == 74
    assert str(state) in said
    assert "--state" in said
