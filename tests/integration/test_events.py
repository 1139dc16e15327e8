import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import takewhile

import pytest

from gateway_process import TOKEN, WAIT_S, GatewayProcess, until
from sse import Event, events

SILENCE_S = 10.0  # shorter than the time between two signs of life
LARGE = "x" * 60_000  # as large as a text may be without becoming a blob


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state") as running:
        yield running


@contextmanager
def stream(
    gateway: GatewayProcess, key: str, *, last: str | None = None, query: str = ""
) -> Iterator[Iterator[Event]]:
    """Open the events of a session; *last* is the id that a client comes back with."""
    headers = {} if last is None else {"Last-Event-ID": last}
    path = f"/api/sessions/{key}/events{query}"
    with gateway.http.stream("GET", path, headers=headers, timeout=SILENCE_S) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events(response.iter_lines())


def entries_until(stream: Iterator[Event], seq: int) -> list[Event]:
    """Read entries up to one with this seq."""
    found: list[Event] = []
    for event in stream:
        if event.name == "entry":
            found.append(event)
            if event.data["seq"] >= seq:
                break
    return found


def seqs(found: list[Event]) -> list[int]:
    """Return the seq of each entry."""
    return [event.data["seq"] for event in found]


def test_entries_then_deltas_then_the_entry(gateway: GatewayProcess) -> None:
    """What is stored comes first; then pieces of the answer without an id, then the entry they add up to."""
    gateway.say("live", "/echo first")
    with stream(gateway, "live") as live:
        assert [event.data["text"] for event in entries_until(live, 2)] == ["/echo first", "first"]
        gateway.say("live", "/echo the tide is high")
        asked = next(live)
        assert (asked.name, asked.data["role"], asked.data["text"]) == (
            "entry",
            "user",
            "/echo the tide is high",
        )
        pieces = list(takewhile(lambda event: event.name == "delta", live_and_kept := Kept(live)))
        answer, run = live_and_kept.last, next(live)
    assert len(pieces) > 1
    assert {event.id for event in pieces} == {""}
    # its end is held back while it could be the beginning of a secret, and comes with the entry
    assert "the tide is high".startswith("".join(event.data["text"] for event in pieces))
    assert (answer.name, answer.data["text"], answer.data["seq"]) == ("entry", "the tide is high", 4)
    assert answer.id == f"{gateway.session('live')['id']}:4"
    assert (run.name, run.data["state"], run.data["outcome"]) == ("run", "done", "ok")
    assert {event.data["run"] for event in pieces} == {run.data["id"]} == {answer.data["run"]}


class Kept:
    """An iterator that remembers what it gave last."""

    def __init__(self, items: Iterator[Event]) -> None:
        self.last = Event("", "", None)
        self._items = items

    def __iter__(self) -> "Kept":
        return self

    def __next__(self) -> Event:
        self.last = next(self._items)
        return self.last


def test_coming_back_misses_nothing(gateway: GatewayProcess) -> None:
    """A client that comes back with the last id gets what follows, once, across an archive and new messages."""
    for number in range(3):
        gateway.say("back", f"/echo {number}")
    with stream(gateway, "back") as live:
        known = entries_until(live, 3)
    gateway.say("back", "/echo 3")
    gateway.post("/api/sessions/back/archive")
    gateway.say("back", "/echo 4")
    with stream(gateway, "back", last=known[-1].id) as live:
        follow = entries_until(live, 10)
        gateway.say("back", "/echo 5")
        follow += entries_until(live, 12)
    assert seqs(known + follow) == list(range(1, 13))
    assert [event.data["text"] for event in known + follow] == gateway.texts("back")


def test_after_begins_behind(gateway: GatewayProcess) -> None:
    """`after=` begins behind a seq; an id that came with the header counts more."""
    for number in range(3):
        gateway.say("after", f"/echo {number}")
    session = gateway.session("after")["id"]
    with stream(gateway, "after", query="?after=4") as live:
        assert seqs(entries_until(live, 6)) == [5, 6]
    with stream(gateway, "after", query="?after=1", last=f"{session}:5") as live:
        assert seqs(entries_until(live, 6)) == [6]


