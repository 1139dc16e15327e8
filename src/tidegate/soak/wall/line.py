"""The line of a soak's clients to their gateway: HTTP over real sockets, bounded in number, with a deadline each."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

import httpcore2
import msgspec

DEADLINE_S = 120.0  # of an answer; runs take five seconds at most where the machine is not busy
#: whatever can become of a request beside an answer
LOST = (OSError, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """An answer, whole."""

    status: int
    content: bytes

    @property
    def json(self) -> Any:
        """The object in it; an empty one where there is none."""
        try:
            return msgspec.json.decode(self.content)
        except msgspec.DecodeError:
            return {}

    @property
    def error(self) -> str:
        """The code of the error in it; empty if it is none."""
        found = self.json.get("error") if self.status >= 400 else None
        return str(found.get("code") or found.get("type")) if isinstance(found, dict) else ""


class Line:
    """Connections to one gateway."""

    def __init__(self, pool: httpcore2.AsyncConnectionPool, url: str, token: str) -> None:
        self._pool = pool
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] = _NOTHING
    ) -> Answer:
        """Send a request and return its whole answer.

        Raises:
            TimeoutError: There is none in time.
            LOST: The connection broke.
        """
        async with asyncio.timeout(DEADLINE_S):
            answer = await self._pool.request(
                method,
                f"{self._url}{path}",
                headers=[*self._headers.items(), *headers.items()],
                content=None if body is None else msgspec.json.encode(body),
            )
        return Answer(answer.status, answer.content)

    async def events(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] = _NOTHING
    ) -> AsyncGenerator[Any, None]:
        """Yield the data of server-sent events as they come; an answer that is an error is one of them.

        Raises:
            LOST: The connection broke.
        """
        async with (
            self._pool.stream(
                method,
                f"{self._url}{path}",
                headers=[*self._headers.items(), *headers.items()],
                content=None if body is None else msgspec.json.encode(body),
            ) as answer,
            aclosing(_lines(answer.aiter_stream())) as lines,
        ):
            async for line in lines:
                name, _, data = line.partition(b":")
                if answer.status >= 400:
                    yield Answer(answer.status, line).json
                elif name == b"data" and data.strip() != b"[DONE]":
                    yield msgspec.json.decode(data)


@asynccontextmanager
async def line(url: str, token: str, connections: int) -> AsyncIterator[Line]:
    """Open a line of at most so many connections, and close them all."""
    async with httpcore2.AsyncConnectionPool(
        max_connections=connections, max_keepalive_connections=connections
    ) as pool:
        yield Line(pool, url, token)


def session_path(key: str, part: str) -> str:
    """Return where a part of a session is."""
    return f"/api/sessions/{quote(key, safe='')}/{part}"


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield whole lines of what comes in pieces."""
    kept = b""
    async for piece in pieces:
        *whole, kept = (kept + piece).split(b"\n")
        for one in whole:
            yield one
    if kept:
        yield kept
