import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from gateway_process import TOKEN, WAIT_S, GatewayProcess, error_of

MIB = 1 << 20
LIMIT = 4 * MIB  # of a body
HEAD = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state") as running:
        yield running


def nested(depth: int, *, of: str = "[]") -> bytes:
    """Return arrays or objects within each other, as an unknown field of a message."""
    opening, closing = ('{"a":', "}") if of == "{}" else ("[", "]")
    inner = of if depth > 1 else "1"
    return f'{{"text": "x", "more": {opening * (depth - 2)}{inner}{closing * (depth - 2)}}}'.encode()


MALFORMED = {
    "no JSON": b"hello",
    "half": b'{"text": "x"',
    "two documents": b'{"text": "x"} {}',
    "single quotes": b"{'text': 'x'}",
    "a comma too many": b'{"text": "x",}',
    "a comment": b'{"text": "x"} // hi',
    "only blanks": b"   ",
    "a byte order mark": b'\xef\xbb\xbf{"text": "x"}',
    "NaN": b'{"text": NaN}',
    "Infinity": b'{"text": -Infinity}',
    "NaN elsewhere": b'{"text": "x", "more": NaN}',
    "a key twice": b'{"text": "x", "text": "y"}',
    "a key twice below": b'{"text": "x", "more": {"a": 1, "a": 2}}',
    "the same key escaped": b'{"text": "x", "\\u0074ext": "y"}',
    "65 arrays": nested(65),
    "65 objects": nested(65, of="{}"),
    "100,000 arrays": b"[" * 100_000,
    "100,000 closed arrays": nested(100_000),
    "100,000 objects": b'{"a":' * 100_000,
    "bytes that are no UTF-8": b'{"text": "\xff"}',
    "overlong UTF-8": b'{"text": "\xc0\xaf"}',
    "a surrogate as UTF-8": b'{"text": "\xed\xa0\x80"}',
    "UTF-16": '{"text": "x"}'.encode("utf-16"),
    "a bare control character": b'{"text": "a\nb"}',
    "an unknown field": b'{"text": "x", "model": "y"}',
    "no text": b"{}",
    "nothing": b"",
    "a list": b'["text"]',
    "a string": b'"text"',
    "null": b"null",
    "a number": b"7",
    "text that is null": b'{"text": null}',
    "text that is a number": b'{"text": 7}',
    "text that is a list": b'{"text": ["x"]}',
    "an agent that is a list": b'{"text": "x", "agent": ["main"]}',
    "a huge integer": b'{"text": ' + b"9" * 100_000 + b"}",
    "a huge exponent": b'{"text": 1e999999999}',
}
UNSTORABLE = {
    "half a surrogate pair": b'{"text": "\\ud800"}',
    "the other half": b'{"text": "a\\udc00b"}',
    "halves in the wrong order": b'{"text": "\\udc00\\ud800"}',
    "half in a name": b'{"text": "x", "\\ud800": 1}',
    "half in the agent": b'{"text": "x", "agent": "\\udfff"}',
    "NUL": b'{"text": "a\\u0000b"}',
}


def post(gateway: GatewayProcess, body: bytes, path: str = "/api/sessions/bad/messages") -> tuple[int, str]:
    """Send a body with an idempotency key and return the error; afterwards the gateway must answer as before."""
    response = gateway.http.post(path, content=body, headers={"Idempotency-Key": "k"})
    assert gateway.http.get("/healthz").json() == {"ok": True}
    return error_of(response)


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_message_is_refused(gateway: GatewayProcess, body: bytes) -> None:
    """A body that is not exactly the JSON of a message is 400 `bad_json`, and creates nothing."""
    assert post(gateway, body) == (400, "bad_json")
    assert gateway.http.get("/api/sessions/bad").status_code == 404


@pytest.mark.parametrize("body", UNSTORABLE.values(), ids=UNSTORABLE)
def test_what_cannot_be_stored_is_refused(gateway: GatewayProcess, body: bytes) -> None:
    """NUL and halves of surrogate pairs are 400 `bad_text`, wherever they stand."""
    assert post(gateway, body) == (400, "bad_text")
    assert gateway.http.get("/api/sessions/bad").status_code == 404


@pytest.mark.parametrize("of", ["[]", "{}"])
def test_64_levels_are_not_too_deep(gateway: GatewayProcess, of: str) -> None:
    """Exactly 64 levels are read; what is wrong with this body is another thing."""
    response = gateway.http.post("/api/sessions/bad/messages", content=nested(64, of=of))
    assert "unknown field" in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [*MALFORMED.values(), *UNSTORABLE.values()], ids=[*MALFORMED, *UNSTORABLE])
def test_the_openai_route_is_as_strict(gateway: GatewayProcess, body: bytes) -> None:
    """The same bodies are 400 in OpenAI's shape."""
    response = gateway.http.post("/v1/chat/completions", content=body, headers={"Idempotency-Key": "k"})
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "part",
    [
        b'"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "n": %s}]}]' % (b"9" * 60),
        b'"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "n": 1e999}]}]',
        b'"messages": [{"role": "user", "content": "/echo x"}], "temperature": 1e999, "seed": %s'
        % (b"9" * 60),
    ],
)
def test_a_number_that_nobody_needs_does_no_harm(gateway: GatewayProcess, part: bytes) -> None:
    """A number beyond 64 bits in a field that is passed over is passed over, or 400."""
    body = b'{"model": "main", %s}' % part
    response = gateway.http.post(
        "/v1/chat/completions", content=body, headers={"Idempotency-Key": str(hash(part))}
    )
    assert response.status_code in {200, 400}


