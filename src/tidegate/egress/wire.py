"""The guard between a request and the network; the only file of a gateway that knows the library which speaks HTTP.

The library asks for a connection to a host by its name; it gets one to an address that was checked. It never resolves
a name itself, so that no second answer of a name server can lead elsewhere.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import httpcore2

from tidegate import __version__
from tidegate.egress import body
from tidegate.egress.address import Rules, plain
from tidegate.egress.request import Limits, Request
from tidegate.egress.resolver import Resolver
from tidegate.egress.unreachable import Unreachable
from tidegate.egress.url import Url

CONNECTIONS = 64
MAX_ADDRESSES = 64  # of one name; a few of them are tried
TRIED = 3
#: what the library sets itself, or what would change whom it talks to
_OWN = frozenset(
    {"host", "user-agent", "accept-encoding", "connection", "content-length", "transfer-encoding"}
)


class Wire:
    """Sends requests over connections that the guard has opened, one each."""

    def __init__(self, rules: Rules, resolver: Resolver) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpcore2.default_ssl_context(),
            max_connections=CONNECTIONS,
            max_keepalive_connections=0,
            network_backend=_Guard(rules, resolver),
        )

    @asynccontextmanager
    async def asked(
        self, url: Url, request: Request, limits: Limits
    ) -> AsyncGenerator[tuple[int, Mapping[str, str], AsyncIterator[bytes]], None]:
        """Send one request, without its redirects; hand out status, headers and the pieces of the body.

        Raises:
            AddressRefused: It may not be sent there.
            Unreachable: There was no answer.
        """
        sent = httpcore2.Request(
            request.method,
            httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target),
            headers=_headers(url, request),
            content=request.body or None,
            extensions={
                "timeout": {
                    "connect": limits.connect_s,
                    "read": limits.silent_s,
                    "write": limits.silent_s,
                    "pool": limits.connect_s,
                }
            },
        )
        try:
            answer = await self._pool.handle_async_request(sent)
            try:
                headers = {
                    name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers
                }
                yield answer.status, headers, answer.aiter_stream()
            finally:
                await answer.aclose()
        except _FAILURES as error:
            _fail(error, url)


class _Guard(httpcore2.AsyncNetworkBackend):
    """Opens connections to addresses that were checked."""

    def __init__(self, rules: Rules, resolver: Resolver) -> None:
        self._rules = rules
        self._resolver = resolver
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = [plain(text) for text in (await self._resolver(host))[:MAX_ADDRESSES]]
        if not addresses:
            raise Unreachable(f"{host!r} has no address")
        self._rules.check(host, port, addresses)
        failure: Exception | None = None
        for address in addresses[:TRIED]:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or Unreachable


_FAILURES = (
    OSError,
    ssl.SSLError,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
)


def _headers(url: Url, request: Request) -> list[tuple[str, str]]:
    own = [
        ("Host", url.authority),
        ("User-Agent", f"tidegate/{__version__}"),
        ("Accept-Encoding", body.ACCEPTED),
        ("Connection", "close"),
    ]
    if request.body or request.method not in {"GET", "HEAD"}:
        own.append(("Content-Length", str(len(request.body))))
    return own + [(name, value) for name, value in request.headers.items() if name.lower() not in _OWN]


def _fail(error: Exception, url: Url) -> NoReturn:
    """Say what went wrong without what the library or the system says about its own inside."""
    match error:
        case httpcore2.ConnectTimeout():
            what = "does not take the connection"
        case httpcore2.TimeoutException():
            what = "is silent for too long"
        case httpcore2.ProtocolError():
            what = "does not speak HTTP properly"
        case _:
            cause = error.__cause__ or error
            reason = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or cause
            what = f"cannot be reached: {str(reason)[:200]}"
    raise Unreachable(f"{url.authority} {what}") from error
