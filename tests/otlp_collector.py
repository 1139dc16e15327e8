"""A collector of spans: a real HTTP server on loopback that takes OTLP as protobuf, and misbehaves as it is told."""

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One span that has arrived."""

    name: str
    kind: int
    trace: bytes
    id: bytes
    parent: bytes
    attributes: dict[str, Any]
    is_error: bool
    events: int


@dataclass
class OtlpCollector:
    """The server; a context manager. It takes spans, answers an error, or nothing before it ends."""

    how: Literal["take", "refuse", "hang"] = "take"
    spans: list[Seen] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    raw: bytes = b""

    def __enter__(self) -> Self:
        self.over = threading.Event()
        self.asked = threading.Semaphore(0)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False  # so that closing waits for them
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(WAIT_S)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def named(self, start: str) -> list[Seen]:
        """Return the spans whose names begin so, in the order in which they ended."""
        return [span for span in self.spans if span.name.startswith(start)]

    def take(self, path: str, body: bytes) -> int:
        """Take a request and return the status of its answer."""
        self.paths.append(path)
        self.asked.release()
        if self.how == "hang":
            self.over.wait(WAIT_S)
        if self.how != "take":
            return 500
        self.raw += body
        request = ExportTraceServiceRequest.FromString(body)
        for group in request.resource_spans:
            self.resource = _attributes(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [_seen(span) for span in scope.spans]
        return 200


def _seen(span: Any) -> Seen:
    return Seen(
        name=span.name,
        kind=span.kind,
        trace=span.trace_id,
        id=span.span_id,
        parent=span.parent_span_id,
        attributes=_attributes(span.attributes),
        is_error=span.status.code == 2,
        events=len(span.events),
    )


def _attributes(found: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}


def _handler(collector: OtlpCollector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            status = collector.take(self.path, body)
            self.close_connection = True
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
