"""How much a provider may send: a response that never ends must not fill the memory.

Source: the clients decode events by adding to a buffer until a blank line comes, and read an error's body whole.
"""

from collections.abc import AsyncIterator

import httpx2

MAX_RESPONSE_BYTES = 256 << 20  # an event of 300 bytes for each token, and far more tokens than models write
MAX_EVENT_BYTES = 4 << 20
MAX_ERROR_BYTES = 1 << 20
PLAIN = {"", "identity"}

_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Flood(Exception):
    """The provider sends more than anybody reads, or in a packing that hides how much it is."""


async def limit(response: httpx2.Response) -> None:
    """Watch what comes of a response.

    Raises:
        Flood: It is compressed though nobody asked for that; a few bytes could then become any number.
    """
    if response.headers.get("content-encoding", "").strip().lower() not in PLAIN:
        raise Flood("compressed its answer, which was not asked for")
    stream = response.stream
    if isinstance(stream, httpx2.AsyncByteStream):
        response.stream = _Watched(stream, MAX_RESPONSE_BYTES if response.is_success else MAX_ERROR_BYTES)


class _Watched(httpx2.AsyncByteStream):
    """A stream of bytes that stops at a limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, room: int) -> None:
        self._stream = stream
        self._room = room

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what comes.

        Raises:
            Flood: It is too much, in all or of one event.
        """
        open_bytes, tail = 0, b""
        async for chunk in self._stream:
            self._room -= len(chunk)
            seen = tail + chunk
            last = max(seen.rfind(end) for end in _ENDS)
            open_bytes = len(seen) - last if last >= 0 else open_bytes + len(chunk)
            tail = seen[-3:]
            if self._room < 0 or open_bytes > MAX_EVENT_BYTES:
                raise Flood("sends more than anybody reads")
            yield chunk

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()
