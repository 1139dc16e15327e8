"""A URL as it is asked for, read once; what is connected to, checked and sent is taken from this one reading."""

import re
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from tidegate.egress import address
from tidegate.errors import Refused

MAX_CHARS = 8_192
_PORTS = {"http": 80, "https": 443}
_SAFE = "/%:@!$&'()*+,;=~-._"
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")


class UrlRefused(Refused):
    """This is no URL that can be fetched."""

    code = "url_refused"


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """An address on the web, without its fragment."""

    scheme: str
    #: a name in ASCII and small letters, or an address without brackets
    host: str
    port: int
    #: path and query
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials are for."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def read(text: str) -> Url:
    """Read a URL.

    Raises:
        UrlRefused: It is malformed, of another scheme, or holds a login.
    """
    text = text.strip()
    if len(text) > MAX_CHARS:
        raise UrlRefused(f"a URL has at most {MAX_CHARS} characters")
    if _FORBIDDEN.search(text):
        raise UrlRefused("a URL holds no blanks, control characters or backslashes")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UrlRefused(f"this is no URL: {error}") from None
    if parts.scheme not in _PORTS:
        raise UrlRefused(
            "only http and https can be fetched", hint='write for example "https://example.com/"'
        )
    if parts.username is not None or parts.password is not None:
        raise UrlRefused("a URL may hold no login")
    if port == 0:
        raise UrlRefused("there is no port 0")
    path = quote(parts.path, safe=_SAFE, errors="replace") or "/"
    query = quote(parts.query, safe=f"{_SAFE}?", errors="replace")
    return Url(
        scheme=parts.scheme,
        host=_host(parts.hostname or "", is_literal="[" in parts.netloc),
        port=port or _PORTS[parts.scheme],
        target=f"{path}?{query}" if query else path,
    )


def joined(base: Url, location: str) -> Url:
    """Read where a redirect leads.

    Raises:
        UrlRefused: It leads to no URL that can be fetched, or away from encryption.
    """
    if len(location) > MAX_CHARS:
        raise UrlRefused(f"a URL has at most {MAX_CHARS} characters")
    try:
        url = read(urljoin(str(base), location))
    except ValueError as error:
        raise UrlRefused(f"a redirect leads to no URL: {error}") from None
    if base.scheme == "https" and url.scheme == "http":
        raise UrlRefused("a redirect leads from https to http")
    return url


def _host(host: str, *, is_literal: bool) -> str:
    try:
        return str(address.plain(host)) if is_literal else address.name(host)
    except ValueError:
        raise UrlRefused(f"{host[:80]!r} is no host") from None
