"""The client of the house: one request, its redirects, and an answer within limits."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

from tidegate.egress import body
from tidegate.egress import url as urls
from tidegate.egress.address import Rules
from tidegate.egress.request import Limits, Request
from tidegate.egress.resolver import Resolver, system_resolver
from tidegate.egress.unreachable import Unreachable
from tidegate.egress.url import Url

if TYPE_CHECKING:
    from tidegate.egress.wire import Wire

MAX_REDIRECTS = 5
#: what goes along to another origin; everything else may be a credential
_GOES_ALONG = frozenset({"accept", "accept-language"})
_MOVED = frozenset({301, 302, 303, 307, 308})
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; `url` is where the last redirect led."""

    url: Url
    status: int
    #: by their names in small letters; of several with one name the last
    headers: Mapping[str, str]
    body: bytes
    #: there was more than the limit
    is_cut: bool


class Egress:
    """The guarded HTTP client.

    Resource handling: it keeps no connection; the library and the certificates stay loaded after the first request.
    """

    def __init__(self, rules: Rules, resolver: Resolver | None = None) -> None:
        self._rules = rules
        self._resolver = resolver or system_resolver()
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()

    async def send(self, request: Request, limits: Limits) -> Answer:
        """Send a request, follow where it is sent on, and return what comes in the end, whatever its status.

        Cancellation: closes the connection at once.

        Raises:
            UrlRefused, AddressRefused: It, or a redirect, leads where it may not.
            Unreachable: There was no answer, or none in time.
        """
        try:
            async with asyncio.timeout(limits.seconds):
                return await self._follow(request, limits)
        except TimeoutError:
            raise Unreachable(f"there was no whole answer within {limits.seconds:g} s") from None

    async def _follow(self, request: Request, limits: Limits) -> Answer:
        url = urls.read(request.url)
        may_follow = request.method in _SAFE_METHODS
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._ask(url, request, limits)
            location = answer.headers.get("location")
            if not (may_follow and answer.status in _MOVED and location):
                return answer
            onward = urls.joined(url, location)
            if onward.origin != url.origin:
                kept = {name: value for name, value in request.headers.items() if name.lower() in _GOES_ALONG}
                request = msgspec.structs.replace(request, headers=kept)
            url = onward
        raise Unreachable(f"there are more than {MAX_REDIRECTS} redirects")

    async def _ask(self, url: Url, request: Request, limits: Limits) -> Answer:
        wire = await self._opened()
        async with wire.asked(url, request, limits) as (status, headers, pieces):
            data, is_cut = await body.read(pieces, headers.get("content-encoding", ""), limits.max_bytes)
        return Answer(url=url, status=status, headers=headers, body=data, is_cut=is_cut)

    async def _opened(self) -> "Wire":
        async with self._opening:
            if self._wire is None:
                self._wire = await anyio.to_thread.run_sync(self._import)
            return self._wire

    def _import(self) -> "Wire":
        from tidegate.egress.wire import Wire  # noqa: PLC0415 - it costs memory, which most gateways never need

        return Wire(self._rules, self._resolver)
