"""Takes connections from a listening socket, one after the other, while there is room for them.

Where there is none, or the system has no descriptor left, the next ones stay in the system's queue and are looked at
again when a connection has gone, at the latest after a short while.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

from tidegate import log
from tidegate.edge.connections import Connections
from tidegate.edge.protocol import Protocol

BURST = 32  # in one turn of the loop, so that those before them are heard
PAUSE_S = 0.05
HANDSHAKE_S = 10.0
SEND_BYTES = 128 << 10  # that the system holds for a client that does not read; of itself it takes megabytes

_log = log.get("edge")


class Acceptor:
    """One listening socket; to uvicorn it looks like a server of asyncio."""

    def __init__(
        self,
        listener: socket.socket,
        connections: Connections,
        tasks: asyncio.TaskGroup,
        make: Callable[[str], Protocol],
        *,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._listener = listener
        self._make = make
        self._connections = connections
        self._tasks = tasks
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        connections.on_room = self._go_on

    def open(self, backlog: int) -> None:
        """Begin."""
        self._listener.setblocking(False)  # noqa: FBT003 - its signature
        self._listener.listen(backlog)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Take no more."""
        self._connections.on_room = lambda: None
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Wait for nothing: `close` is all."""

    def _accept(self) -> None:
        for _ in range(BURST):
            if not self._connections.make_room():
                self._rest()
                return
            try:
                taken, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:  # no descriptor or memory is left, which passes
                self._connections.count_refusal("connection_limit")
                _log.warning("accept_failed", error=str(error))
                self._rest()
                return
            self._take(taken, address)

    def _take(self, taken: socket.socket, address: tuple[str, int]) -> None:
        taken.setblocking(False)  # noqa: FBT003 - its signature
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        protocol = self._make(address[0])
        protocol.handshake = self._tasks.create_task(self._connect(taken, protocol))
        self._connections.enter(protocol)

    async def _connect(self, taken: socket.socket, protocol: Protocol) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                taken,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_S if self._tls else None,
            )
        except (
            OSError
        ):  # what a stranger does wrong, `ssl.SSLError` and the deadline included, is no line in the log
            taken.close()
            self._connections.leave(protocol)
        except asyncio.CancelledError:
            taken.close()
            self._connections.leave(protocol)
            raise
        finally:
            protocol.handshake = None

    def _rest(self) -> None:
        """Look away for a while: the socket stays readable, and looking at it again and again helps nobody."""
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            self._loop.add_reader(self._listener, self._accept)
