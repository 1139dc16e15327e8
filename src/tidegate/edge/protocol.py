"""HTTP/1.1 as uvicorn speaks it, with a bound on what anybody may send before the guard can look at it.

The parser keeps the head of a request, and what trails a chunked body, until its end; uvicorn bounds neither.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 << 10


class Protocol(HttpToolsProtocol):
    """One connection."""

    #: bytes that came since the parser last had something whole, which are those that it keeps
    _kept_bytes = 0

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
