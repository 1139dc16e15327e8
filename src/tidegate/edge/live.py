"""What happens in a session as it happens: server-sent events that can be resumed.

Durable entries carry the id ``SESSION_ID:SEQ``; a client that comes back with it misses nothing and sees nothing twice.
Pieces of an answer in the making have no id: their entry replaces them.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import re
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tidegate.domain.entry import Entry
from tidegate.domain.run import Run, RunState
from tidegate.domain.session import Session
from tidegate.edge import query, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.errors import SessionNotFound
from tidegate.ids import SessionId, session_key
from tidegate.runtime.bus import Bus, Ended, Event, Lagged, Piece, Subscription
from tidegate.store.port import Store

KEEP_ALIVE_S = 20.0
PAGE = 16  # entries of up to 64 KiB, held while the reader takes its time
LATEST = 1 << 62


class Live:
    """Streams of events."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def events(self, request: Request) -> Response:
        """Stream a session's entries after a seq, then what comes."""
        key = session_key(request.path_params["key"])
        session = self._store.session(key)
        if session is None:
            raise SessionNotFound(f"there is no session {key!r}")
        after = _resumed(request, session)
        # a client that asks for the head alone must not wait for the end of the stream
        stream = self._stream(session, after) if request.method == "GET" else _nothing()
        return StreamingResponse(stream, media_type="text/event-stream", headers=wire.STREAM_HEADERS)

    async def _stream(self, session: Session, seq: int) -> AsyncIterator[bytes]:
        with self._bus.subscribe(session.id) as subscription:
            yield b"retry: 2000\n\n"
            is_behind, was_slow = True, False
            while True:
                while is_behind:
                    entries = await self._after(session.id, seq)
                    for entry in entries:
                        yield _durable(session.id, entry)
                    seq = entries[-1].seq if entries else seq
                    is_behind = bool(entries)
                if was_slow:
                    for run in await self._store.runs(
                        state=RunState.DONE, session=session.id, before=LATEST, limit=1
                    ):
                        yield _shown(run, session.key)
                    was_slow = False
                event = await _next(subscription)
                if isinstance(event, Entry) and event.seq == seq + 1:
                    yield _durable(session.id, event)
                    seq += 1
                elif isinstance(event, Ended):
                    yield _passing("end", {"reason": event.reason})
                    return
                elif isinstance(event, Lagged) or (isinstance(event, Entry) and event.seq > seq):
                    is_behind = True
                    was_slow = isinstance(event, Lagged)
                elif not isinstance(event, Entry):
                    yield _shown(event, session.key)

    async def _after(self, session: SessionId, seq: int) -> list[Entry]:
        """Return entries that the reader does not know; a session that has just gone has none, and says so itself."""
        try:
            return await self._store.entries(session, seq, PAGE)
        except SessionNotFound:
            return []

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        return [
            Endpoint(
                method="GET",
                path="/api/sessions/{key}/events",
                handler=self.events,
                summary="Stream entries and pieces of answers as server-sent events",
                query={"after": "the last seq that is known"},
                headers={"Last-Event-ID": "the id of the last event that arrived"},
                errors=(400, 404, 429),
                media_type="text/event-stream",
            )
        ]


def _resumed(request: Request, session: Session) -> int:
    """Return the last seq that the client knows; one that is none of this session's does not count."""
    after = query.integer(request.query_params, "after", 0)
    known, _, seq = request.headers.get("last-event-id", "").partition(":")
    if known == session.id and re.fullmatch("[0-9]{1,18}", seq) and int(seq) <= session.entries:
        return int(seq)
    return after


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _next(subscription: Subscription) -> Event | None:
    """Wait for an event; nothing comes back when it is time for a sign of life."""
    try:
        async with asyncio.timeout(KEEP_ALIVE_S):
            return await subscription.get()
    except TimeoutError:
        return None


def _durable(session: SessionId, entry: Entry) -> bytes:
    data = msgspec.json.encode(wire.entry_out(entry))
    return b"id: %s:%d\nevent: entry\ndata: %s\n\n" % (session.encode(), entry.seq, data)


def _shown(event: Piece | Run | Lagged | Ended | None, key: str) -> bytes:
    match event:
        case Piece():
            return _passing("delta", {"run": event.run, "at": event.at, "text": event.text})
        case Run():
            return _passing("run", wire.run_out(event, key))
        case _:
            return b": alive\n\n"


def _passing(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
