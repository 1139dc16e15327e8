"""The client of a running gateway: finds it in the state folder and speaks its HTTP API.

``gateway.json`` says where it listens; the token comes from ``TIDEGATE_TOKEN``, else from the file ``token``. Whatever
goes wrong becomes an error that `main` can print. What an answer holds is up to the commands.
"""

import http.client
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn, TypedDict, cast
from urllib.parse import quote, urlencode, urlsplit

from tidegate.config import state_folder
from tidegate.errors import TidegateError, Unavailable
from tidegate.folder import TOKEN_VARIABLE, card, stored_token
from tidegate.ids import session_key

TIMEOUT_S = 60.0  # longer than the gateway takes to show a sign of life in a stream
PAGE = 200

Json = dict[str, object]
Query = Mapping[str, object]


class Session(TypedDict):
    """The head of a session, as far as people see it."""

    key: str
    kind: str
    state: str
    outcome: str | None
    parent: str | None
    agent: str
    title: str
    created_at: str
    due_at: str | None
    due_to: str | None
    entries: int
    bytes: int
    pinned: bool


class Blob(TypedDict):
    """Where the whole text of an entry is."""

    hash: str
    bytes: int


class Entry(TypedDict):
    """An entry of a transcript."""

    seq: int
    type: str
    role: str
    text: str
    tool: str | None
    run: str | None
    created_at: str
    bytes: int
    blob: Blob | None


class Answered(TidegateError):
    """The gateway answered with an error."""

    def __init__(self, code: str, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        # one class stands for all that a gateway, perhaps a newer one, can answer
        vars(self).update(code=code, status=status)


class Event(NamedTuple):
    """A server-sent event; a sign of life has no name."""

    name: str
    data: Json


class Client:
    """Talks to the gateway of one state folder."""

    def __init__(self, state: Path | None = None) -> None:
        self.folder = state_folder(state)
        found = card(self.folder)
        if found is None:
            raise _not_running(self.folder)
        self.url = found.url
        self._token = token(self.folder)

    def request(self, method: str, path: str, query: Query | None = None, body: object = None) -> object:
        """Return the JSON that the gateway answers.

        Raises:
            Unavailable: No gateway is running, or it does not answer.
            Answered: It answered with an error.
        """
        with self._open(method, path, query, body) as response:
            answer = self._taken(response.read)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise Unavailable(f"what answers at {self.url} is no gateway") from error

    def get(self, path: str, **query: object) -> Json:
        """Return the object at *path*."""
        return cast("Json", self.request("GET", path, query))

    def post(self, path: str, body: object = None, **query: object) -> Json:
        """Do what *path* says, and return the object after it."""
        return cast("Json", self.request("POST", path, query, body))

    def session(self, key: str) -> Session:
        """Return the head of a session."""
        return cast("Session", self.request("GET", session_path(key)))

    def entries(self, key: str, after: int = 0) -> Iterator[Entry]:
        """Yield the entries of a session in order."""
        return cast(
            "Iterator[Entry]", self.pages(session_path(key, "entries"), "entries", {"after": after}, None)
        )

    def text(self, entry: Entry) -> str:
        """Return the text of an entry whole, wherever it lies."""
        if entry["blob"] is None:
            return entry["text"]
        with self._open("GET", f"/api/blobs/{entry['blob']['hash']}") as response:
            return self._taken(response.read).decode()

    def pages(self, path: str, name: str, query: Query, limit: int | None) -> Iterator[Json]:
        """Yield what a list holds, page after page; None is all of it."""
        left = limit
        cursor: object = query.get("after") if name == "entries" else None
        place = "after" if name == "entries" else "cursor"
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            page = self.get(path, **{**query, "limit": size, place: cursor})
            found = cast("list[Json]", page[name])
            yield from found
            cursor = page["next"]
            if cursor is None:
                return
            left = None if left is None else left - len(found)

    @contextmanager
    def events(self, key: str, after: int) -> Iterator[Iterator[Event]]:
        """Open the stream of a session's events; nothing that happens from now on is missed."""
        with self._open("GET", session_path(key, "events"), {"after": after}) as response:
            self._taken(response.readline)  # it hears us once its first line is here
            yield self._events(response)

    def _events(self, response: http.client.HTTPResponse) -> Iterator[Event]:
        name, data = "", b""
        while line := self._taken(response.readline):
            field, _, value = line.rstrip(b"\r\n").partition(b":")
            if field == b"event":
                name = value.strip().decode()
            elif field == b"data":
                data += value
            elif line.startswith(b":"):
                yield Event("", {})
            elif not line.strip() and data:
                yield Event(name, json.loads(data))
                name, data = "", b""
        raise Unavailable("the gateway has closed the stream", hint="`tidegate status` says whether it runs")

    @contextmanager
    def _open(
        self, method: str, path: str, query: Query | None = None, body: object = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request; the response is whole where the status is 200 or 202."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_timeout_s(path, query))
        try:
            response = self._send(connection, method, f"{path}{_written(query)}", body)
            if response.status >= http.client.BAD_REQUEST:
                _refuse(response.status, self._taken(response.read))
            yield response
        finally:
            connection.close()

    def _send(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: object
    ) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, target, data, headers)
            return connection.getresponse()
        except ConnectionRefusedError:
            raise _not_running(self.folder) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from error

    def _taken(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> Unavailable:
        return Unavailable(f"the gateway at {self.url} does not answer: {str(error) or type(error).__name__}")


def token(folder: Path) -> str:
    """Return the token of a state folder: ``TIDEGATE_TOKEN``, else the one that the gateway has stored.

    Raises:
        Unavailable: There is neither.
    """
    known = os.environ.get(TOKEN_VARIABLE) or stored_token(folder)
    if not known:
        raise Unavailable(f"there is no token in {folder}", hint="start the gateway: tidegate up")
    return known


def session_path(key: str, part: str = "") -> str:
    """Return where a session is in the API."""
    path = f"/api/sessions/{quote(session_key(key), safe='')}"
    return f"{path}/{part}" if part else path


def _not_running(folder: Path) -> Unavailable:
    return Unavailable(f"no gateway is running on {folder}", hint="start it: tidegate up")


def _written(query: Query | None) -> str:
    known = {name: value for name, value in (query or {}).items() if value is not None}
    return f"?{urlencode(known)}" if known else ""


def _timeout_s(path: str, query: Query | None) -> float | None:
    """Return how long to wait for an answer; a run or a sweep takes as long as it takes."""
    return None if path == "/api/sweep" or "wait" in (query or {}) else TIMEOUT_S


def _refuse(status: int, body: bytes) -> NoReturn:
    try:
        error = json.loads(body)["error"]
        raise Answered(error["code"], status, error["message"], error.get("hint", ""))
    except (ValueError, LookupError, TypeError):
        raise Answered("internal", status, f"the gateway answered {status}", "its log says more") from None
