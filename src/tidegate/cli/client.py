"""The client of a running gateway: finds it in the state folder and speaks its HTTP API.

``gateway.json`` says where it listens; the token comes from ``TIDEGATE_TOKEN``, else from the file ``token``. Whatever
goes wrong becomes an error that `main` can print. What an answer holds is up to the commands.
"""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn, cast
from urllib.parse import quote, urlencode, urlsplit

from tidegate.certificate import believing
from tidegate.cli.answer import Entry, Json, Session
from tidegate.config import state_folder
from tidegate.errors import TidegateError, Unavailable
from tidegate.folder import card, known_token
from tidegate.ids import session_key

TIMEOUT_S = 60.0  # longer than the gateway takes to show a sign of life in a stream
PAGE = 200

Query = Mapping[str, object]


class Answered(TidegateError):
    """The gateway answered with an error."""

    def __init__(self, code: str, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        # one class stands for all that a gateway, perhaps a newer one, can answer
        vars(self).update(code=code, status=status)


class NotRunning(Unavailable):
    """No gateway is running on this folder; what was asked has not been done."""


class Lost(Unavailable):
    """The connection broke; what was asked may have been done."""


class Request(NamedTuple):
    """What is asked of the gateway."""

    method: str
    path: str
    query: Query | None = None
    body: object = None
    headers: Mapping[str, str] | None = None

    @property
    def target(self) -> str:
        """The path with its query."""
        known = {name: value for name, value in (self.query or {}).items() if value is not None}
        return f"{self.path}?{urlencode(known)}" if known else self.path


class Client:
    """Talks to the gateway of one state folder."""

    def __init__(self, state: Path | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self.folder = state_folder(state)
        self._timeout_s = timeout_s
        self.find()

    def find(self) -> None:
        """Look where the gateway is; after a restart it may be elsewhere.

        Raises:
            NotRunning: No gateway is running.
        """
        found = card(self.folder)
        if found is None:
            raise _not_running(self.folder)
        self.url = found.url
        self._certificate = found.certificate
        self._token = token(self.folder)

    def request(self, request: Request) -> object:
        """Return the JSON that the gateway answers.

        Raises:
            NotRunning, Lost: No gateway is running, or it does not answer.
            Answered: It answered with an error.
        """
        with self.open(request) as response:
            answer = self.taken(response.read)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise Unavailable(f"what answers at {self.url} is no gateway") from error

    def get(self, path: str, **query: object) -> Json:
        """Return the object at *path*."""
        return cast("Json", self.request(Request("GET", path, query)))

    def post(self, path: str, body: object = None, **query: object) -> Json:
        """Do what *path* says, and return the object after it."""
        return cast("Json", self.request(Request("POST", path, query, body)))

    def delete(self, path: str) -> Json:
        """Delete the object at *path*, and return it as it was."""
        return cast("Json", self.request(Request("DELETE", path)))

    def session(self, key: str) -> Session:
        """Return the head of a session."""
        return cast("Session", self.get(session_path(key)))

    def entries(self, key: str, after: int = 0) -> Iterator[Entry]:
        """Yield the entries of a session in order."""
        return cast(
            "Iterator[Entry]", self.pages(session_path(key, "entries"), "entries", {"after": after}, None)
        )

    def text(self, entry: Entry) -> str:
        """Return the text of an entry whole, wherever it lies."""
        if entry["blob"] is None:
            return entry["text"]
        with self.open(Request("GET", f"/api/blobs/{entry['blob']['hash']}")) as response:
            return self.taken(response.read).decode()

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
    def open(self, request: Request) -> Iterator[http.client.HTTPResponse]:
        """Send a request; its answer, which is no error, is read in the block."""
        parts = urlsplit(self.url)
        host, patience_s = parts.hostname or "", self._patience_s(request)
        if parts.scheme == "https":
            trust = believing(self._certificate) if self._certificate else None
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=patience_s, context=trust
            )
        else:
            connection = http.client.HTTPConnection(host, parts.port, timeout=patience_s)
        try:
            response = self._send(connection, request)
            if response.status >= http.client.BAD_REQUEST:
                _refuse(response.status, self.taken(response.read))
            yield response
        finally:
            connection.close()

    def taken(self, read: Callable[[], bytes]) -> bytes:
        """Read from an answer.

        Raises:
            Lost: The connection broke.
        """
        try:
            return read()
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from error

    def _send(self, connection: http.client.HTTPConnection, request: Request) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if request.body is None else json.dumps(request.body).encode()
        try:
            connection.request(request.method, request.target, data, headers | dict(request.headers or {}))
            return connection.getresponse()
        except ConnectionRefusedError:
            raise _not_running(self.folder) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from error

    def _patience_s(self, request: Request) -> float | None:
        """Return how long to wait for an answer; a run or a sweep takes as long as it takes."""
        is_long = request.path == "/api/sweep" or "wait" in (request.query or {})
        return None if is_long else self._timeout_s

    def _silent(self, error: Exception) -> Lost:
        said = str(error) or type(error).__name__
        return Lost(
            f"the gateway at {self.url} does not answer: {said}", hint="`tidegate status` looks again"
        )


def token(folder: Path) -> str:
    """Return the token of a state folder: ``TIDEGATE_TOKEN``, else the one that the gateway has stored.

    Raises:
        Unavailable: There is neither.
        ConfigError, FolderUnsafe: It cannot be used, or is not this user's alone.
    """
    known = known_token(folder)
    if not known:
        raise Unavailable(f"there is no token in {folder}", hint="start the gateway: tidegate up")
    return known


def session_path(key: str, part: str = "") -> str:
    """Return where a session is in the API."""
    path = f"/api/sessions/{quote(session_key(key), safe='')}"
    return f"{path}/{part}" if part else path


def _not_running(folder: Path) -> NotRunning:
    return NotRunning(f"no gateway is running on {folder}", hint="start it: tidegate up")


def _refuse(status: int, body: bytes) -> NoReturn:
    try:
        error = json.loads(body)["error"]
        raise Answered(error["code"], status, error["message"], error.get("hint", ""))
    except (ValueError, LookupError, TypeError):
        raise Answered("internal", status, f"the gateway answered {status}", "its log says more") from None
