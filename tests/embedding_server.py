"""A model of embeddings on loopback, in OpenAI's shape: what a text means is which of a few themes it names."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

WAIT_S = 20.0
THEMES = (("cat", "tom", "feline", "pet"), ("tea", "coffee", "drink"), ("car", "level", "vehicle"))


@dataclass
class EmbeddingServer:
    """The server; a context manager, listening on a free port."""

    #: what it answers instead, from the next request on
    status: int = 200
    body: str | None = None
    #: texts with this word are refused with everything beside them
    refused: str | None = None
    requests: list[tuple[str, dict[str, str], list[str]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(WAIT_S)

    @property
    def base_url(self) -> str:
        """What a client is configured with."""
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def answer(self, texts: list[str]) -> tuple[int, str]:
        """Return status and body of an answer."""
        if self.refused and any(self.refused in text for text in texts):
            return 400, "{}"
        vectors = [{"index": at, "embedding": vector(text)} for at, text in enumerate(texts)]
        return self.status, json.dumps({"data": vectors[::-1]}) if self.body is None else self.body


def vector(text: str) -> list[float]:
    """Return what a text means."""
    words = text.lower().split()
    return [0.1 + sum(words.count(word) for word in theme) for theme in THEMES]


def _handler(server: EmbeddingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        model = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    model: EmbeddingServer

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.model.requests.append((self.path, headers, asked["input"]))
        status, body = self.model.answer(asked["input"])
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""