@pytest.mark.parametrize(
    "last", ["", "nonsense", ":", "x:5", "9" * 30, "{id}:x", "{id}:-1", "{id}:" + "9" * 30]
)
def test_an_odd_id_begins_at_the_start(gateway: GatewayProcess, last: str) -> None:
    """An id that is none of this session does not count."""
    gateway.say("odd", "/echo hi")
    with stream(gateway, "odd", last=last.format(id=gateway.session("odd")["id"])) as live:
        assert seqs(entries_until(live, 1)) == [1]


def test_a_new_session_is_no_continuation(gateway: GatewayProcess) -> None:
    """The id of a session that was deleted means nothing to a new one with the same key."""
    gateway.say("reborn", "/echo old")
    with stream(gateway, "reborn") as live:
        last = entries_until(live, 2)[-1].id
    gateway.http.delete("/api/sessions/reborn")
    gateway.say("reborn", "/echo new")
    with stream(gateway, "reborn", last=last) as live:
        assert [event.data["text"] for event in entries_until(live, 2)] == ["/echo new", "new"]


def test_deletion_ends_the_stream(gateway: GatewayProcess) -> None:
    """When the session is deleted the stream says `end` and ends."""
    gateway.say("ending", "/echo hi")
    with stream(gateway, "ending") as live:
        entries_until(live, 2)
        assert gateway.http.delete("/api/sessions/ending").status_code == 200
        assert [(event.name, event.data) for event in live if event.name != "run"] == [
            ("end", {"reason": "deleted"})
        ]


def test_head_does_not_hang(gateway: GatewayProcess) -> None:
    """HEAD answers the head of a stream and ends, so that the connection is free for the next request."""
    gateway.say("head", "/echo hi")
    for _ in range(2):
        response = gateway.http.head("/api/sessions/head/events")
        assert (response.status_code, response.headers["content-type"]) == (
            200,
            "text/event-stream; charset=utf-8",
        )


def test_a_slow_reader_lags_and_misses_nothing(gateway: GatewayProcess) -> None:
    """A reader that does not keep up is not waited for: it loses deltas, but no entry, and none comes twice."""
    gateway.say("slow", "/echo 0")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(WAIT_S)
        slow.connect(("127.0.0.1", gateway.port))
        head = (
            f"GET /api/sessions/slow/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        )
        slow.sendall(f"{head}Connection: close\r\n\r\n".encode())
        assert slow.recv(1, socket.MSG_PEEK)
        for _ in range(90):
            gateway.say("slow", f"/echo {LARGE}")
        last = gateway.session("slow")["entries"]  # there are summaries among them
        with slow.makefile("r", encoding="ascii", newline="\r\n") as lines:
            found = list(takewhile(lambda event: event.data.get("seq") != last, events(_unchunked(lines))))
    entries = [event for event in found if event.name == "entry"]
    assert seqs(entries) == list(range(1, last))
    assert sum(event.name == "delta" for event in found) < 90 * 5


def _unchunked(lines: Iterator[str]) -> Iterator[str]:
    """Read the lines of a chunked body of which no chunk ends within a line."""
    for line in lines:
        if line == "\r\n":
            break
    for line in lines:
        size = int(line, 16)
        text = ""
        while len(text) < size:
            text += next(lines)
        next(lines) if len(text) == size else None
        yield from text.rstrip("\r\n").split("\n")
        yield ""


def test_stopping_ends_every_stream(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SIGTERM tells every stream `end` and the gateway is gone at once, however many are open."""
    with (
        GatewayProcess(tmp_path_factory.mktemp("stopping") / "state") as gateway,
        ThreadPoolExecutor() as threads,
    ):
        gateway.say("a", "/echo hi")

        def listen() -> list[tuple[str, object]]:
            with stream(gateway, "a") as live:
                return [(event.name, event.data) for event in live if event.name != "entry"]

        listening = [threads.submit(listen) for _ in range(3)]
        until(lambda: gateway.get("/api/status")["containers"]["subscribers"]["entries"] == 3)
        gateway.signal()
        for one in listening:
            assert one.result(WAIT_S) == [("end", {"reason": "stopping"})]
        assert gateway.process.wait(WAIT_S) == 0
        gateway.kill()
