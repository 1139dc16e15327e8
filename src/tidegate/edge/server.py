"""Puts the routes together and serves them: one ASGI application, one uvicorn server inside our own task group."""

import asyncio
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from tidegate.edge import openai_errors, openapi, wire
from tidegate.edge.acceptor import Acceptor
from tidegate.edge.bodies import Bodies
from tidegate.edge.endpoint import Endpoint, Handler
from tidegate.edge.guard import Guard
from tidegate.edge.lean import uvicorn
from tidegate.edge.peers import Door
from tidegate.edge.protocol import Bounds, Protocol
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest, ConfigError, MemoryShort, NotFound, TidegateError
from tidegate.faults import Area, Faults
from tidegate.redaction import Redaction

BACKLOG = 1_024
KEEP_ALIVE_S = 75
CLOSE_S = 1  # for answers that are still being sent when all runs have had their time


_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_PAGE_FILES = {"index.html": "text/html", "app.js": "text/javascript", "style.css": "text/css"}


class Health:
    """What a supervisor asks, and the page: all that is served without a token."""

    def __init__(self, faults: Faults) -> None:
        self.is_ready = False
        self._faults = faults

    async def alive(self, _: Request) -> Response:
        """Say that the event loop turns."""
        return Json({"ok": True})

    async def ready(self, _: Request) -> Response:
        """Say whether messages are taken and every loop can do its work, and if not, why."""
        reason = self._faults.reason() if self.is_ready else "it is starting or stopping"
        if reason:
            return Json({"ready": False, "reason": reason}, status_code=503)
        return Json({"ready": True})

    async def page(self, request: Request) -> Response:
        """Serve the page and what belongs to it."""
        name = request.path_params.get("file", "index.html")
        if name not in _PAGE_FILES:
            raise NotFound(f"there is no file {name[:80]!r}")
        content = (Path(__file__).parent / "ui" / name).read_bytes()
        return Response(content, media_type=f"{_PAGE_FILES[name]}", headers=_PAGE_HEADERS)

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        return [
            Endpoint(method="GET", path="/healthz", handler=self.alive, summary="Is it alive", is_open=True),
            Endpoint(
                method="GET",
                path="/readyz",
                handler=self.ready,
                summary="Does it take messages",
                is_open=True,
                answers={200: "yes", 503: "not now"},
            ),
            Endpoint(
                method="GET",
                path="/",
                handler=self.page,
                summary="The page",
                media_type="text/html",
                is_open=True,
            ),
            Endpoint(
                method="GET",
                path="/ui/{file}",
                handler=self.page,
                summary="A file of the page",
                is_open=True,
                errors=(404,),
                media_type="text/plain",
            ),
        ]


def application(  # noqa: PLR0913 - what a door needs
    endpoints: Sequence[Endpoint],
    *,
    door: Door,
    hosts: Collection[str],
    bodies: Bodies,
    count_refusal: Callable[[str], None],
    redaction: Redaction,
    faults: Faults,
) -> Guard:
    """Build the application from its endpoints."""

    async def describe(_: Request) -> Response:
        return Json(description)

    described = Endpoint(method="GET", path="/openapi.json", handler=describe, summary="This document")
    everything = [*endpoints, described]
    description = openapi.document(everything)

    async def refuse(request: Request, error: Exception) -> Response:
        answer = _answered(request, _without_secrets(error, redaction), count_refusal)
        if answer.status_code >= 500 and not isinstance(error, TidegateError | HTTPException | MemoryError):
            faults.count(Area.REQUEST, error, request.url.path)
        return answer

    def answered(handler: Handler) -> Handler:
        """Return a handler that always answers: uvicorn closes a connection on which an error comes through."""

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except Exception as error:  # noqa: BLE001 - counted and answered
                return await refuse(request, error)

        return handle

    routes = [Route(item.path, answered(item.handler), methods=[item.method]) for item in everything]
    handlers = {HTTPException: refuse, Exception: refuse}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, door=door, hosts=hosts, bodies=bodies, count_refusal=count_refusal)


def _answered(request: Request, error: Exception, count_refusal: Callable[[str], None]) -> Response:
    match error:
        case TidegateError():
            failure = error
        case HTTPException(status_code=405):
            failure = MethodNotAllowed(f"{request.method} is not possible on {request.url.path[:200]}")
        case HTTPException(status_code=404):
            failure = NotFound(
                f"there is nothing at {request.url.path[:200]}", hint="/openapi.json lists what there is"
            )
        case HTTPException():
            failure = BadRequest(str(error.detail))
        case MemoryError():
            failure = MemoryShort()
        case _:
            failure = TidegateError(f"internal error: {type(error).__name__}")
    count_refusal(failure.code)
    is_openai = request.url.path.startswith("/v1/")
    answer = openai_errors.failed(failure) if is_openai else wire.failed(failure)
    if isinstance(failure, MethodNotAllowed):
        answer.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return answer


def _without_secrets(error: Exception, redaction: Redaction) -> Exception:
    """Return an error whose words can be sent: a provider may have repeated the key that it was given."""
    if isinstance(error, TidegateError):
        error.message, error.hint = redaction(error.message), redaction(error.hint)
    return error


def _methods(request: Request) -> set[str]:
    """Return what is possible on the path of a request."""
    found: Sequence[Route] = request.app.routes
    return {
        method
        for route in found
        if route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


class MethodNotAllowed(BadRequest):
    """The path is there, the method is not."""

    code = "method_not_allowed"
    status = 405


class Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the house has one stop order, and it is in ``app``."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

    async def until_started(self) -> None:
        """Wait until the socket takes connections."""
        while not self.started and not self.should_exit:  # noqa: ASYNC110 - uvicorn has a flag, no event
            await asyncio.sleep(0.005)


class BoundedServer(Server):
    """One that takes connections within bounds."""

    def __init__(self, config: uvicorn.Config, bounds: Bounds) -> None:
        super().__init__(config)
        self._bounds = bounds
        self._tasks: asyncio.TaskGroup

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve what comes to the sockets until `should_exit` is set."""
        async with asyncio.TaskGroup() as self._tasks:
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take connections."""
        make = partial(Protocol, self.config, self.server_state, bounds=self._bounds)
        acceptors = [
            Acceptor(listener, self._bounds.connections, self._tasks, make, tls=self.config.ssl)
            for listener in sockets or ()
        ]
        for acceptor in acceptors:
            acceptor.open(BACKLOG)
        self.servers = cast("list[asyncio.Server]", acceptors)
        self.started = True


def server(app: Guard, bounds: Bounds, *, tls: tuple[str, str] | None) -> BoundedServer:
    """Build the server; its sockets are handed to `serve`.

    Raises:
        ConfigError: Certificate and key cannot be used.
    """
    settings = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",  # warnings are about what strangers send, who are not to fill the log
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,  # `peers` reads them, where the configuration trusts them
        lifespan="off",
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=CLOSE_S,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    try:
        settings.load()
    except OSError as error:  # what ssl raises is one, too
        raise ConfigError(
            f"[gateway] tls_cert and tls_key cannot be used: {error.strerror or error}",
            hint="both are PEM files, and the key is the certificate's own, without a passphrase",
        ) from error
    return BoundedServer(settings, bounds)
