import pytest

from tidegate.egress.address import AddressRefused, Rules, is_public, plain, rule
from tidegate.egress.url import UrlRefused, joined, read


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0", "10.1.2.3",  # noqa: S104 - not bound to
        "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.9.9.9", "168.63.129.16",
        "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1",
        "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::", "3fff::1", "fc00::1",
        "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1", "ff02::1", "5f00::1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_known(text: str) -> None:
    """Private, loopback, link-local, shared, multicast, reserved and metadata addresses, in every disguise."""
    assert not is_public(plain(text))


@pytest.mark.parametrize(
    "text",
    ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"],
)
def test_what_is_public_is_known(text: str) -> None:
    """An address of the public network is one."""
    assert is_public(plain(text))


@pytest.mark.parametrize(
    ("allow", "deny", "host", "addresses", "is_open"),
    [
        ([], [], "a.example", ["1.1.1.1"], True),
        ([], [], "a.example", ["1.1.1.1", "127.0.0.1"], False),
        (["127.0.0.0/8"], [], "a.example", ["1.1.1.1", "127.0.0.1"], True),
        (["10.0.0.5"], [], "10.0.0.5", ["10.0.0.5"], True),
        (["10.0.0.5"], [], "10.0.0.6", ["10.0.0.6"], False),
        (["a.example"], [], "a.example", ["10.0.0.6"], True),
        (["a.example"], [], "b.a.example", ["10.0.0.6"], False),
        (["A.Example."], [], "a.example", ["10.0.0.6"], True),
        (["a.example"], ["10.0.0.6"], "a.example", ["10.0.0.6"], False),
        ([], ["example"], "a.example", ["1.1.1.1"], False),
        ([], ["ample"], "a.example", ["1.1.1.1"], True),
        ([], ["1.1.1.0/24"], "a.example", ["1.1.1.1"], False),
    ],
)
def test_rules_open_and_close(
    allow: list[str], deny: list[str], host: str, addresses: list[str], *, is_open: bool
) -> None:
    """What is configured opens private addresses and closes public ones; closing wins."""
    rules = Rules(allow=[rule(one) for one in allow], deny=[rule(one) for one in deny])
    try:
        rules.check(host, 443, [plain(one) for one in addresses])
        assert is_open
    except AddressRefused:
        assert not is_open


@pytest.mark.parametrize(
    ("port", "is_open"),
    [(80, True), (443, True), (8_080, True), (22, False), (25, False), (6, False)],
)
def test_ports_of_other_services_are_closed(port: int, *, is_open: bool) -> None:
    """Of the low ports of public addresses only those of the web are open."""
    try:
        Rules().check("a.example", port, [plain("1.1.1.1")])
        assert is_open
    except AddressRefused:
        assert not is_open


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0/33", "10.0.0.1/24", "a b", "http://a", "a/b", "::g", "x" * 300, "*.a"]
)
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    """A rule is an address, a network or a name."""
    with pytest.raises(ValueError):  # noqa: PT011 - of many kinds
        rule(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "example.com", "ftp://a.example/", "file:///etc/passwd", "gopher://a", "http://", "http:///x",
        "http://a b/",
        "http://a.example\\@b/", "http://user:pw@a.example/", "http://@a.example/", "http://a.example:0/",
        "http://a.example:99999/", "http://a.example:x/", "http://[::1/", "http://[fe80::g]/", "http://a..b/",
        "http://a.example/\r\nX: y", "http://a.example/\0", "javascript:alert(1)", "//a.example/",
        "http://" + "a" * 9_000, "http://" + "a" * 300 + ".example/",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(text: str) -> None:
    """Other schemes, logins, blanks and malformed hosts are refused before anything is resolved."""
    with pytest.raises(UrlRefused):
        read(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("HTTP://Example.COM", "http://example.com/"),
        ("https://example.com:443/a?b=c#d", "https://example.com/a?b=c"),
        ("http://example.com:8080/a b".replace(" ", "%20"), "http://example.com:8080/a%20b"),
        ("http://bücher.example/ü?q=é", "http://xn--bcher-kva.example/%C3%BC?q=%C3%A9"),
        ("http://[::1]:81/", "http://[::1]:81/"),
        ("http://[::ffff:127.0.0.1]/", "http://127.0.0.1/"),
        ("http://①②⑦.0.0.1/", "http://127.0.0.1/"),
        ("http://a.example./", "http://a.example/"),
    ],
)
def test_a_url_is_read_once(text: str, same: str) -> None:
    """What is read is written back in one spelling, which is what is asked for."""
    assert str(read(text)) == same


def test_a_redirect_keeps_encryption() -> None:
    """A redirect may be relative and may lead to https, never from https to http."""
    assert str(joined(read("http://a.example/x/y"), "../z")) == "http://a.example/z"
    assert str(joined(read("http://a.example/"), "https://a.example/")) == "https://a.example/"
    with pytest.raises(UrlRefused):
        joined(read("https://a.example/"), "http://a.example/")
