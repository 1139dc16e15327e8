"""HTTP/1.1 as uvicorn speaks it, with bounds on what anybody may send before the guard can look at it, and on time.

uvicorn bounds neither the head of a request, nor what trails a chunked body, nor how many requests come at once, nor
how long a head or a body takes, nor how long an answer waits to be read.
"""

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tidegate.edge.answers import Answers
from tidegate.edge.bodies import Bodies
from tidegate.edge.connections import Connections, Peer
from tidegate.edge.peers import peer_of
from tidegate.errors import MemoryShort

if TYPE_CHECKING:
    from uvicorn._types import HTTPScope

MAX_HEAD_BYTES = 64 << 10
MAX_HEADERS = 128
MAX_PIPELINED = 16  # requests that wait for the answers to those before them
HEADER_BYTES = 256  # what a header takes beside its own bytes, as Python holds it
HEAD_S = 10.0  # for the head of a request, from the first byte that is awaited
BODY_S = 30.0  # for the next piece of a body; all of a guest's body
WHOLE_BODY_S = 600.0
PROBE_S = 0.5  # between two questions to a client whether it still listens
UNREAD_S = 30.0  # in which a client has to read something of what waits for it


class Bounds(NamedTuple):
    """What all connections share."""

    connections: Connections
    bodies: Bodies
    answers: Answers
    #: so that one address stands for many people
    behind_proxy: bool


