"""Who a request comes from, as far as limits are concerned, and what each peer has left of one.

A peer is an address, an IPv6 one with its neighbours of the same /64, an IPv4 one however it is written. Behind a proxy
that the configuration trusts it is the address that the proxy has appended to ``X-Forwarded-For``, and never one that
the client wrote there itself; from anybody else that header means nothing.
"""

import hashlib
import hmac
import ipaddress
from collections import OrderedDict, deque
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import Scope

from tidegate.bounded import OLDEST_GOES, Registry
from tidegate.bucket import Bucket
from tidegate.clock import SECOND_MS, Clock
from tidegate.errors import NotAuthorized, RateLimited

MAX_PEERS = 1_024
GUESSES = 20  # a minute, for each peer
REMEMBERED = (
    8  # wrong tokens of a peer, so that a program with an old one is not taken for somebody who guesses
)
UNKNOWN = "unknown"


def peer_of(scope: Scope, *, behind_proxy: bool) -> str:
    """Return what stands for whoever sends a request."""
    client = scope.get("client")
    direct = _canonical(client[0] if client else "")
    if not behind_proxy:
        return direct
    passed_on = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).rpartition(",")[2].strip()
    told = _canonical(passed_on)
    return direct if told == UNKNOWN else told


class _Peer:
    """What one peer has left, and the wrong tokens that it sent last."""

    __slots__ = ("bucket", "wrong")

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.wrong: deque[bytes] = deque(maxlen=REMEMBERED)


class Peers:
    """Those that have misbehaved; who has not for the longest time is forgotten first."""

    def __init__(self, name: str, per_minute: int, clock: Clock, registry: Registry) -> None:
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self._per_minute = per_minute
        self._clock = clock
        registry.add(name, lambda: len(self._peers), MAX_PEERS, when_full=OLDEST_GOES)

    def __contains__(self, of: tuple[str, bytes]) -> bool:
        """Whether a peer has sent just this not long ago."""
        peer, digest = of
        return peer in self._peers and digest in self._peers[peer].wrong

    def check(self, peer: str) -> None:
        """Refuse who has misbehaved too often; it costs nothing.

        Raises:
            RateLimited: It has.
        """
        known = self._peers.get(peer)
        if known is not None and (wait_ms := known.bucket.wait_ms(self._clock.monotonic())):
            raise self._refusal(wait_ms)

    def count(self, peer: str, digest: bytes = b"") -> None:
        """Count a misdeed.

        Raises:
            RateLimited: There were too many before.
        """
        now = self._clock.monotonic()
        known = self._peers.pop(peer, None) or _Peer(Bucket(self._per_minute, now))
        self._peers[peer] = known
        if len(self._peers) > MAX_PEERS:
            self._peers.popitem(last=False)
        known.wrong.append(digest)
        wait_ms = known.bucket.take(now)
        if wait_ms:
            raise self._refusal(wait_ms)

    def _refusal(self, wait_ms: int) -> RateLimited:
        return RateLimited(
            f"more than {self._per_minute} wrong requests came from this address within a minute",
            hint="repeat it later",
            retry_after_s=-(-wait_ms // SECOND_MS),
        )


class Door:
    """Compares tokens: so many different wrong ones a minute from each peer, and then none at all.

    A connection over which the right one has come is let through meanwhile, so that whoever guesses from the same
    machine does not cut a person off.
    """

    def __init__(self, token: str, clock: Clock, registry: Registry, *, behind_proxy: bool) -> None:
        self._token = token.encode()
        self._behind_proxy = behind_proxy
        self._guesses = Peers("token_guesses", GUESSES, clock, registry)

    def check(self, scope: Scope, authorization: str) -> None:
        """Let a request pass that has the token.

        Raises:
            NotAuthorized: It has none, or a wrong one.
            RateLimited: Its peer has tried too many.
        """
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("latin-1")  # as which headers were decoded
        if not given:
            raise _refused("the request has no token")
        connection: dict[str, bool] = scope.get("state", {}).get("connection", {})
        peer = peer_of(scope, behind_proxy=self._behind_proxy)
        digest = hashlib.blake2b(authorization.encode("latin-1"), digest_size=16).digest()
        if (peer, digest) in self._guesses:
            raise _refused("the token is wrong")
        if not connection.pop("is_known", False):
            self._guesses.check(peer)
        if scheme.lower() == "bearer" and hmac.compare_digest(given, self._token):
            connection["is_known"] = True
            return
        with suppress(RateLimited):  # it was compared, so it is told what came of it
            self._guesses.count(peer, digest)
        raise _refused("the token is wrong")


def _refused(what: str) -> NotAuthorized:
    return NotAuthorized(what, hint="send Authorization: Bearer TOKEN; `tidegate token` prints it")


def _canonical(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
