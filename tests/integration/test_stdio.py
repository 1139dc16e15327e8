import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway_process import TOKEN, WAIT_S, command, environment, until

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def started(
    state: Path, redirect: str, *, stdout: int | None = None, stderr: int | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start a gateway with its standard streams as a shell redirects them; yield it and where it is."""
    line = ["/bin/sh", "-c", f'exec "$0" "$@" {redirect}', *command(), "--state", str(state), "--port", "0"]
    process = subprocess.Popen(line, env=environment({"TIDEGATE_TOKEN": TOKEN}), stdout=stdout, stderr=stderr)
    try:
        yield process, until(lambda: _url(state, process))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(WAIT_S)


def _url(state: Path, process: subprocess.Popen[bytes]) -> str:
    assert process.poll() is None
    card = state / "gateway.json"
    return str(json.loads(card.read_text())["url"]) if card.exists() else ""


def works(url: str) -> Callable[[str], bool]:
    """Return what says a text and tells whether it came back."""

    def say(text: str) -> bool:
        path = f"{url}/api/sessions/a/messages?wait=1"
        answer = httpx.post(
            path, json={"text": f"/echo {text}"}, headers=HEADERS, timeout=WAIT_S, trust_env=False
        )
        return bool(answer.json()["reply"] == text)

    return say


@pytest.mark.parametrize(
    "redirect",
    ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>&1", ">/dev/full 2>&-"],
)
def test_no_stream_is_required(tmp_path: Path, redirect: str) -> None:
    """With closed streams, or a full disk behind them, a gateway works, stops, and its files hold nothing else."""
    for life in ("first", "second"):
        with started(tmp_path / "state", redirect, stderr=subprocess.DEVNULL) as (process, url):
            assert works(url)(life)
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0


def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    """A full pipe in the place of output and log holds up neither work nor the stop; what is lost is counted."""
    reading, writing = os.pipe()
    size = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
    os.write(writing, b"x" * size)
    try:
        with started(tmp_path / "state", "", stdout=writing, stderr=writing) as (process, url):
            assert works(url)("hello")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("redirect", "code", "said"),
    [(">&-", 0, b""), ("| true", 0, b""), (">/dev/full", 74, b"cannot be written")],
)
def test_commands_end_quietly(redirect: str, code: int, said: bytes) -> None:
    """A command whose output nobody takes ends without a traceback; a full disk is said."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" "$@" {redirect}', *command()[:-1], "--help"],
        stderr=subprocess.PIPE,
        timeout=WAIT_S,
        env=environment({}),
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (code, False)
    assert said in done.stderr
