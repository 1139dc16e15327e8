"""HTTP/1.1 as uvicorn speaks it, with a bound on what anybody may send before the guard can look at it.

The parser keeps the head of a request, and what trails a chunked body, until its end; uvicorn bounds neither.
"""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

MAX_HEAD_BYTES = 64 << 10


class Protocol(HttpToolsProtocol):
    """One connection."""

    #: bytes that came since the parser last had something whole, which are those that it keeps
    _kept_bytes = 0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        # each request gets a copy of the state, and all of a connection what it says of that
        super().__init__(config, server_state, {**app_state, "connection": {}}, _loop)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; close the connection when it has to keep too much."""
        self._kept_bytes += len(data)
        super().data_received(data)
        if self._kept_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        """Take the head."""
        self._kept_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._kept_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end."""
        self._kept_bytes = 0
        super().on_message_complete()
