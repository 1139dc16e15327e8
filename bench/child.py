"""A real gateway in a process of its own: started, asked, watched and stopped by the scripts of this folder."""

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

START_S = 30.0
STOP_S = 60.0
PAUSE_S = 0.002


class Child:
    """A gateway that is ready; `ready_s` is how long that took from the start of its process.

    *prepare* is called in that process before anything of the gateway.
    """

    def __init__(
        self, state: Path, config: Path | None = None, prepare: Callable[[], None] | None = None
    ) -> None:
        self.state = state
        self.token = secrets.token_urlsafe(24)
        self.port = free_port()
        command = [sys.executable, "-m", "tidegate", "up", "--state", str(state), "--port", str(self.port)]
        command += ["--config", str(config)] if config else []
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - `stop` closes it
        started = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            env=environment() | {"TIDEGATE_TOKEN": self.token},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            preexec_fn=prepare,  # noqa: PLW1509 - limits have to be there first, and no thread is here
        )
        self._watched = psutil.Process(self._process.pid)
        try:
            self._wait_until_ready(started + START_S)
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - started

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(self._watched.memory_info().rss)

    @property
    def peak_bytes(self) -> int:
        """The most resident memory that it ever had."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) << 10

    @property
    def cpu_s(self) -> float:
        """CPU time of the process so far, all threads, user and system."""
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def ask(self, method: str, path: str, content: object = None) -> dict[str, object]:
        """Ask the gateway for one thing and return its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            headers = {"Authorization": f"Bearer {self.token}"}
            body = None if content is None else json.dumps(content)
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {answer[:300]!r}")
        return dict(json.loads(answer))

    def stop(self) -> int:
        """Ask the process to stop, kill it if it does not, and return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._output.close()
        return code

    def _wait_until_ready(self, ends_at: float) -> None:
        while time.perf_counter() < ends_at:
            if self._process.poll() is not None:
                self._output.seek(0)
                raise RuntimeError(f"the gateway did not start: {self._output.read()[-2_000:].decode()}")
            if _is_ready(self.port):
                return
            time.sleep(PAUSE_S)
        raise RuntimeError(f"the gateway was not ready after {START_S:g} s")


def environment() -> dict[str, str]:
    """Return the environment of a process that finds the package and keeps its bytecode."""
    source = str(Path(__file__).parents[1] / "src")
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": source}


def compile_bytecode() -> None:
    """Import everything once, so that no measured start compiles sources."""
    command = [sys.executable, "-c", "import tidegate.cli.main, tidegate.cli.up, tidegate.app, uvloop"]
    subprocess.run(command, env=environment(), check=True, timeout=120)


@contextmanager
def folder(parent: Path | None) -> Iterator[Path]:
    """Lend a folder on a real disk and remove it afterwards."""
    path = Path(tempfile.mkdtemp(prefix="tidegate-bench-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
