"""What is asked of the outside, and what asking may take."""

from collections.abc import Mapping

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request may take, its redirects included."""

    seconds: float = 30.0
    connect_s: float = 10.0
    #: how long the other side may be silent
    silent_s: float = 15.0
    #: on the wire, and again after decompression
    max_bytes: int = 4 << 20


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked; the client adds what it takes to be understood, and nothing else."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = {}
    body: bytes = b""
