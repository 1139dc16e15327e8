"""How much a provider may send: a response that never ends must not fill the memory.

Source: the clients decode events by adding to a buffer until a blank line comes, make an object of each value in an
event before anybody sees it, and read an error's body whole; the library goes through all parts of an answer with each
new one.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import pairwise

import httpx2

from tidegate import strict_json
from tidegate.strict_json import NotStrict

MAX_REST_S = 0.01  # after a piece that took as long to read
TURN_BYTES = 2 << 10  # are read before everybody else has a turn: hundreds of events may come at once
MAX_RESPONSE_BYTES = 256 << 20  # an event of 300 bytes for each token, and far more tokens than models write
MAX_EVENT_BYTES = 1 << 20  # a whole call may come in one
MAX_EVENT_LINES = 256
MAX_EVENT_VALUES = 2_000
MAX_ERROR_BYTES = 64 << 10
MAX_ANSWER_CHARS = 4 << 20  # of text, thoughts, names and arguments; in any script they fit into a blob
MAX_CALLS = 128  # in one answer
MAX_PARTS = 512  # texts, thoughts and calls; the library looks at all of them with each new one
PLAIN = {"", "identity"}

_END = re.compile(rb"\n\n|\r\n\r\n|\r\r")


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


class Room:
    """What there is room for in one answer, while it comes."""

    def __init__(self) -> None:
        self._chars = MAX_ANSWER_CHARS
        self._parts = MAX_PARTS
        self._calls = MAX_CALLS

    def take(self, chars: int, *, parts: int = 0, calls: int = 0) -> None:
        """Count what has come.

        Raises:
            Flood: There is no room for it.
        """
        self._chars -= chars
        self._parts -= parts
        self._calls -= calls
        if self._chars < 0:
            raise Flood(f"answered more than {MAX_ANSWER_CHARS >> 20} million characters")
        if self._calls < 0:
            raise Flood(f"asked for more than {MAX_CALLS} tool calls in one answer")
        if self._parts < 0:
            raise Flood(f"answered in more than {MAX_PARTS:,} parts")


class _Watched(httpx2.AsyncByteStream):
    """A stream of bytes that stops at a limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, room: int) -> None:
        self._stream = stream
        self._room = room
        self._open = bytearray()  # of the event that has no end yet
        self._lines = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what comes, a little at a time.

        Raises:
            Flood: It is too much, in all or of one event; nobody has read the end of that event then.
        """
        loop, given_at = asyncio.get_running_loop(), 0.0
        async for chunk in self._stream:
            self._room -= len(chunk)
            self._take(chunk)
            if self._room < 0 or len(self._open) > MAX_EVENT_BYTES or self._lines > MAX_EVENT_LINES:
                raise Flood("sends more than anybody reads")
            for begin in range(0, len(chunk), TURN_BYTES):
                # whoever reads has just worked on the piece before: threads that need the interpreter get as long
                await asyncio.sleep(min(MAX_REST_S, loop.time() - given_at) if given_at else 0)
                given_at = loop.time()
                yield chunk[begin : begin + TURN_BYTES]
        _check(self._open)  # its end is that of the stream

    def _take(self, chunk: bytes) -> None:
        start = max(0, len(self._open) - 3)  # where an end may begin that this chunk completes
        self._open += chunk
        ends = [match.end() for match in _END.finditer(self._open, start)]
        if not ends:
            self._lines += _lines(chunk)
            return
        for begin, end in pairwise([0, *ends]):
            if end - begin > MAX_EVENT_LINES:
                _check(self._open[begin:end])
        del self._open[: ends[-1]]
        self._lines = _lines(self._open)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()


def _lines(data: bytes | bytearray) -> int:
    return max(data.count(b"\n"), data.count(b"\r"))


def _check(event: bytearray) -> None:
    """Look at a whole event: a short one can hold a million values, of each of which the library makes objects."""
    if len(event) > MAX_EVENT_BYTES or _lines(event) > MAX_EVENT_LINES + 2:
        raise Flood("sends more than anybody reads")
    room = MAX_EVENT_VALUES
    if len(event) > room:
        for line in event.decode("latin-1").splitlines():  # no string goes on in the next line
            try:
                room -= strict_json.count(line, room)
            except NotStrict as error:
                raise Flood(f"sends an event that {error}") from None
