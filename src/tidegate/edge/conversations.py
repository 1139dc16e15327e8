"""What a person does with a conversation besides talking, over HTTP."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidegate.domain.session import Session
from tidegate.edge import query, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.ids import session_key
from tidegate.runtime.conversation import Conversations
from tidegate.runtime.text import check_text
from tidegate.store.port import Store

PATH = "/api/sessions/{key}"


class ForkIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to branch off, and how to go on."""

    #: the first entry that is not shared; one more than there are shares everything
    before: int
    #: the first message of the new chat
    text: str | None = None
    #: of the new chat; by default one is made
    key: str | None = None


class ConversationPage:
    """Handlers; each makes one call and shows the result."""

    def __init__(self, store: Store, conversations: Conversations) -> None:
        self._store = store
        self._conversations = conversations

    async def compact(self, request: Request) -> Response:
        """Let a summary take the place of what is older."""
        compacted = await self._conversations.compact(self._head_of(request))
        what = compacted.has_summary if compacted.is_done else None
        shown = self._shown(compacted.session) | {"compacted": what}
        return Json(shown, status_code=200 if compacted.is_done else 202)

    async def renew(self, request: Request) -> Response:
        """Begin afresh under the same key."""
        renewed = await self._conversations.renew(self._head_of(request))
        former = renewed.former.key if renewed.former else None
        return Json(self._shown(renewed.session) | {"former": former})

    async def fork(self, request: Request) -> Response:
        """Make a chat that shares what was said before an entry."""
        asked = await wire.decode(await wire.body_of(request), ForkIn)
        if asked.text is not None:
            check_text(asked.text)
        head = self._head_of(request)
        key = None if asked.key is None else session_key(asked.key)
        forked = await self._conversations.fork(head, asked.before, key, asked.text)
        run = forked.run.id if forked.run else None
        return Json(self._shown(forked.session) | {"forked_from": head.key, "run": run})

    def _head_of(self, request: Request) -> Session:
        return query.head_of(self._store, request.path_params["key"])

    def _shown(self, session: Session) -> dict[str, object]:
        return wire.session_out(session, self._store.key_of(session.parent))

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        return [
            Endpoint(
                method="POST",
                path=f"{PATH}/compact",
                handler=self.compact,
                summary="Let a summary take the place of what is older; it stays readable",
                answers={200: "it is compacted", 202: "it will be, once a person has decided on a call"},
                errors=(404, 409, 429, 500, 503, 507),
            ),
            Endpoint(
                method="POST",
                path=f"{PATH}/new",
                handler=self.renew,
                summary="Begin afresh under the same key; what was said before gets a key of its own",
                errors=(404, 409, 429, 503, 507),
            ),
            Endpoint(
                method="POST",
                path=f"{PATH}/fork",
                handler=self.fork,
                body=ForkIn,
                summary="Make a chat that shares what was said before an entry",
                errors=(400, 404, 409, 413, 429, 503, 507),
            ),
        ]
