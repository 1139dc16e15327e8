"""The house's own API. Each handler decodes, makes one call and shows the result."""

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tidegate.agent.loop import Agent
from tidegate.domain.run import Run, RunState
from tidegate.domain.session import Kind, Session, State
from tidegate.edge import blobs, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json, MessageIn
from tidegate.errors import AgentNotFound, BadRequest, RunNotFound, SessionNotFound
from tidegate.ids import BlobHash, RunId, SessionId, idempotency_key, session_key
from tidegate.runtime import mover
from tidegate.runtime.intake import Intake
from tidegate.runtime.sweeper import Sweeper
from tidegate.store.port import Page, Receipt, Store

E = TypeVar("E", bound=StrEnum)

MANY = 1 << 62


class Rest:
    """Handlers over the parts that they call."""

    def __init__(self, store: Store, intake: Intake, sweeper: Sweeper, agents: Mapping[str, Agent]) -> None:
        self._store = store
        self._intake = intake
        self._sweeper = sweeper
        self._agents = agents

    async def send(self, request: Request) -> Response:
        """Take a message; with ``wait=1`` answer once its run is done."""
        body = await wire.body_of(request)
        message = wire.decode(body, MessageIn)
        key = session_key(request.path_params["key"])
        admitted = await self._intake.message(
            key,
            message.text,
            agent_name(self._agents, message.agent),
            is_named=message.agent is not None,
            receipt=receipt_of(request, f"messages:{key}", message),
        )
        answer = {"run": admitted.run.id, "session": key}
        if not flag(request, "wait"):
            return Json(answer, status_code=202)
        run, reply = await self._intake.answer(admitted.run)
        if run.state is RunState.WAITING:
            return Json(answer | {"state": run.state}, status_code=202)
        return Json(answer | {"reply": reply})

    async def sessions(self, request: Request) -> Response:
        """List sessions, newest first."""
        query = request.query_params
        limit = wire.limit_of(query)
        parent = self._head(query["parent"]).id if query.get("parent") else None
        page = Page(
            kinds=choices(query.get("kind"), Kind),
            states=choices(query.get("state"), State),
            parent=parent,
            agent=query.get("agent") or None,
            text=query.get("q") or None,
            before=wire.cursor_of(query),
            limit=limit,
        )
        found = await self._store.sessions(page)
        following = found[-1].id if len(found) == limit else None
        return Json({"sessions": [self._shown(session) for session in found], "next": following})

    async def session(self, request: Request) -> Response:
        """Show a session."""
        return Json(self._shown(self._head_of(request)))

    async def delete(self, request: Request) -> Response:
        """Delete a session and everything below it, lowest first."""
        session = self._head_of(request)
        shown = self._shown(session)
        await mover.delete(self._store, session)
        return Json(shown)

    async def archive(self, request: Request) -> Response:
        """Archive a session now."""
        return Json(self._shown(await mover.archive(self._store, self._head_of(request))))

    async def restore(self, request: Request) -> Response:
        """Bring an archived session back."""
        return Json(self._shown(await self._store.restore(self._head_of(request).id)))

    async def pin(self, request: Request) -> Response:
        """Keep a session until it is unpinned."""
        return Json(self._shown(await self._store.pin(self._head_of(request).id, pinned=True)))

    async def unpin(self, request: Request) -> Response:
        """Let a session's life go on."""
        return Json(self._shown(await self._store.pin(self._head_of(request).id, pinned=False)))

    async def cancel(self, request: Request) -> Response:
        """Close all that is open in a session."""
        return Json(self._shown(await self._store.cancel_session(self._head_of(request).id)))

    async def entries(self, request: Request) -> Response:
        """List the entries of a session in order."""
        limit = wire.limit_of(request.query_params)
        after = wire.integer(request.query_params, "after", 0)
        head = self._head_of(request)
        found = await self._store.entries(head.id, after, limit)
        following = found[-1].seq if found and found[-1].seq < head.entries else None
        return Json({"entries": [wire.entry_out(entry) for entry in found], "next": following})

    async def runs(self, request: Request) -> Response:
        """List runs, newest first."""
        query = request.query_params
        limit = wire.limit_of(query)
        states = choices(query.get("state"), RunState)
        if len(states) > 1:
            raise BadRequest("runs are listed in one state or in all of them")
        found = await self._store.runs(
            state=states[0] if states else None,
            session=self._head(query["session"]).id if query.get("session") else None,
            before=wire.integer(query, "cursor", MANY),
            limit=limit,
        )
        following = str(found[-1].number) if len(found) == limit else None
        return Json({"runs": [self._run_shown(run) for run in found], "next": following})

    async def cancel_run(self, request: Request) -> Response:
        """Cancel a run."""
        return Json(self._run_shown(await self._intake.cancel(RunId(request.path_params["id"]))))

    async def run(self, request: Request) -> Response:
        """Show a run."""
        run = self._store.run(RunId(request.path_params["id"]))
        if run is None:
            raise RunNotFound(f"there is no run {request.path_params['id'][:80]!r}")
        return Json(self._run_shown(run))

    async def blob(self, request: Request) -> Response:
        """Send the bytes of a large text, a part at a time."""
        name = BlobHash(request.path_params["hash"])
        size = self._store.blob_size(name)
        headers = {
            "Content-Length": str(size),
            "Content-Disposition": "attachment",
            "X-Content-Type-Options": "nosniff",
        }
        parts = blobs.parts(self._store, name, size)
        return StreamingResponse(parts, media_type="text/plain; charset=utf-8", headers=headers)

    async def sweep(self, request: Request) -> Response:
        """Carry out what is due, now."""
        if flag(request, "dry_run"):
            return Json(await self._sweeper.preview())
        return Json(await self._sweeper.sweep(confirm=flag(request, "confirm")))

    def _head_of(self, request: Request) -> Session:
        return self._head(request.path_params["key"])

    def _head(self, key: str) -> Session:
        session = self._store.session(session_key(key))
        if session is None:
            raise SessionNotFound(
                f"there is no session {key!r}", hint="`tidegate sessions list` shows what there is"
            )
        return session

    def _shown(self, session: Session) -> dict[str, object]:
        parent = self._store.session_by_id(session.parent) if session.parent else None
        return wire.session_out(session, parent.key if parent else None)

    def _run_shown(self, run: Run) -> dict[str, object]:
        session = self._store.session_by_id(SessionId(run.session))
        return wire.run_out(run, session.key if session else "")

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        return _endpoints(self)


