"""Somebody outside who is told by webhook: a real HTTP server on loopback that misbehaves as it is told.

Each request takes the next `Turn` of the script, and 204 when the script is used up. Requests are recorded. Every wait
in here is bounded by `WAIT_S`.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self

WAIT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one request gets."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    #: ``hang`` waits until the client hangs up or the receiver ends, ``cut`` breaks off in the middle of the head
    how: Literal["whole", "hang", "cut"] = "whole"
    #: sent as it stands, instead of an answer
    raw: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """What tells deliveries apart."""
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """The server; a context manager, listening on a free port."""

    script: list[Turn] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.arrived = threading.Semaphore(0)
        self.over = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False  # so that closing waits for them
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(WAIT_S)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/told"

    def wait(self) -> Delivered:
        """Wait for one more request and return the newest."""
        assert self.arrived.acquire(timeout=WAIT_S)
        return self.delivered[-1]


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.delivered.append(Delivered(path=self.path, headers=headers, body=body))
            turn = receiver.script.pop(0) if receiver.script else Turn()
            receiver.arrived.release()
            self.close_connection = True
            if turn.how == "hang":
                receiver.over.wait(WAIT_S)
            elif turn.how == "cut" or turn.raw:
                self._write(turn.raw or b"HTTP/1.1 200 O")
            else:
                self.send_response(turn.status)
                for name, value in turn.headers.items():
                    self.send_header(name, value)
                self.end_headers()

        def _write(self, data: bytes) -> None:
            with suppress(ConnectionError):  # who is told too much hangs up
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
