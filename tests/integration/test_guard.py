import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_process import TOKEN, WAIT_S, GatewayProcess, error_of, refused_start

ANY = "0.0.0.0"  # noqa: S104 - it is refused
OPEN = {
    ("GET", "/"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/ui/{file}"),
    ("POST", "/hooks/{name}"),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway that serves one more name."""
    config = '[gateway]\nallowed_hosts = ["tide.example", "fd00::1"]\n'
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state", config=config) as running:
        yield running


def routes(gateway: GatewayProcess) -> list[tuple[str, str]]:
    """Return method and path of everything that the gateway says it serves."""
    paths: dict[str, Any] = gateway.get("/openapi.json")["paths"]
    return [(method.upper(), path) for path, operations in paths.items() for method in operations]


def concrete(path: str) -> str:
    """Fill in a path."""
    return path.replace("{file}", "app.js").replace("{key}", "k").replace("{id}", "i").replace("{hash}", "h")


def raw(gateway: GatewayProcess, *headers: str, target: str = "/api/status") -> tuple[int, str]:
    """Send a request byte by byte as written and return the status and the body."""
    lines = [
        f"GET {target} HTTP/1.1",
        *headers,
        f"Authorization: Bearer {TOKEN}",
        "Connection: close",
        "",
        "",
    ]
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        with connection.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_every_route_needs_the_token(gateway: GatewayProcess) -> None:
    """Without a token every route is 401, but for health, readiness, the page and what is signed instead."""
    found = routes(gateway)
    assert set(found) > OPEN
    for method, path in found:
        response = gateway.http.request(method, concrete(path), headers={"Authorization": ""})
        if (method, path) == ("POST", "/hooks/{name}"):
            assert error_of(response) == (404, "hook_not_found")
        elif (method, path) in OPEN:
            assert response.status_code == 200, path
        else:
            assert response.status_code == 401, (method, path)
            assert response.json()["error"]["code"] == "unauthorized"


@pytest.mark.parametrize("path", ["/nothing", "/API/status", "//", "/ui", "/healthz/", "/hooks/x", "/v1"])
def test_an_unknown_path_tells_a_stranger_nothing(gateway: GatewayProcess, path: str) -> None:
    """Without a token a path that is not there looks like one that is."""
    url = f"{gateway.url}{path}"
    assert gateway.http.get(url, headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN,
     f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN} {TOKEN}", f"Bearer {TOKEN},"],
)  # fmt: skip
def test_a_wrong_token_is_refused(gateway: GatewayProcess, value: str) -> None:
    """Only the exact token after `Bearer` is one."""
    response = gateway.http.get("/api/status", headers={"Authorization": value})
    assert error_of(response) == (401, "unauthorized")
    assert TOKEN not in response.text


def test_the_scheme_has_no_case(gateway: GatewayProcess) -> None:
    """`bearer` is as good as `Bearer`."""
    assert gateway.http.get("/api/status", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "key", "TOKEN", "%74oken"])
def test_a_token_in_a_url_is_refused(gateway: GatewayProcess, name: str) -> None:
    """A token in a query is 400, valid or not, with or without the header, and is not repeated."""
    for headers in ({}, {"Authorization": ""}):
        for path in ("/api/status", "/"):
            response = gateway.http.get(f"{path}?{name}={TOKEN}", headers=headers)
            assert error_of(response) == (400, "bad_request")
            assert TOKEN not in response.text
    assert TOKEN not in gateway.log.read_text()


GOOD_HOSTS = (
    "localhost", "localhost:8420", "LocalHost", "localhost.", "localhost.:1", "127.0.0.1", "127.0.0.1:65535",
    "[::1]", "[::1]:8420", "tide.example", "TIDE.example.:443", "[fd00::1]",
)  # fmt: skip
BAD_HOSTS = (
    "", "evil.example", "localhost.evil.example", "evil.localhost", "127.0.0.1.evil.example", "127.0.0.1.nip.io",
    "evil@localhost", "localhost@evil", "localhost:80@evil", "localhost/evil", "localhost\\evil", "localhost evil",
    "localhost#evil", "localhost?evil", "localhost:evil", "localhost:", "localhost:80:80", "localhost..", ".",
    "localhost,evil", ANY, "0", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.2", "::1", "[::1",
    "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "[::1%lo]", "http://localhost", "localhost%00", "loc\xe4lhost",
    "xn--localhost", "*", "null",
)  # fmt: skip


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_a_name_of_ours_is_served(gateway: GatewayProcess, host: str) -> None:
    """Loopback names and those of the configuration are served, whatever port, case or final dot they have."""
    assert raw(gateway, f"Host: {host}")[0] == 200


@pytest.mark.parametrize("host", BAD_HOSTS)
@pytest.mark.parametrize("target", ["/api/status", "/"])
def test_any_other_name_is_refused(gateway: GatewayProcess, host: str, target: str) -> None:
    """A Host that is not ours, or no host at all, is 421 before anything else, the page included."""
    status, body = raw(gateway, f"Host: {host}", target=target)
    assert (status, '"wrong_host"' in body) == (421, True)


@pytest.mark.parametrize(
    "headers", [(), ("Host: localhost", "Host: evil"), ("Host: localhost", "Host: localhost")]
)
def test_one_host_is_wanted(gateway: GatewayProcess, headers: tuple[str, ...]) -> None:
    """No Host or two of them are refused."""
    assert raw(gateway, *headers)[0] == 421


def test_the_target_does_not_replace_the_host(gateway: GatewayProcess) -> None:
    """A name in the request line neither opens nor closes a door."""
    assert raw(gateway, "Host: evil", target="http://localhost/api/status")[0] == 421
    assert raw(gateway, "Host: localhost", target="http://evil/api/status")[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.example", "http://localhost", "http://127.0.0.1:1", "http://localhost:1@127.0.0.1",
     "file://", "chrome-extension://abc", "127.0.0.1", "{host}", "http://{host}.evil.example", "http://{host}/",
     "http://evil@{host}", "ws://{host}", "http:///{host}", "http://{host} http://evil"],
)  # fmt: skip
def test_another_origin_is_refused(gateway: GatewayProcess, origin: str) -> None:
    """A page of another origin is 403, even with the token."""
    host = f"127.0.0.1:{gateway.port}"
    for target in ("/api/status", "/", "/v1/models"):
        status, body = raw(gateway, f"Host: {host}", f"Origin: {origin.format(host=host)}", target=target)
        assert (status, '"forbidden"' in body) == (403, True)


def test_our_own_origin_is_served(gateway: GatewayProcess) -> None:
    """The page of this gateway may use it; two origins may not."""
    host = f"127.0.0.1:{gateway.port}"
    own = f"Origin: http://{host}"
    assert raw(gateway, f"Host: {host}", own)[0] == 200
    assert raw(gateway, f"Host: {host}", own, "Origin: http://evil.example")[0] == 403


def test_no_answer_invites_other_origins(gateway: GatewayProcess) -> None:
    """No preflight succeeds and no answer carries a CORS header."""
    preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    for response in (
        gateway.http.options("/api/status", headers=preflight),
        gateway.http.options("/api/status"),
        gateway.http.get("/api/status"),
    ):
        assert not [name for name in response.headers if name.startswith("access-control-")]
    assert gateway.http.options("/api/status", headers=preflight).status_code == 403


def test_the_page_is_locked_up(gateway: GatewayProcess) -> None:
    """The page speaks to its own origin alone, runs its own scripts alone and is framed by nobody."""
    for path in ("/", "/ui/app.js", "/ui/style.css"):
        response = gateway.http.get(path, headers={"Authorization": ""})
        policy = dict(
            part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";")
        )
        assert {
            "default-src": "'none'",
            "script-src": "'self'",
            "connect-src": "'self'",
        }.items() <= policy.items()
        assert {
            "frame-ancestors": "'none'",
            "base-uri": "'none'",
            "form-action": "'none'",
        }.items() <= policy.items()
        assert "unsafe" not in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("file", ["x.js", "..%2Fserver.py", "%2e%2e%2fguard.py", "app.js%00", "index.html/"])
def test_the_page_has_three_files(gateway: GatewayProcess, file: str) -> None:
    """Nothing but the files of the page is served below `/ui/`."""
    response = gateway.http.get(f"{gateway.url}/ui/{file}", headers={"Authorization": ""})
    assert response.status_code in {401, 404}


@pytest.mark.parametrize("host", [ANY, "::", "192.0.2.1", "tide.example"])
def test_nobody_is_served_in_the_clear(tmp_path_factory: pytest.TempPathFactory, host: str) -> None:
    """Elsewhere than on loopback, without TLS or a trusted proxy, the gateway does not start: exit 78."""
    code, said = refused_start(tmp_path_factory.mktemp("open") / "state", "--host", host)
    assert (code, "trusted_proxy" in said) == (78, True)


def test_guesses_are_limited(tmp_path: Path) -> None:
    """Guessing is slow, however it is spelled and whoever it says it is; a person who is there goes on."""
    with GatewayProcess(tmp_path / "state") as gateway:
        gateway.get("/api/status")
        answers = [
            httpx.get(
                f"{gateway.url}/api/status",
                headers={"Authorization": f"Bearer guess-{number}", "X-Forwarded-For": f"192.0.2.{number}"},
                timeout=WAIT_S,
            )
            for number in range(30)
        ]
        limited = answers[-1]
        assert [answer.status_code for answer in answers[:20]] == [401] * 20
        assert error_of(limited) == (429, "rate_limited")
        assert 1 <= int(limited.headers["retry-after"]) <= 3
        status = gateway.get("/api/status")  # over the connection of before
        assert status["containers"]["token_guesses"] == {"entries": 1, "limit": 1_024}
        shape = httpx.get(
            f"{gateway.url}/v1/models", headers={"Authorization": "Bearer guess-x"}, timeout=WAIT_S
        )
        assert (shape.status_code, shape.json()["error"]["code"]) == (429, "rate_limited")


def test_a_trusted_proxy_says_who_it_is(tmp_path: Path) -> None:
    """Behind a proxy each of its clients is counted alone, by what the proxy itself has appended."""
    config = "[gateway]\ntrusted_proxy = true\n"
    with GatewayProcess(tmp_path / "state", config=config) as gateway:
        for number in range(30):
            headers = {"X-Forwarded-For": f"203.0.113.{number}, 192.0.2.1"}
            last = httpx.get(
                f"{gateway.url}/api/status",
                headers=headers | {"Authorization": f"Bearer guess-{number}"},
                timeout=WAIT_S,
            )
        assert last.status_code == 429
        other = {"X-Forwarded-For": "192.0.2.2", "Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(f"{gateway.url}/api/status", headers=other, timeout=WAIT_S).status_code == 200