@pytest.mark.parametrize("path", ["/api/sessions/bad/messages", "/v1/chat/completions"])
def test_a_large_body_is_refused(gateway: GatewayProcess, path: str) -> None:
    """More than 4 MiB is 413, whether its length is told before or not; 4 MiB are read."""
    large = json.dumps({"text": "x" * LIMIT}).encode()
    for content in (large, iter([large[:MIB], large[MIB:]]), iter([b" " * MIB] * 8)):
        response = gateway.http.post(path, content=content)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    whole = b" " * (LIMIT - 2) + b"[]"
    for content in (whole, iter([whole])):
        assert gateway.http.post(path, content=content).json()["error"]["code"] == "bad_json"
    assert gateway.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 40, "1, 2"])
def test_a_false_length_is_refused(gateway: GatewayProcess, length: str) -> None:
    """A Content-Length that is no length is 400 or 413, and the connection is not used again."""
    said = exchange(
        gateway, f"POST /api/sessions/bad/messages HTTP/1.1\r\n{HEAD}Content-Length: {length}\r\n\r\n{{}}"
    )
    assert said.split(b" ")[1] in {b"400", b"413"}


def exchange(gateway: GatewayProcess, request: str) -> bytes:
    """Send characters as they are and return what comes back until the gateway hangs up."""
    said = b""
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection, suppress(OSError):
        connection.sendall(request.encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65_536):
            said += piece
    return said


@pytest.mark.parametrize(
    "request_line",
    ["GET", "\0", "GET / HTTP/9.9", "GET \xff HTTP/1.1", "BREW / HTTP/1.1", "CONNECT x:1 HTTP/1.1",
     "GET http:// HTTP/1.1", "OPTIONS * HTTP/1.1", "GET /%ff%fe HTTP/1.1"],
)  # fmt: skip
def test_a_torn_request_is_refused(gateway: GatewayProcess, request_line: str) -> None:
    """What is hardly HTTP gets an error below 500, or a closed door; the gateway goes on."""
    said = exchange(gateway, f"{request_line}\r\n{HEAD}Connection: close\r\n\r\n")
    assert said == b"" or said.split(b" ")[1].startswith(b"4")
    assert gateway.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("filler", [b"X-A: aaaa\r\n" * 10_000, b"a" * 100_000], ids=["many", "one long"])
@pytest.mark.parametrize(
    "start", ["X-B: ", "Transfer-Encoding: chunked\r\n\r\n0\r\nX-C: "], ids=["before a body", "behind it"]
)
def test_an_endless_head_is_cut(gateway: GatewayProcess, start: str, filler: bytes) -> None:
    """A stranger who sends headers without end is hung up on, wherever in a request they stand."""
    sent = 0
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection, suppress(OSError):
        connection.sendall(f"POST / HTTP/1.1\r\nHost: localhost\r\n{start}".encode())
        while sent < 400:
            connection.sendall(filler)
            sent += 1
    assert sent < 400
    assert gateway.http.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/api/status/", 404, "not_found"),
        ("GET", "/api/sessions/a/b/c", 404, "not_found"),
        ("GET", "/api/runs/%00", 404, "run_not_found"),
        ("GET", f"/api/blobs/{'f' * 10_000}", 404, "blob_not_found"),
        ("POST", "/api/runs/none/cancel", 404, "run_not_found"),
        ("POST", "/api/sweep?dry_run=perhaps", 400, "bad_request"),
        ("PUT", "/api/sessions/a", 405, "method_not_allowed"),
        ("DELETE", "/api/status", 405, "method_not_allowed"),
        ("GET", "/api/sessions/a/messages", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_there_is_told(
    gateway: GatewayProcess, method: str, path: str, status: int, code: str
) -> None:
    """An unknown path, thing or method is an error in the house's shape."""
    assert error_of(gateway.http.request(method, path)) == (status, code)


def test_a_wrong_method_learns_the_right_ones(gateway: GatewayProcess) -> None:
    """405 names what is possible, OPTIONS included; HEAD is GET without a body."""
    for method in ("PUT", "OPTIONS"):
        response = gateway.http.request(method, "/api/sessions/a")
        assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, HEAD")
    assert gateway.http.get("/v1/chat/completions").json()["error"]["type"] == "invalid_request_error"
    head, get = gateway.http.head("/api/sessions"), gateway.http.get("/api/sessions")
    assert (head.status_code, head.content, head.headers["content-length"]) == (
        200,
        b"",
        str(len(get.content)),
    )


def test_hostile_requests_leave_nothing_behind(gateway: GatewayProcess) -> None:
    """After 200 hostile requests the process has not grown by more than 32 MiB."""
    bodies = [*MALFORMED.values(), *UNSTORABLE.values(), b"[" + b"{}," * MIB + b"{}]", b"9" * 3 * MIB]
    process = psutil.Process(gateway.pid)
    for body in bodies:
        post(gateway, body)
    before = process.memory_info().rss
    for number in range(200):
        post(gateway, bodies[number % len(bodies)])
    assert process.memory_info().rss - before < 32 * MIB
    assert gateway.say("good", "/echo still here")["reply"] == "still here"
