"""What happens in a session as it happens: server-sent events that can be resumed.

Durable entries carry the id ``SESSION_ID:SEQ``; a client that comes back with it misses nothing and sees nothing twice.
Pieces of an answer in the making have no id: their entry replaces them.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence

from starlette.requests import Request
from starlette.responses import Response

from tidegate.domain.entry import Entry
from tidegate.domain.run import Run, RunState
from tidegate.domain.session import Session
from tidegate.edge import query, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.event_stream import ALIVE, EventStream
from tidegate.errors import SessionNotFound
from tidegate.ids import SessionId, session_key
from tidegate.runtime.bus import Bus, Ended, Event, Lagged, Piece, Subscription
from tidegate.store.port import Store

KEEP_ALIVE_S = 20.0
PAGE = 16  # entries, held while the reader takes its time
PAGE_BYTES = 64 << 10
FRAMES = 16  # of the last events, up to some 64 KiB each
MAX_REST_S = 0.01  # after a page that took as long to read
LATEST = 1 << 62


class Live:
    """Streams of events."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._turn = asyncio.Lock()  # to read
        self._time = asyncio.get_running_loop().time
        self._frames: OrderedDict[int, tuple[Entry | Piece | Run, bytes]] = OrderedDict()

    async def events(self, request: Request) -> Response:
        """Stream a session's entries after a seq, then what comes."""
        key = session_key(request.path_params["key"])
        session = self._store.session(key)
        if session is None:
            raise SessionNotFound(f"there is no session {key!r}")
        after = _resumed(request, session)
        # a client that asks for the head alone must not wait for the end of the stream
        stream = self._stream(session, after) if request.method == "GET" else _nothing()
        return EventStream(stream)

    async def _stream(self, session: Session, seq: int) -> AsyncGenerator[bytes, None]:
        with self._bus.subscribe(session.id) as subscription:
            yield b"retry: 2000\n\n"
            is_behind, was_slow, limit = True, False, 1
            while True:
                while is_behind:
                    entries = await self._after(session.id, seq, limit)
                    limit = _page(entries)
                    is_behind = bool(entries)
                    while entries:
                        seq = entries[0].seq
                        yield _durable(session.id, entries.pop(0))
                if was_slow:
                    for run in await self._store.runs(
                        state=RunState.DONE, session=session.id, before=LATEST, limit=1
                    ):
                        yield _shown(run, session.key)
                    was_slow = False
                heard, seq, last = await self._heard(subscription, session, seq)
                if heard:
                    yield heard
                if isinstance(last, Ended):
                    return
                was_slow = isinstance(last, Lagged)
                is_behind = was_slow or isinstance(last, Entry)

    async def _heard(
        self, subscription: Subscription, session: Session, seq: int
    ) -> tuple[bytes, int, Entry | Lagged | Ended | None]:
        """Return what goes out together of what comes, the last seq in it, and what it could not be sent beyond."""
        frames = bytearray()
        while len(frames) < PAGE_BYTES:
            event = await _next(subscription)
            match event:
                case Ended():
                    return bytes(frames) + _passing("end", {"reason": event.reason}), seq, event
                case Lagged():
                    return bytes(frames), seq, event
                case Entry() if event.seq > seq + 1:
                    return bytes(frames), seq, event
                case Entry() if event.seq <= seq:
                    pass
                case _:
                    frames += self._frame(event, session)
                    seq = event.seq if isinstance(event, Entry) else seq
            if subscription.is_empty:
                break
        return bytes(frames), seq, None

    def _frame(self, event: Entry | Piece | Run | None, session: Session) -> bytes:
        """Return an event as it is sent; many who hear the same one share it."""
        if event is None:
            return ALIVE
        known = self._frames.get(id(event))
        if known is not None and known[0] is event:
            return known[1]
        frame = _durable(session.id, event) if isinstance(event, Entry) else _shown(event, session.key)
        self._frames[id(event)] = event, frame
        if len(self._frames) > FRAMES:
            self._frames.popitem(last=False)
        return frame

    async def _after(self, session: SessionId, seq: int, limit: int) -> list[Entry]:
        """Return entries that the reader does not know; a session that has just gone has none, and says so itself.

        Streams read one at a time, and never for more than half of the time: a thousand that begin keep nobody waiting.
        """
        async with self._turn:
            started = self._time()
            try:
                return await self._store.entries(session, seq, limit)
            except SessionNotFound:
                return []
            finally:
                await asyncio.sleep(min(MAX_REST_S, self._time() - started))

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


async def _nothing() -> AsyncGenerator[bytes, None]:
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
    data = wire.event_data(wire.entry_out(entry))
    return b"id: %s:%d\nevent: entry\ndata: %s\n\n" % (session.encode(), entry.seq, data)


def _page(entries: Sequence[Entry]) -> int:
    """Return how many entries to read next: of large ones only one, which lies here until the reader takes it."""
    size = sum(len(entry.body.text) for entry in entries) // max(1, len(entries))
    return max(1, min(PAGE, PAGE_BYTES // (size + 1)))


def _shown(event: Piece | Run, key: str) -> bytes:
    if isinstance(event, Piece):
        return _passing("delta", {"run": event.run, "at": event.at, "text": event.text})
    return _passing("run", wire.run_out(event, key))


def _passing(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), wire.event_data(data))
