import asyncio
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tidegate.egress.address import AddressRefused
from tidegate.egress.client import Answer
from tidegate.egress.request import Limits, Request
from tidegate.egress.unreachable import Unreachable
from tidegate.egress.url import UrlRefused
from web_server import Respond, WebServer, bomb, egress, moved, names, page, web_server

LOOPBACK = "127.0.0.0/8"


def ask(respond: Respond, path: str = "/", *, limits: Limits | None = None, **headers: str) -> Answer:
    """Ask a server that is reachable."""

    async def main() -> Answer:
        async with web_server(respond) as web:
            return await egress(LOOPBACK).send(
                Request(url=web.url(path), headers=headers), limits or Limits()
            )

    return asyncio.run(main())


def test_an_answer_is_whole() -> None:
    """Status, headers and body come as they were sent, whatever the status."""
    answer = ask(lambda _: page(b"gone", "text/plain", "404 Not Found"))
    assert (answer.status, answer.body, answer.is_cut) == (404, b"gone", False)
    assert answer.headers["content-type"] == "text/plain"


def test_a_request_says_little(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A plain User-Agent, no cookies, no credentials from files, no proxy from the environment."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b")
    seen: list[dict[str, str]] = []

    def respond(visit: object) -> bytes:
        assert hasattr(visit, "headers")
        seen.append(visit.headers)
        return page(Set_Cookie="a=b") if len(seen) == 1 else page()

    async def main() -> None:
        async with web_server(respond) as web:
            client = egress(LOOPBACK)
            for _ in range(2):
                await client.send(Request(url=web.url()), Limits())

    asyncio.run(main())
    assert [set(headers) for headers in seen] == [{"host", "user-agent", "accept-encoding", "connection"}] * 2


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "①②⑦.0.0.1"),
        *("[::ffff:127.0.0.1]", "[::1]", "localhost", "0.0.0.0"),  # noqa: S104 - not bound to
    ],
)  # fmt: skip
def test_loopback_is_refused_however_it_is_spelt(host: str) -> None:
    """No spelling of a private address gets a connection."""

    async def main() -> None:
        async with web_server(lambda _: page()) as web:
            with pytest.raises((AddressRefused, Unreachable)):
                await egress().send(Request(url=web.url(host=host)), Limits())
            assert web.visits == []

    asyncio.run(main())


def test_a_name_that_changes_its_address_is_resolved_once() -> None:
    """Whoever answers first with a good address and then with a bad one is connected to neither, or to the good one."""
    asked = 0

    async def rebinding(_: str) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return ["127.0.0.2"] if asked == 1 else ["127.0.0.1"]

    async def main() -> None:
        async with web_server(lambda _: page(b"inside")) as web:
            with pytest.raises(Unreachable):  # nobody listens at the address that was checked
                await egress("127.0.0.2", resolver=rebinding).send(
                    Request(url=web.url(host="a.example")), Limits()
                )
            assert (asked, web.visits) == (1, [])
            with pytest.raises(AddressRefused):
                await egress("127.0.0.2", resolver=rebinding).send(
                    Request(url=web.url(host="a.example")), Limits()
                )
            assert web.visits == []

    asyncio.run(main())


@pytest.mark.parametrize(
    "answers", [["1.1.1.1", "127.0.0.1"], ["127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]]
)
def test_one_bad_address_is_enough(answers: list[str]) -> None:
    """A name is refused if any of its addresses is private."""

    async def main() -> None:
        async with web_server(lambda _: page()) as web:
            with pytest.raises(AddressRefused):
                await egress(resolver=names(a_example=answers)).send(
                    Request(url=web.url(host="a.example")), Limits()
                )
            assert web.visits == []

    asyncio.run(main())


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://169.254.169.254/latest/meta-data/", AddressRefused),
        ("http://localhost:1/", AddressRefused),
        ("http://evil.example/", AddressRefused),
        ("file:///etc/passwd", UrlRefused),
        ("http://user:pw@127.0.0.1/", UrlRefused),
    ],
)
def test_a_redirect_is_checked_like_the_first(location: str, error: type[Exception]) -> None:
    """A page that is allowed cannot lead to one that is not."""
    resolver = names(evil_example="10.0.0.1", localhost="::1")

    async def main() -> None:
        async with web_server(lambda _: moved(location)) as web:
            with pytest.raises(error):
                await egress("127.0.0.1", resolver=resolver).send(Request(url=web.url()), Limits())

    asyncio.run(main())


def test_redirects_are_followed_and_counted() -> None:
    """Five redirects are followed, and the answer says where they led; the sixth ends it."""

    def respond(visit: object) -> bytes:
        at = int(getattr(visit, "path", "/0")[1:])
        return page(b"here") if at == 9 else moved(f"/{at + 1}")

    assert str(ask(respond, "/4").url).endswith("/9")
    with pytest.raises(Unreachable, match="more than 5 redirects"):
        ask(respond, "/3")


