"""A gateway killed between the commit of a delivery and its arrival."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from calling_hooks import KEY, written
from gateway_process import WAIT_S, environment
from receiver import Receiver, Turn

pytestmark = pytest.mark.serial

CHILD = Path(__file__).with_name("outbox_child.py")


@contextmanager
def child(folder: Path, url: str, *steps: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the child, and kill it in the end."""
    changes = {"SECRET": written(KEY), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), url, *steps],
        stdout=subprocess.PIPE,
        env=environment(changes),
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(WAIT_S)


def test_a_delivery_survives(tmp_path: Path) -> None:
    """Killed after the commit, and again while the receiver holds its answer back, it comes with its id and bytes."""
    with Receiver([Turn(how="hang")]) as receiver:
        with child(tmp_path, receiver.url, "put") as process:
            assert process.stdout is not None
            name = process.stdout.readline().decode().strip()
        assert receiver.delivered == []
        with child(tmp_path, receiver.url, "send"):
            first = receiver.wait()
        with child(tmp_path, receiver.url, "send"):
            second = receiver.wait()
    assert first.id == second.id == name
    assert first.body == second.body
    assert first.headers["webhook-timestamp"] <= second.headers["webhook-timestamp"]