def agent_name(agents: Mapping[str, Agent], name: str | None) -> str:
    """Return the agent's name; the first of the configuration when none is given.

    Raises:
        AgentNotFound: There is none of this name.
    """
    chosen = next(iter(agents)) if name is None else name
    if chosen not in agents:
        raise AgentNotFound(f"there is no agent {chosen[:80]!r}", hint=f"there is: {', '.join(agents)}"[:300])
    return chosen


def receipt_of(request: Request, scope: str, body: object) -> Receipt | None:
    """Return what an Idempotency-Key promises; nothing without one."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    digest = hashlib.blake2b(msgspec.json.encode(body), digest_size=16).digest()
    return Receipt(scope=scope, key=idempotency_key(key), body_hash=digest)


def flag(request: Request, name: str) -> bool:
    """Read a query parameter that is on or off.

    Raises:
        BadRequest: It is something else.
    """
    text = request.query_params.get(name, "0").lower()
    if text not in {"0", "1", "true", "false", ""}:
        raise BadRequest(f"{name}={text[:40]!r} is neither 1 nor 0")
    return text in {"1", "true"}


def choices(text: str | None, kind: type[E]) -> Sequence[E]:
    """Read a query parameter that is one or several of a closed set, separated by commas.

    Raises:
        BadRequest: It holds something else.
    """
    try:
        return [kind(item) for item in text.split(",")] if text else []
    except ValueError:
        names = ", ".join(kind)
        raise BadRequest(
            f"{text[:80]!r} is not one of {names}" if text else "", hint=f"use {names}"
        ) from None


_PAGE = {"limit": "entries of the page, 100 by default, 1,000 at most"}
_CURSOR = {"cursor": "the `next` of the page before"}
_IDEMPOTENCY = {"Idempotency-Key": "same key and body: the same run, for 24 hours; same key, other body: 409"}


def _endpoints(rest: Rest) -> list[Endpoint]:
    key = "/api/sessions/{key}"
    filters = {
        "kind": "chat, subagent, cron, hook, api; several with commas",
        "state": "created, active, completed, archived; several with commas",
        "parent": "the key of the session above",
        "agent": "the name of an agent",
        "q": "a part of the key or the title",
    }
    return [
        Endpoint(
            method="GET",
            path="/api/sessions",
            handler=rest.sessions,
            summary="List sessions, newest first",
            query=filters | _PAGE | _CURSOR,
            errors=(400, 404),
        ),
        Endpoint(method="GET", path=key, handler=rest.session, summary="Show a session", errors=(404,)),
        Endpoint(
            method="DELETE",
            path=key,
            handler=rest.delete,
            errors=(404, 409),
            summary="Delete a session and everything below it; answers it as it was",
        ),
        *(
            Endpoint(method="POST", path=f"{key}/{name}", handler=handler, summary=summary, errors=(404, 409))
            for name, handler, summary in (
                ("archive", rest.archive, "Archive a session now"),
                ("restore", rest.restore, "Bring an archived session back"),
                ("pin", rest.pin, "Keep a session: no archiving, no deleting"),
                ("unpin", rest.unpin, "Let a session's life go on, from now"),
                ("cancel", rest.cancel, "Close all that is open in a session"),
            )
        ),
        Endpoint(
            method="POST",
            path=f"{key}/messages",
            handler=rest.send,
            body=MessageIn,
            headers=_IDEMPOTENCY,
            summary="Send a message; an unknown key becomes a chat",
            query={"wait": "1: answer once the run is done, with its reply"},
            answers={200: "the run is done", 202: "the message is kept and its run queued"},
            errors=(400, 404, 409, 413, 429, 503, 507),
        ),
        Endpoint(
            method="GET",
            path=f"{key}/entries",
            handler=rest.entries,
            summary="List entries in order",
            query={"after": "the last seq that is known"} | _PAGE,
            errors=(400, 404),
        ),
        Endpoint(
            method="GET",
            path="/api/runs",
            handler=rest.runs,
            summary="List runs, newest first",
            query={"state": "queued, running, waiting or done", "session": "the key of a session"}
            | _PAGE
            | _CURSOR,
            errors=(400, 404),
        ),
        Endpoint(method="GET", path="/api/runs/{id}", handler=rest.run, summary="Show a run", errors=(404,)),
        Endpoint(
            method="POST",
            path="/api/runs/{id}/cancel",
            handler=rest.cancel_run,
            summary="Cancel a run",
            errors=(404,),
        ),
        Endpoint(
            method="GET",
            path="/api/blobs/{hash}",
            handler=rest.blob,
            summary="Fetch a large text whole",
            errors=(404,),
            media_type="text/plain",
        ),
        Endpoint(
            method="POST",
            path="/api/sweep",
            handler=rest.sweep,
            summary="Carry out what is due, now",
            query={"dry_run": "1: only count", "confirm": "1: trust a clock that was in doubt"},
            errors=(400, 507),
        ),
    ]