def test_credentials_stay_where_they_belong() -> None:
    """What is sent to one origin does not go to the next, but does within one."""

    async def main() -> tuple[WebServer, WebServer]:
        async with web_server(lambda _: page()) as other, web_server(lambda _: page()) as web:
            web.respond = lambda visit: moved("/b") if visit.path == "/a" else moved(other.url())
            headers = {"Authorization": "Bearer x", "Cookie": "a=b", "Accept": "text/plain"}
            await egress(LOOPBACK).send(Request(url=web.url("/a"), headers=headers), Limits())
            return web, other

    web, other = asyncio.run(main())
    assert [visit.headers.get("authorization") for visit in web.visits] == ["Bearer x", "Bearer x"]
    (visit,) = other.visits
    assert ("authorization" in visit.headers, "cookie" in visit.headers) == (False, False)
    assert visit.headers["accept"] == "text/plain"


def test_a_post_is_sent_once() -> None:
    """A request that changes something is not sent on by a redirect."""

    async def main() -> None:
        async with web_server(lambda _: moved("/b", "307 Temporary Redirect")) as web:
            answer = await egress(LOOPBACK).send(Request(url=web.url(), method="POST", body=b"x"), Limits())
            assert (answer.status, [visit.body for visit in web.visits]) == (307, [b"x"])

    asyncio.run(main())


@pytest.mark.parametrize(
    "response",
    [
        page(b"x" * 300_000),
        page(bomb(50), Content_Encoding="gzip"),
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            *[b"4000\r\n" + b"x" * 16_384 + b"\r\n"] * 1_000,
        ],
        [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 16_384] * 1_000],
    ],
    ids=["large", "bomb", "chunked", "endless"],
)
def test_a_body_is_cut_at_its_limit(response: bytes | list[bytes]) -> None:
    """Of a body that is too large, packed or not, the beginning is kept and the rest never held."""
    answer = ask(lambda _: response, limits=Limits(max_bytes=200_000))
    assert (len(answer.body), answer.is_cut) == (200_000, True)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (page(b"no gzip", Content_Encoding="gzip"), "broken"),
        (page(bomb(1)[:-9], Content_Encoding="gzip"), "broke off"),
        (page(b"x", Content_Encoding="br"), "packed as 'br'"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "HTTP properly"),
        (b"", "HTTP properly"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx", "HTTP properly"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, "HTTP properly"),
    ],
)
def test_nonsense_is_told(response: bytes, message: str) -> None:
    """An answer that is broken, cut or no HTTP is an error in plain words."""
    with pytest.raises(Unreachable, match=message):
        ask(lambda _: response)


def test_silence_ends() -> None:
    """A server that says nothing is left after the time for silence."""
    with pytest.raises(Unreachable, match="silent for too long"):
        ask(lambda _: None, limits=Limits(silent_s=0.05))


def test_a_trickle_ends() -> None:
    """A server that sends a byte now and then is left when the whole time is over."""

    async def main() -> None:
        left = asyncio.Event()

        async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            except OSError:
                writer.close()
                left.set()

        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            with pytest.raises(Unreachable, match=r"within 0\.3 s"):
                await egress(LOOPBACK).send(Request(url=url), Limits(seconds=0.3, silent_s=5.0))
            await left.wait()

    asyncio.run(main())


def test_cancelling_closes_the_connection() -> None:
    """Whoever no longer waits for an answer leaves the server at once."""

    async def main() -> None:
        async with web_server(lambda _: None) as web, asyncio.TaskGroup() as group:
            task = group.create_task(egress(LOOPBACK).send(Request(url=web.url()), Limits()))
            while not web.visits:  # noqa: ASYNC110 - a server tells it
                await asyncio.sleep(0.01)
            task.cancel()
            async with asyncio.timeout(5):
                await web.left.wait()

    asyncio.run(main())


def test_the_certificate_is_held_to_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the checked address, the certificate and the Host header to the name."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",  # noqa: S607 - found by its name
         "-days", "2",
         "-subj", "/CN=good.example", "-addext", "subjectAltName=DNS:good.example",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    resolver = names(good_example="127.0.0.1", bad_example="127.0.0.1")

    async def main() -> None:
        async with web_server(lambda _: page(b"safe"), tls) as web:
            client = egress(LOOPBACK, resolver=resolver)
            good = web.url(host="good.example", scheme="https")
            assert (await client.send(Request(url=good), Limits())).body == b"safe"
            assert web.visits[0].headers["host"] == f"good.example:{web.port}"
            with pytest.raises(Unreachable, match="ostname mismatch"):
                await client.send(Request(url=web.url(host="bad.example", scheme="https")), Limits())
            assert len(web.visits) == 1

    asyncio.run(main())


def test_a_name_without_address_is_told() -> None:
    """A name that nobody knows is an error that names it."""

    async def unknown(_: str) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(Unreachable, match=r"a\.example cannot be reached: Name or service not known"):
        asyncio.run(egress(resolver=unknown).send(Request(url="http://a.example/"), Limits()))
