"""Sessions over HTTP: messages in, heads and entries out, and the steps of their life."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from tidegate.agent.loop import Agent
from tidegate.domain.run import RunState
from tidegate.domain.session import Kind, Outcome, Session, State
from tidegate.edge import query, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json, MessageIn
from tidegate.ids import session_key
from tidegate.runtime import mover
from tidegate.runtime.intake import Intake
from tidegate.runtime.runner import Runner
from tidegate.store.port import Page, Store

PATH = "/api/sessions/{key}"


class Sessions:
    """Handlers; each decodes, makes one call and shows the result."""

    def __init__(self, store: Store, intake: Intake, runner: Runner, agents: Mapping[str, Agent]) -> None:
        self._store = store
        self._runner = runner
        self._intake = intake
        self._agents = agents

    async def send(self, request: Request) -> Response:
        """Take a message; with ``wait=1`` answer once its run is done."""
        body = await wire.body_of(request)
        message = await wire.decode(body, MessageIn)
        key = session_key(request.path_params["key"])
        admitted = await self._intake.message(
            key,
            message.text,
            query.agent_name(self._agents, message.agent),
            is_named=message.agent is not None,
            receipt=query.receipt_of(request, f"messages:{key}", message),
            interrupts=None if message.busy is None else message.busy == "interrupt",
        )
        answer = {"run": admitted.run.id, "session": key}
        if not query.flag(request, "wait"):
            return Json(answer, status_code=202)
        run, reply = await self._intake.answer(admitted.run)
        if run.state is RunState.WAITING:
            return Json(answer | {"state": run.state}, status_code=202)
        failure = {} if run.outcome is Outcome.OK else {"outcome": run.outcome, "error": run.error}
        return Json(answer | {"reply": reply} | failure)

    async def page(self, request: Request) -> Response:
        """List sessions, newest first."""
        asked = request.query_params
        limit = query.limit_of(asked)
        parent = query.head_of(self._store, asked["parent"]).id if asked.get("parent") else None
        page = Page(
            kinds=query.choices(asked.get("kind"), Kind),
            states=query.choices(asked.get("state"), State),
            parent=parent,
            agent=asked.get("agent") or None,
            text=asked.get("q") or None,
            before=query.cursor_of(asked),
            limit=limit,
        )
        found = await self._store.sessions(page)
        following = found[-1].id if len(found) == limit else None
        return Json({"sessions": [self._shown(session) for session in found], "next": following})

    async def show(self, request: Request) -> Response:
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
        return Json(self._shown(await self._runner.cancel_session(self._head_of(request).id)))

    async def entries(self, request: Request) -> Response:
        """List the entries of a session in order."""
        limit = query.limit_of(request.query_params)
        after = query.integer(request.query_params, "after", 0)
        head = self._head_of(request)
        found = await self._store.entries(head.id, after, limit)
        following = found[-1].seq if found and found[-1].seq < head.entries else None
        return Json({"entries": [wire.entry_out(entry) for entry in found], "next": following})

    def _head_of(self, request: Request) -> Session:
        return query.head_of(self._store, request.path_params["key"])

    def _shown(self, session: Session) -> dict[str, object]:
        return wire.session_out(session, self._store.key_of(session.parent))

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        return [*self._reads(), *self._writes()]

    def _reads(self) -> list[Endpoint]:
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
                handler=self.page,
                summary="List sessions, newest first",
                query=filters | query.PAGE | query.CURSOR,
                errors=(400, 404),
            ),
            Endpoint(method="GET", path=PATH, handler=self.show, summary="Show a session", errors=(404,)),
            Endpoint(
                method="GET",
                path=f"{PATH}/entries",
                handler=self.entries,
                summary="List entries in order",
                query={"after": "the last seq that is known"} | query.PAGE,
                errors=(400, 404),
            ),
        ]

    def _writes(self) -> list[Endpoint]:
        moves = (
            ("archive", self.archive, "Archive a session now"),
            ("restore", self.restore, "Bring an archived session back"),
            ("pin", self.pin, "Keep a session: no archiving, no deleting"),
            ("unpin", self.unpin, "Let a session's life go on, from now"),
            ("cancel", self.cancel, "Close all that is open in a session"),
        )
        return [
            Endpoint(
                method="POST",
                path=f"{PATH}/messages",
                handler=self.send,
                body=MessageIn,
                headers=query.IDEMPOTENCY,
                summary="Send a message; an unknown key becomes a chat",
                query={"wait": "1: answer once the run is done, with its reply"},
                answers={200: "the run is done", 202: "the message is kept and its run queued"},
                errors=(400, 404, 409, 413, 429, 503, 507),
            ),
            Endpoint(
                method="DELETE",
                path=PATH,
                handler=self.delete,
                errors=(404, 409),
                summary="Delete a session and everything below it; answers it as it was",
            ),
            *(
                Endpoint(
                    method="POST", path=f"{PATH}/{name}", handler=move, summary=summary, errors=(404, 409)
                )
                for name, move, summary in moves
            ),
        ]
