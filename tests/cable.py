"""A connection to a gateway that can be pulled out: a relay on loopback that drops all that goes through it."""

import socket
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

WAIT_S = 20.0


class Cable:
    """The relay; a context manager, listening on a free port."""

    def __init__(self, port: int, *, swallowed: int = 0) -> None:
        self._port = port
        #: which connection, counted from 1, breaks instead of bringing an answer
        self._swallowed = swallowed
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.pull()
        for thread in self._threads:
            thread.join(WAIT_S)

    @property
    def url(self) -> str:
        """Where clients find the gateway."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def count(self) -> int:
        """How many connections go through it now."""
        return len(self._open)

    def pull(self) -> None:
        """Break every connection."""
        relays = self._threads[1:]
        for end in list(self._open):
            end.shutdown(socket.SHUT_RDWR)
        for thread in relays:
            thread.join(WAIT_S)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._swallowed -= 1
            self._start(partial(self._relay, near, is_swallowed=self._swallowed == 0))

    def _relay(self, near: socket.socket, *, is_swallowed: bool) -> None:
        with near, socket.create_connection(("127.0.0.1", self._port)) as far:
            self._open.append(far)
            back = self._start(partial(_swallow if is_swallowed else _pour, far, near))
            _pour(near, far)
            back.join(WAIT_S)
            self._open.remove(far)

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()
        return thread


def _pour(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _swallow(source: socket.socket, target: socket.socket) -> None:
    source.recv(1)
    target.shutdown(socket.SHUT_RDWR)
