"""Who may come in: checked before anything is read, in this order: Host, origin, token.

Host is checked on every request, loopback included, so that a name rebound to 127.0.0.1 reaches nothing; a page of
another origin is refused even with a token; tokens travel in the Authorization header alone.
"""

import re
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from tidegate.edge import openai_errors, wire
from tidegate.edge.bodies import Bodies
from tidegate.edge.peers import Door
from tidegate.edge.stream import AT_THE_DOOR, Stream
from tidegate.errors import BadRequest, Forbidden, TidegateError, WrongHost

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz"})
OPEN_PREFIX = "/ui/"
SIGNED_PREFIX = "/hooks/"  # proved by a signature, which its handler looks at
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
TOKEN_PARAMETERS = frozenset({"token", "access_token", "api_key", "key"})

#: an IPv6 address in brackets or a name, and a port
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)]|([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?)(?::[0-9]{1,5})?")


class Guard:
    """An ASGI layer that lets through what may come in."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        door: Door,
        hosts: Collection[str],
        bodies: Bodies,
        count_refusal: Callable[[str], None],
    ) -> None:
        self._app = app
        self._count_refusal = count_refusal
        self._bodies = bodies
        self._door = door
        self._hosts = LOOPBACK | {host.lower().rstrip(".") for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _without_slash(scope)
        try:
            self._check(scope)
        except TidegateError as error:
            self._count_refusal(error.code)
            is_openai = scope["path"].startswith("/v1/")
            response = openai_errors.failed(error) if is_openai else wire.failed(error)
            await response(scope, receive, send)
        else:
            scope[AT_THE_DOOR] = None
            with self._bodies.counted(receive) as counted:
                await self._app(scope, counted, send)
            stream: Stream | None = scope.pop(AT_THE_DOOR)
            if stream is not None:
                await stream.send(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = _only(headers, "host") or ""
        if _host_name(host) not in self._hosts:
            raise WrongHost(
                f"this gateway does not serve {host[:200]!r}", hint="add it to allowed_hosts in [gateway]"
            )
        origin = _only(headers, "origin")
        if origin is not None and not _is_same(origin, host):
            raise Forbidden(f"a page of {origin[:200]!r} may not use this gateway")
        if TOKEN_PARAMETERS & {name.lower() for name in QueryParams(scope["query_string"])}:
            raise BadRequest(
                "a token does not belong into a URL", hint="send it as Authorization: Bearer TOKEN"
            )
        if not _is_open(scope["method"], scope["path"]):
            self._door.check(scope, headers.get("authorization", ""))
            prove: Callable[[], None] | None = scope.get("state", {}).get("prove")
            if prove is not None:
                prove()


def _without_slash(scope: Scope) -> Scope:
    """Return a request to a compatible route as it is meant where a base URL or a path ends in a slash too many."""
    path: str = scope["path"]
    if not path.startswith("/v1/"):
        return scope
    return {**scope, "path": re.sub("/+", "/", path).rstrip("/")}


def _is_open(method: str, path: str) -> bool:
    if method == "POST" and path.startswith(SIGNED_PREFIX):
        return True
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIX)


def _only(headers: Headers, name: str) -> str | None:
    """Return a header that may stand there once; twice is as good as a wrong one."""
    values = headers.getlist(name)
    return ",".join(values) if values else None


def _host_name(host: str) -> str:
    """Return the name in a Host header, lower case, without port; empty for what is no host."""
    match = _HOST.fullmatch(host.lower())
    return (match[1] or match[2]) if match else ""


def _is_same(origin: str, host: str) -> bool:
    parts = origin.partition("://")
    return parts[0] in {"http", "https"} and parts[2].lower() == host.lower()
