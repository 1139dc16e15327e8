"""A gateway as far as `tidegate chat` needs one to be asked for approvals: one session, one run, scripted.

The run waits for a decision on each call of the script, one after the other, and then answers.
"""

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]

KEY = "chat:cli"
PATH = "/api/sessions/chat%3Acli"
AT = "2026-01-02T03:04:05.678Z"
WAIT_S = 20.0


class Asker:
    """The gateway; a context manager that leaves its card in a state folder."""

    def __init__(self, state: Path, calls: Sequence[tuple[str, str]]) -> None:
        self.state = state
        self.decisions: list[str] = []
        self.approvals = [_approval(number, *call) for number, call in enumerate(calls)]

    def __enter__(self) -> Self:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        url = f"http://127.0.0.1:{self._http.server_port}"
        card = {"url": url, "instance": "I", "config": None, "pid": 1}
        (self.state / "gateway.json").write_text(json.dumps(card))
        (self.state / "token").write_text("a-token-for-tests")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(WAIT_S)

    @property
    def pending(self) -> list[Json]:
        """The call that waits now."""
        return [one for one in self.approvals if one["state"] == "pending"][:1]

    @property
    def run(self) -> Json:
        """The run."""
        state = "waiting" if self.pending else "done"
        return {
            "id": "R",
            "session": KEY,
            "state": state,
            "outcome": None if self.pending else "ok",
            "error": "",
        }

    def decide(self, name: str, decision: str) -> Json:
        """Take a decision."""
        self.decisions.append(decision)
        found = next(one for one in self.approvals if one["id"] == name)
        state = {"once": "allowed", "always": "always", "deny": "denied"}[decision]
        found.update(state=state, decided_at=AT)
        return found

    def answer(self, path: str) -> Json | list[str]:
        """Answer a GET: JSON, or the events of a stream."""
        name, _, query = path.partition("?")
        asked = self.pending if "pending" in query else self.approvals
        answers: dict[str, Json | list[str]] = {
            "/api/status": {"model": "scripted"},
            f"{PATH}": {"agent": "main", "entries": 0},
            f"{PATH}/entries": {"entries": [] if self.pending else [_said()], "next": None},
            f"{PATH}/events": [f"event: run\ndata: {json.dumps(self.run)}\n\n"],
            "/api/runs/R": self.run,
            "/api/approvals": {"approvals": asked, "next": None},
        }
        return answers[name]

    def take(self, path: str, body: Json) -> Json:
        """Answer a POST."""
        if path.startswith("/api/approvals/"):
            return self.decide(path.rpartition("/")[2], body["decision"])
        return {"run": "R", "session": KEY, **({"state": "waiting"} if "wait=1" in path else {})}


def _approval(number: int, tool: str, arguments: str) -> Json:
    return {
        "id": f"A{number}", "session": KEY, "run": "R", "agent": "main", "tool": tool,
        "arguments": arguments, "state": "pending", "created_at": AT,
        "expires_at": "2999-01-02T03:04:05.678Z", "decided_at": None,
    }  # fmt: skip


def _said() -> Json:
    return {
        "seq": 1, "type": "message", "role": "assistant", "text": "done", "tool": None, "call_id": None,
        "is_error": False, "run": "R", "created_at": AT, "bytes": 4, "blob": None,
    }  # fmt: skip


def _handler(asker: Asker) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        gateway = asker

    return Handler


class _Handler(BaseHTTPRequestHandler):
    gateway: Asker

    def do_GET(self) -> None:
        self._send(self.gateway.answer(self.path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        self._send(self.gateway.take(self.path, json.loads(body or b"{}")))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""

    def _send(self, found: Json | list[str]) -> None:
        self.send_response(200)
        self.end_headers()
        if isinstance(found, list):
            self.wfile.write(b"retry: 2000\n\n" + "".join(found).encode())
            self.wfile.flush()
        else:
            self.wfile.write(json.dumps(found).encode())