class Protocol(HttpToolsProtocol):
    """One connection, from an address."""

    #: until the transport is there
    handshake: asyncio.Task[None] | None = None

    #: bytes that came since the parser last had something whole, which are those that it keeps
    _kept_bytes = 0
    #: what is counted of this connection
    _counted_bytes = 0
    _is_in_head = True
    _is_in_body = False
    _is_guest = True
    _awaited_since = 0.0
    #: when what is awaited has to be there; None while it is the gateway's turn
    _due_at: float | None = None
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _unread_bytes = 0
    #: the client has said that it sends nothing more
    _is_half_closed = False
    _probe: asyncio.TimerHandle | None = None
    #: called once the client has gone
    _on_loss: Callable[[], None] | None = None
    _is_lost = False

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        address: str,
        *,
        bounds: Bounds,
    ) -> None:
        # each request gets a copy of the state, and all of a connection what it says of that
        state = {"connection": {}, "prove": self.prove, "watch": self.watch}
        super().__init__(config, server_state, state)
        name = peer_of({"client": (address, 0)}, behind_proxy=False)
        is_here = address == "::1" or name.startswith("127.")
        self.peer = Peer(name, is_near=is_here or bounds.behind_proxy)
        self.since = self.loop.time()
        self._bounds = bounds

    def prove(self) -> None:
        """Say that the token has come."""
        self._is_guest = False
        self._bounds.connections.prove(self)

    def watch(self, on_loss: Callable[[], None] | None) -> None:
        """Say what is to be called once the client has gone, or that nothing is any more."""
        self._on_loss = on_loss
        if self._is_lost and on_loss is not None:
            on_loss()

    def drop(self) -> None:
        """Close the connection now, whatever is on its way."""
        self._bounds.connections.leave(self)
        if self.handshake is not None:
            self.handshake.cancel()
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        # whatever waits to be read is known; at 0 TLS would wait for ever, since nothing is as much as that
        transport.set_write_buffer_limits(high=1, low=0)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what it held."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # which uvicorn leaves after a reset; it would hold all of this
        for timer in (self._deadline, self._unread, self._probe):
            if timer is not None:
                timer.cancel()
        self._deadline = self._unread = self._probe = None
        self._count(0)
        self.app_state.clear()  # it leads back here, and nothing is to wait for the collector
        if self._has_cycle:
            self.cycle.scope.get("state", {}).clear()
        self._bounds.answers.release(self)
        self._bounds.connections.leave(self)
        self._is_lost = True
        if self._on_loss is not None:
            self._on_loss()
            self._on_loss = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; close the connection when it has to keep too much."""
        self._bounds.connections.wake(self)
        self._kept_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._kept_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The head of the request is too large.")
        elif self._is_in_body:
            self._await_body()
        elif self._due_at is None and (self._is_in_head or not self._is_answering):
            self._await_head()
        self._count_head()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn lets the transport close
        """Keep the connection for an answer that is on its way, as long as the client listens."""
        if not self._is_answering or self._is_in_body or not self.transport.can_write_eof():
            return False
        if self.scope["http_version"] != "1.1":  # such a client cannot be asked
            return False
        self._is_half_closed = True
        if self._probe is None:
            self._probe = self.loop.call_later(PROBE_S, self._ask)
        return True

    def on_message_begin(self) -> None:
        """Begin with a head."""
        self._is_in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header.

        Raises:
            ValueError: There are too many; the parser passes that on as an error of the request.
        """
        if len(self.headers) >= MAX_HEADERS:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Take the head.

        Raises:
            ValueError: Too many requests wait for an answer.
        """
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests at once")
        self._kept_bytes = 0
        self._is_in_head, self._is_in_body = False, True
        self._awaited_since, self._due_at = self.loop.time(), None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._kept_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end."""
        self._kept_bytes = 0
        self._is_in_body, self._due_at = False, None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Let go of the request, and wait for the next one."""
        super().on_response_complete()
        if self.transport.is_closing() or self.pipeline or self._is_answering:
            return
        if self._is_half_closed:
            self.transport.close()
            return
        self.cycle.body = bytearray()
        self._count_head()
        if not self._is_in_head and not self._is_in_body:
            # a long head is not to stay for as long as the connection rests
            self.headers, self.scope = [], cast("HTTPScope", {})
            self.cycle.scope = self.scope
            self._bounds.connections.rest(self)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", msg)

    def pause_writing(self) -> None:
        """Count what the client has not read."""
        super().pause_writing()
        self._unread_bytes = self.transport.get_write_buffer_size()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_S, self._cut_unread)
        self._bounds.answers.hold(self, self._unread_bytes)

    def resume_writing(self) -> None:
        """Go on once it has."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        self._bounds.answers.release(self)

    def _ask(self) -> None:
        """Say what means nothing: who has gone, and not just closed its half, resets the connection at that."""
        self._probe = self.loop.call_later(PROBE_S, self._ask)
        if self.pipeline or self.transport.is_closing() or self.transport.get_write_buffer_size():
            return
        between: bytes = self.cycle.scope.get("state", {}).get("between", b"")
        if not self.cycle.response_started:
            self.transport.write(STATUS_LINE[HTTPStatus.CONTINUE] + b"\r\n")
        elif between and self.cycle.chunked_encoding:
            self.transport.write(b"%x\r\n%s\r\n" % (len(between), between))

    def _cut_unread(self) -> None:
        left = self.transport.get_write_buffer_size()
        if left < self._unread_bytes:
            self._unread_bytes = left
            self._unread = self.loop.call_later(UNREAD_S, self._cut_unread)
        else:
            self._bounds.answers.cut(self)

    @property
    def _is_answering(self) -> bool:
        """Whether the answer to the last request is not out yet."""
        return self._has_cycle and not self.cycle.response_complete

    @property
    def _has_cycle(self) -> bool:
        """Whether there was a request; uvicorn's annotation denies that there may be none."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None

    def _await_head(self) -> None:
        self._await_until(self.loop.time() + HEAD_S)

    def _await_body(self) -> None:
        whole_s = BODY_S if self._is_guest else WHOLE_BODY_S
        self._await_until(min(self.loop.time() + BODY_S, self._awaited_since + whole_s))

    def _await_until(self, due_at: float) -> None:
        self._due_at = due_at
        if self._deadline is None:
            self._deadline = self.loop.call_at(due_at, self._look)

    def _look(self) -> None:
        """Close the connection if what is awaited is not there; a timer is not moved with each byte that comes."""
        self._deadline = None
        if self._due_at is None or self.transport.is_closing():
            return
        if self.flow.read_paused:  # it is not the client that is late
            self._due_at = self.loop.time() + BODY_S
        if self.loop.time() < self._due_at:
            self._deadline = self.loop.call_at(self._due_at, self._look)
            return
        part = "body" if self._is_in_body else "head"
        self._bounds.connections.count_refusal(f"slow_{part}")
        if self._kept_bytes or self._is_in_body:
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT, "too_slow", f"The {part} of the request did not come in time."
            )
        else:
            self.drop()

    def _count_head(self) -> None:
        """Count the head of the request that is under way."""
        held = self._kept_bytes
        if self.headers and (self._is_in_head or self._is_answering):
            held += sum(len(name) + len(value) + HEADER_BYTES for name, value in self.headers)
        try:
            self._count(held)
        except MemoryShort as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, error.code, error.message)

    def _count(self, held: int) -> None:
        if held > self._counted_bytes:
            self._bounds.bodies.take(held - self._counted_bytes)
        else:
            self._bounds.bodies.give(self._counted_bytes - held)
        self._counted_bytes = held

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        """Answer what never becomes a request, and close; where another answer is on its way, just close."""
        is_answered = self._has_cycle and self.cycle.response_started
        if is_answered and (self._is_in_body or self._is_answering):
            self.drop()
            return
        body = json.dumps({"error": {"code": code, "message": message, "hint": ""}}).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()
