"""What comes with status 200 and is no stream of events: an error as JSON, or a page for people.

Ollama, OpenRouter, Google and many a proxy refuse this way. The clients find no event in it and drop it; so an error is
handed to them as the one event that it stands for, and a page is named by its title.
"""

import re
from collections.abc import AsyncIterator
from html import unescape

import httpx2
import msgspec

MAX_BYTES = 1 << 20
TITLE_CHARS = 80
TITLE_WITHIN_BYTES = 16 << 10

_STARTS = (b"{", b"[", b"<")  # no line of an event starts so
_TITLE = re.compile(rb"<title[^>]{0,200}>([^<]{1,500})", re.IGNORECASE)


class Page(Exception):
    """The provider answered with a page for people, which the message names by its title."""


async def watch(response: httpx2.Response) -> None:
    """Look at how a response begins."""
    if response.is_success and isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Looked(response.stream)


class _Looked(httpx2.AsyncByteStream):
    """A stream of bytes that begins as events do."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what comes.

        Raises:
            Page: It is a page.
        """
        body: list[bytes] = []
        size, is_stream = 0, False
        async for chunk in self._stream:
            if is_stream:
                yield chunk
                continue
            begun = chunk if body else chunk.lstrip()
            if not begun:
                continue
            body.append(begun)
            size += len(begun)
            if not body[0].startswith(_STARTS):
                is_stream = True
                yield begun
            elif size > MAX_BYTES:
                break
        if body and not is_stream:
            yield _event(b"".join(body))

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()


def _event(body: bytes) -> bytes:
    """Return the event that an error stands for; anything else as it is, for the client to stumble over.

    Raises:
        Page: It is a page.
    """
    if body.startswith(b"<"):
        title = _TITLE.search(body, 0, TITLE_WITHIN_BYTES)
        words = " ".join(unescape(title[1].decode(errors="replace")).split()) if title else ""
        raise Page(
            f"answered with a web page: {words[:TITLE_CHARS]}" if words else "answered with a web page"
        )
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body
    told = told[0] if isinstance(told, list) and told else told  # as Google does
    error = _error_in(told)
    return (
        b"event: error\ndata: " + msgspec.json.encode({"type": "error", "error": error}) + b"\n\n"
        if error
        else body
    )


def _error_in(told: object) -> object:
    """Return the error that an object tells of, if it does."""
    if not isinstance(told, dict):
        return None
    if told.get("error"):
        return told["error"]
    words = told.get("message") or told.get("detail")
    return {**told, "message": words} if isinstance(words, str) and "choices" not in told else None
