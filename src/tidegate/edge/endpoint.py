"""One line of the public API: where it is, what it does, what it takes. Routes and OpenAPI are made from these."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec
from starlette.requests import Request
from starlette.responses import Response

Handler = Callable[[Request], Awaitable[Response]]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A method and a path, with the words of its documentation."""

    method: str
    path: str
    handler: Handler
    summary: str
    #: query parameters and what they mean
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    #: the shape of the JSON body, if it takes one
    body: type | None = None
    #: what it answers besides errors: status to description
    answers: Mapping[int, str] = MappingProxyType({200: "done"})
    #: the codes of the errors that belong to it
    errors: Sequence[int] = ()
    media_type: str = "application/json"
    #: it needs no token
    is_open: bool = False
