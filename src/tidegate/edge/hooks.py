"""Webhooks that come in: `POST /hooks/NAME`, open to who holds a secret of that hook.

What strangers do has limits of its own, and what a hook's sender may do is counted only once its signature was right,
so that nobody can use up what is not theirs. Until then a call is a body that is being read: so many at once, and where
one more comes, the one that has taken the longest makes room for it. Nothing is read out of a body before its signature
is right. An unknown name or a wrong signature is counted for its peer, which is then told to come later; a right
signature is heard from there all the same.

A name that is not configured is 404, a wrong signature 401: the path is no secret, the signature is, and whoever sets
up a sender has to be able to tell a slip in one from a slip in the other.
"""

import asyncio
import json
from functools import partial
from io import StringIO

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidegate import signature
from tidegate.bounded import Registry
from tidegate.bucket import Bucket
from tidegate.clock import SECOND_MS, Clock
from tidegate.edge import wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.peers import Peers, peer_of
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest, HookNotFound, RateLimited, SignatureWrong
from tidegate.runtime import hops
from tidegate.runtime.hooks import Call, Hook, Hooks
from tidegate.signature import Signed
from tidegate.strict_json import MAX_LOOP_BYTES
from tidegate.threads import on_thread

AT_ONCE = 64  # bodies that are being read
MISDEEDS = 60  # a minute, for each peer
MIN_RATE_IN_ALL = 1_200  # a minute; more if the hooks' own rates are more together
BODY_S = 10.0
MAX_PRETTY_CHARS = 250_000  # larger documents are told as they came

_HEADERS = {
    "webhook-id": "names the delivery; the same id and body give the same run for 24 hours, another body 409",
    "webhook-timestamp": "seconds since the epoch, at most 5 minutes off",
    "webhook-signature": "v1, and the base64 of HMAC-SHA256 over id.timestamp.body; several with spaces between",
}


class _Reading:
    """A body that is being read."""

    def __init__(self) -> None:
        self.deadline = asyncio.timeout(BODY_S)
        self.has_given_way = False

    def give_way(self) -> None:
        """End it, for another one."""
        self.has_given_way = True
        self.deadline.reschedule(asyncio.get_running_loop().time())


class HookDoor:
    """Lets calls in that are signed."""

    def __init__(self, hooks: Hooks, clock: Clock, registry: Registry, *, behind_proxy: bool) -> None:
        self._hooks = hooks
        self._clock = clock
        self._behind_proxy = behind_proxy
        now = clock.monotonic()
        # One bucket a hook and one for all callers: however many call, there are no more.
        self._rates = {name: Bucket(hook.rate, now) for name, hook in hooks.hooks.items()}
        in_all = sum(hook.rate for hook in hooks.hooks.values())
        self._rate = Bucket(max(MIN_RATE_IN_ALL, in_all), now)
        self._strangers = Peers("hook_strangers", MISDEEDS, clock, registry)
        #: the bodies that are being read, the oldest one first
        self._reading: dict[_Reading, None] = {}
        registry.add(
            "hook_calls", lambda: len(self._reading), AT_ONCE, when_full="the slowest call is refused"
        )
        registry.add(
            "hook_rates", lambda: len(self._rates), len(self._rates), when_full="as it always is: one a hook"
        )

    async def call(self, request: Request) -> Response:
        """Take a call."""
        try:
            hook, signed, body = await self._proved(request)
        except (HookNotFound, SignatureWrong):
            self._strangers.count(peer_of(request.scope, behind_proxy=self._behind_proxy))
            raise
        self._take(self._rate)
        self._take(self._rates[hook.name])
        call = msgspec.structs.replace(
            await _read(signed.id, body), hops=hops.read(request.headers.get(hops.HEADER, ""))
        )
        admitted = await self._hooks.start(hook, call)
        answer = {"run": admitted.run.id, "session": admitted.session.key}
        return Json(answer, status_code=200 if admitted.is_repeat else 202)

    async def _proved(self, request: Request) -> tuple[Hook, Signed, bytes]:
        """Return what was called, by whom and with what, once that is known."""
        name = request.path_params["name"]
        hook = self._hooks.hooks.get(name)
        if hook is None:
            raise HookNotFound(f"there is no hook {name[:80]!r}", hint="hooks are configured as [hooks.NAME]")
        body = await self._body_of(request, hook)
        signed = _signed(request)
        signature.verify(hook.secrets, signed, body, self._clock.now() // SECOND_MS)
        return hook, signed, body

    def _take(self, bucket: Bucket) -> None:
        wait_ms = bucket.take(self._clock.monotonic())
        if wait_ms:
            raise RateLimited(
                f"more than {bucket.per_minute} calls came within a minute",
                hint="repeat it later, or raise rate in [hooks.NAME]",
                retry_after_s=-(-wait_ms // SECOND_MS),
            )

    async def _body_of(self, request: Request, hook: Hook) -> bytes:
        if len(self._reading) >= AT_ONCE:
            slowest = next(iter(self._reading))
            del self._reading[slowest]
            slowest.give_way()
        reading = _Reading()
        self._reading[reading] = None
        try:
            async with reading.deadline:
                return await wire.body_of(request, hook.max_body_bytes)
        except TimeoutError:
            if reading.has_given_way:
                raise RateLimited(f"{AT_ONCE} calls are open already", hint="repeat it later") from None
            raise BadRequest(f"the body took longer than {BODY_S:g} s") from None
        finally:
            self._reading.pop(reading, None)

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [
            Endpoint(
                method="POST",
                path="/hooks/{name}",
                handler=self.call,
                summary="Start a run by a signed webhook",
                headers=_HEADERS,
                answers={202: "the call is kept and its run queued", 200: "it came before; this is its run"},
                errors=(400, 401, 404, 409, 413, 429, 503, 507, 508),
                is_open=True,
            )
        ]


def _signed(request: Request) -> Signed:
    """Return the three headers, each of which has to stand there once."""
    found = {name: request.headers.getlist(name) for name in _HEADERS}
    missing = next((name for name, values in found.items() if len(values) != 1), None)
    if missing is not None:
        raise SignatureWrong(
            f"the request needs the header {missing}, once", hint="docs/hooks.md shows how to sign"
        )
    return Signed(
        id=found["webhook-id"][0],
        timestamp=found["webhook-timestamp"][0],
        signature=found["webhook-signature"][0],
    )


async def _read(message_id: str, body: bytes) -> Call:
    """Read a body that is signed, on a thread if it is long."""
    if len(body) <= MAX_LOOP_BYTES:
        return _call(message_id, body)
    return await on_thread(partial(_call, message_id, body))


def _call(message_id: str, body: bytes) -> Call:
    """Read a body: JSON is told in lines, whatever is no strict JSON as it came."""
    try:
        document = wire.decoded(body, object)
    except BadRequest:
        return Call(id=message_id, body=body, text=_text(body))
    pretty = _pretty(document)
    return Call(id=message_id, body=body, text=_text(body) if pretty is None else pretty, document=document)


def _pretty(document: object) -> str | None:
    """Return a document in lines; None if that would be too long, which it can be by indentation alone."""
    text = StringIO()
    for piece in json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(document):
        if text.tell() + len(piece) > MAX_PRETTY_CHARS:
            return None
        text.write(piece)
    return text.getvalue()


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start + 1}") from None
