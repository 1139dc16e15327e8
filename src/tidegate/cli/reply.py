"""The answer to one message, followed to its end: through lost connections, restarts, approvals and Ctrl-C."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast
from urllib.parse import quote

from tidegate.cli.answer import Approval, Entry, Event, Run
from tidegate.cli.client import Answered, Client, Lost, NotRunning
from tidegate.cli.screen import Screen
from tidegate.cli.stream import events
from tidegate.errors import NotFound, SessionNotFound, Unavailable

COMEBACK_S = 60.0  # how long a gateway may be away before nobody waits for it any more
LOOK_S = 0.25


class Waits(Exception):
    """The run waits for a decision that is not made now."""

    def __init__(self, approvals: list[Approval]) -> None:
        self.approvals = approvals
        super().__init__()


#: answers whether calls were decided on; False leaves them for later
Decide = Callable[[list[Approval]], bool]


class Reply:
    """What is shown of one run."""

    def __init__(self, client: Client, screen: Screen, key: str, after: int) -> None:
        #: the last entry that was heard
        self.seq = after
        self.is_cancelled = False
        self.is_well = False
        self._run = ""
        self._client = client
        self._screen = screen
        self._key = key
        self._last_id = ""
        self._is_explained = False
        #: approvals that were decided here; the gateway may show them pending a little longer
        self._decided: set[str] = set()

    def follow(self, start: Callable[[], str], decide: Decide, *, hears_first: bool) -> None:
        """Start a run and show what comes until it is done.

        With *hears_first* the stream is opened before, so that no piece is missed. The first Ctrl-C cancels the run,
        a second one goes through.

        Raises:
            Waits: The run waits, and *decide* has left it for later.
        """
        with ExitStack() as stack:
            heard = stack.enter_context(events(self._client, self._key, self.seq)) if hears_first else None
            self._run = start()
            run = self._first(heard, decide) if heard is not None else None
        while run is None:
            run = self._again(decide)
        self._end(run)

    def _first(self, heard: Iterator[Event], decide: Decide) -> Run | None:
        return self._guarded(lambda: self._hear(heard, decide))

    def _again(self, decide: Decide) -> Run | None:
        def hear() -> Run | None:
            if self.is_cancelled:
                self._client.post(f"{self._place}/cancel")
            with events(self._client, self._key, self.seq, self._last_id) as heard:
                return self._hear(heard, decide)

        return self._guarded(hear)

    def _guarded(self, hear: Callable[[], Run | None]) -> Run | None:
        """Hear until the run is done; None where the stream has to be opened again."""
        try:
            return hear()
        except KeyboardInterrupt:
            if self.is_cancelled:
                raise
            self.is_cancelled = True
        except (Lost, NotRunning):
            self._wait_for_gateway()
        return None

    def _hear(self, heard: Iterator[Event], decide: Decide) -> Run | None:
        run = self._look(decide)
        while run is None:
            event = next(heard)
            self._last_id = event.id or self._last_id
            self._show(event)
            # the end of the run may be among the events that a slow reader is not sent
            run = self._look(decide) if event.name in {"", "run"} else None
        return run

    def _show(self, event: Event) -> None:
        data = event.data
        match event.name:
            case "entry":
                self._tell(cast("Entry", data))
            case "delta" if data["run"] == self._run:
                self._screen.piece(str(data["text"]), cast("int", data["at"]))
            case "end" if data["reason"] == "deleted":
                raise SessionNotFound(f"session {self._key!r} has been deleted")
            case "end" if data["reason"] == "renamed":
                self._move()
                raise Lost("the key has gone to another session")
            case "end":
                raise Lost("the gateway stops")

    def _move(self) -> None:
        """Go where the run is, now that the key has gone to another session: to that one, or after the former."""
        key = str(self._client.get(self._place)["session"])
        if key == self._key:
            self.seq, self._last_id = 0, ""
        self._key = key

    def _look(self, decide: Decide) -> Run | None:
        """Return the run if it is done; ask for decisions where it waits for them."""
        run = cast("Run", self._client.get(self._place))
        if run["state"] in {"waiting", "queued"}:  # or stands behind one that waits
            waiting = [one for one in pending(self._client, self._key) if one["id"] not in self._decided]
            if waiting:
                self._catch_up()
                self._screen.end_line()
                self._decided.update(one["id"] for one in waiting)
                if not decide(waiting):
                    raise Waits(waiting)
        return run if run["state"] == "done" else None

    def _wait_for_gateway(self) -> None:
        """Wait until the gateway is there again; what it has taken is not lost meanwhile."""
        until = time.monotonic() + COMEBACK_S
        is_told = False
        while not self._is_back():
            if not is_told:
                self._screen.aside(
                    "… the gateway is away; the answer goes on when it is back (Ctrl-C leaves)"
                )
                is_told = True
            if time.monotonic() > until:
                hint = f"the message is kept; after its next start: tidegate sessions show {self._key}"
                raise Unavailable("the gateway does not come back", hint=hint)
            time.sleep(LOOK_S)

    def _is_back(self) -> bool:
        try:
            self._client.find()
            self._client.get(self._place)
        except Unavailable:
            return False
        return True

    def _catch_up(self) -> None:
        for entry in self._client.entries(self._key, self.seq):
            self._tell(entry)

    def _end(self, run: Run) -> None:
        self._catch_up()
        self._screen.end_line()
        if run["outcome"] != "ok" and not self._is_explained:
            self._screen.warn(run["error"] or str(run["outcome"]).replace("_", " "))
        self.is_well = run["outcome"] == "ok"

    def _tell(self, entry: Entry) -> None:
        if entry["seq"] <= self.seq:
            return
        self.seq = entry["seq"]
        if entry["run"] != self._run:
            return
        match entry["type"], entry["role"]:
            case "tool_call", _:
                self._screen.call(entry)
            case "tool_result", _:
                self._screen.result(entry)
            case "notice", _:
                self._is_explained = True
                self._screen.warn(entry["text"])
            case _, "assistant" if entry["text"]:
                self._screen.text(self._client.text(entry))

    @property
    def _place(self) -> str:
        return f"/api/runs/{quote(self._run, safe='')}"


def pending(client: Client, key: str) -> list[Approval]:
    """Return the calls of a session that wait for a decision."""
    asked = {"state": "pending", "session": key}
    try:
        found = client.pages("/api/approvals", "approvals", asked, None)
        return [one for one in cast("Iterator[Approval]", found) if one["session"] == key]
    except Answered as error:
        if error.status == NotFound.status:  # no such session yet, or an older gateway without approvals
            return []
        raise
