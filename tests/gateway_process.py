"""A real gateway in a process of its own, for tests of what is promised over sockets.

`GatewayProcess` is a context manager: it starts the gateway on a state folder, waits until it is up and stops it by
SIGTERM, which has to end in exit code 0. Every wait in here is bounded by `WAIT_S`.
"""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

T = TypeVar("T")

WAIT_S = 20.0
POLL_S = 0.02
TOKEN = "a-token-for-tests-only"  # noqa: S105 - of tests

Json = dict[str, Any]


class GatewayProcess:
    """A gateway, from `start` to `stop`; *config* is the text of its ``tidegate.toml``.

    *port* is 0 for any free one; *address_bytes* is how much address space it may have, *descriptors* how many files
    and connections.
    """

    def __init__(  # noqa: PLR0913 - what a process is started with
        self,
        state: Path,
        *,
        config: str = "",
        environment: Mapping[str, str] | None = None,
        address_bytes: int | None = None,
        descriptors: int | None = None,
        port: int = 0,
    ) -> None:
        self._at = port
        self.state = state
        self.url = ""
        self.log = state.with_name(f"{state.name}.log")
        self._limits = {resource.RLIMIT_AS: address_bytes, resource.RLIMIT_NOFILE: descriptors}
        self._environment = {"TIDEGATE_TOKEN": TOKEN, **(environment or {})}
        state.mkdir(exist_ok=True)
        (state / "tidegate.toml").write_text(config)

    @property
    def command(self) -> list[str]:
        """The command line that starts it."""
        return command()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.process.poll() is None:
            assert self.stop() == 0, self.log.read_text()
        self.kill()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return httpx.URL(self.url).port or 0

    def start(self) -> None:
        """Start it and wait until it says that it is up."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "--state", str(self.state), "--port", str(self._at)],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(self._environment),
                preexec_fn=self._narrow if any(self._limits.values()) else None,  # noqa: PLW1509 - no other thread is here
            )
        announced = self._announced()
        self.url = announced.split("Tidegate is up: ")[1].split("/\n")[0]
        self.http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=WAIT_S,
            trust_env=False,
        )

    def stop(self) -> int:
        """Ask it to stop and return its exit code."""
        self.signal()
        return self.wait()

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self.process.wait(WAIT_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it whatever it does, and let go of what belongs to it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.http.close()

    def say(self, key: str, text: str, **body: object) -> Json:
        """Send a message, wait for its answer and return that."""
        response = self.http.post(
            f"/api/sessions/{key}/messages", params={"wait": 1}, json={"text": text, **body}
        )
        assert response.status_code == 200, response.text
        return dict(response.json())

    def send(self, key: str, text: str, *, once: str | None = None, **query: int) -> httpx.Response:
        """Send a message; *once* is its idempotency key."""
        headers = {} if once is None else {"Idempotency-Key": once}
        return self.http.post(
            f"/api/sessions/{key}/messages", json={"text": text}, headers=headers, params=query
        )

    def get(self, path: str, **query: str | int) -> Any:
        """Return what a GET answers, which has to be 200."""
        response = self.http.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str) -> httpx.Response:
        """POST without a body."""
        return self.http.post(path)

    def session(self, key: str) -> Json:
        """Return a session."""
        return dict(self.get(f"/api/sessions/{key}"))

    def texts(self, key: str) -> list[str]:
        """Return the text of every entry of a session."""
        return [entry["text"] for entry in self.get(f"/api/sessions/{key}/entries", limit=1000)["entries"]]

    def pages(
        self, path: str, name: str, parameter: str = "cursor", **query: str | int
    ) -> Iterator[list[Json]]:
        """Follow a list to its end, page by page."""
        page = self.get(path, **query)
        yield page[name]
        while page["next"] is not None:
            page = self.get(path, **query, **{parameter: page["next"]})
            yield page[name]

    def _narrow(self) -> None:
        """Bound what it may have; called in the new process before anything of the gateway."""
        for limit, most in self._limits.items():
            if most is not None:
                resource.setrlimit(limit, (most, most))

    def _announced(self) -> str:
        """Read standard output up to the last line of the greeting."""
        assert self.process.stdout is not None
        said = b""
        until = time.monotonic() + WAIT_S
        while b"\nstop:" not in said:
            left = until - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, left))
            piece = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not piece:
                self.process.kill()
                self.process.wait(WAIT_S)
                self.process.stdout.close()
                raise AssertionError(f"the gateway did not come up: {said!r} {self.log.read_text()}")
            said += piece
        return said.decode()


def asking(gateway: GatewayProcess, *headers: str, stream: bool) -> socket.socket:
    """Send a request to `/v1` over a socket of its own, whose answer nobody has read yet."""
    body = json.dumps({"stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {TOKEN}",
        f"Content-Length: {len(body)}",
        *headers,
        "",
        "",
    )
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    client.sendall("\r\n".join(lines).encode() + body)
    return client


def command() -> list[str]:
    """Return the command line that starts a gateway."""
    return [sys.executable, "-m", "tidegate", "up"]


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: this one's without settings of the gateway, and *changes*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    return kept | {"XDG_CONFIG_HOME": os.devnull} | dict(changes)


def refused_start(state: Path, *options: str, **changes: str) -> tuple[int, str]:
    """Start a gateway that must not come up; return its exit code and what it says on standard error."""
    done = subprocess.run(
        [*command(), "--state", str(state), "--port", "0", *options],
        capture_output=True,
        timeout=WAIT_S,
        env=environment(changes),
        check=False,
    )
    return done.returncode, done.stderr.decode()


def until(look: Callable[[], T]) -> T:
    """Look again and again until there is something, where no event tells it."""
    ends_at = time.monotonic() + WAIT_S
    while not (found := look()):
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(POLL_S)
    return found


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Return status and code of an error, which must be in the house's shape."""
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    return response.status_code, error["code"]
