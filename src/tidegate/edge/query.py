"""What a request asks for besides its body: page, filters, flags, promises."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec
from starlette.requests import Request

from tidegate.agent.loop import Agent
from tidegate.domain.session import Session
from tidegate.errors import AgentNotFound, BadRequest, SessionNotFound
from tidegate.ids import idempotency_key, session_key
from tidegate.store.admission import Receipt
from tidegate.store.port import Store

E = TypeVar("E", bound=StrEnum)

_ID = re.compile(r"[0-9A-Z]{26}")

# How the parameters that several routes share are described.
PAGE = {"limit": "entries of the page, 100 by default, 1,000 at most"}
CURSOR = {"cursor": "the `next` of the page before"}
IDEMPOTENCY = {"Idempotency-Key": "same key and body: the same run, for 24 hours; same key, other body: 409"}


def head_of(store: Store, key: str) -> Session:
    """Return the session of a key.

    Raises:
        BadRequest: It cannot be a key.
        SessionNotFound: There is none.
    """
    session = store.session(session_key(key))
    if session is None:
        hint = "`tidegate sessions list` shows what there is"
        raise SessionNotFound(f"there is no session {key!r}", hint=hint)
    return session


def integer(values: Mapping[str, str], name: str, default: int) -> int:
    """Read a query parameter that is a number from 0 up.

    Raises:
        BadRequest: It is something else.
    """
    text = values.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise BadRequest(f"{name}={text[:40]!r} is not a number from 0 up")
    return int(text)


def limit_of(values: Mapping[str, str]) -> int:
    """Read ``limit``: 100 by default, above 1,000 it is lowered."""
    limit = integer(values, "limit", 100)
    if limit == 0:
        raise BadRequest("limit=0 asks for nothing", hint="use 1 to 1000")
    return min(limit, 1_000)


def cursor_of(values: Mapping[str, str]) -> str | None:
    """Read ``cursor`` where it is the id of a session.

    Raises:
        BadRequest: It is something else.
    """
    cursor = values.get("cursor", "")
    if cursor and not _ID.fullmatch(cursor):
        raise BadRequest(f"cursor={cursor[:40]!r} is none", hint="take it from `next` of the page before")
    return cursor or None


def agent_name(agents: Mapping[str, Agent], name: str | None) -> str:
    """Return the agent's name; the first of the configuration when none is given.

    Raises:
        AgentNotFound: There is none of this name.
    """
    chosen = next(iter(agents)) if name is None else name
    if chosen not in agents:
        raise AgentNotFound(f"there is no agent {chosen[:80]!r}", hint=f"there is: {', '.join(agents)}"[:300])
    return chosen


def receipt_of(request: Request, scope: str, body: object) -> Receipt | None:
    """Return what an Idempotency-Key promises; nothing without one."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    digest = hashlib.blake2b(msgspec.json.encode(body), digest_size=16).digest()
    return Receipt(scope=scope, key=idempotency_key(key), body_hash=digest)


def flag(request: Request, name: str) -> bool:
    """Read a query parameter that is on or off.

    Raises:
        BadRequest: It is something else.
    """
    text = request.query_params.get(name, "0").lower()
    if text not in {"0", "1", "true", "false", ""}:
        raise BadRequest(f"{name}={text[:40]!r} is neither 1 nor 0")
    return text in {"1", "true"}


def choices(text: str | None, kind: type[E]) -> Sequence[E]:
    """Read a query parameter that is one or several of a closed set, separated by commas.

    Raises:
        BadRequest: It holds something else.
    """
    try:
        return [kind(item) for item in text.split(",")] if text else []
    except ValueError:
        names = ", ".join(kind)
        raise BadRequest(
            f"{text[:80]!r} is not one of {names}" if text else "", hint=f"use {names}"
        ) from None
