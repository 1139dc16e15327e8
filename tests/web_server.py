"""A web server on loopback that misbehaves as told, and counts who connects; and rules that let a test reach it."""

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from tidegate.egress.address import Rules, rule
from tidegate.egress.client import Egress
from tidegate.egress.resolver import Resolver

Respond = Callable[["Visit"], "bytes | Sequence[bytes] | None"]


class Visit:
    """One request as it came."""

    def __init__(self, head: str, body: bytes) -> None:
        self.line, *lines = head.split("\r\n")
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        self.body = body

    @property
    def path(self) -> str:
        """What was asked for."""
        return self.line.split(" ")[1]


class WebServer:
    """The server; a response is given as bytes, pieces of them, or None for silence until the client leaves."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.visits: list[Visit] = []
        self.port = 0
        self.left = asyncio.Event()
        self._writers: dict[asyncio.StreamWriter, asyncio.Event] = {}

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        """Return the address of a page."""
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        self._writers[writer] = over = asyncio.Event()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._answer(reader, writer)
        self.left.set()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        over.set()

    async def close(self) -> None:
        """Leave every client and wait until all is closed."""
        for writer, over in self._writers.items():
            writer.close()
            await over.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip()
        visit = Visit(head, b"")
        visit.body = await reader.readexactly(int(visit.headers.get("content-length", "0")))
        self.visits.append(visit)
        response = self.respond(visit)
        for piece in [response] if isinstance(response, bytes) else response or []:
            writer.write(piece)
            await writer.drain()
        if response is None:
            await reader.read()


@asynccontextmanager
async def web_server(respond: Respond, tls: ssl.SSLContext | None = None) -> AsyncIterator[WebServer]:
    """Serve on a free port of loopback."""
    web = WebServer(respond)
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
        await web.close()


def page(body: bytes = b"", kind: str = "text/html", status: str = "200 OK", **headers: str) -> bytes:
    """Return a whole response; underscores in names of headers are dashes."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode("latin-1") + body


def moved(location: str, status: str = "302 Found") -> bytes:
    """Return a redirect."""
    return page(status=status, Location=location)


def bomb(megabytes: int) -> bytes:
    """Return so much of nothing, packed."""
    return gzip.compress(bytes(megabytes << 20))


def names(**known: str | Sequence[str]) -> Resolver:
    """Return a resolver that knows these names, with dots for underscores, and addresses."""

    async def resolve(host: str) -> Sequence[str]:
        found = known.get(host.replace(".", "_"), host)
        return [found] if isinstance(found, str) else found

    return resolve


def egress(*allow: str, deny: Sequence[str] = (), resolver: Resolver | None = None) -> Egress:
    """Return a client with rules as they are configured."""
    rules = Rules(allow=[rule(one) for one in allow], deny=[rule(one) for one in deny])
    return Egress(rules, resolver)
