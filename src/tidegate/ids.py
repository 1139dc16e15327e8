"""Identifiers: how they are made, and which ones a stranger may bring.

Sessions and runs are named by ULIDs (https://github.com/ulid/spec): 48 bits of time, 80 random bits, 26 characters.
The order in which things happened is never read from an id, since wall clocks step back.
"""

import os
import re
from typing import NewType

from tidegate.errors import BadRequest

SessionId = NewType("SessionId", str)
RunId = NewType("RunId", str)
BlobHash = NewType("BlobHash", str)
ApprovalId = NewType("ApprovalId", str)
DeliveryId = NewType("DeliveryId", str)
FactId = NewType("FactId", str)

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_KEY = re.compile(r"[A-Za-z0-9._:@+!~=-]{1,256}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,256}")


def ulid(now: int) -> str:
    """Make a ULID for the instant *now*."""
    number = (now & ((1 << 48) - 1)) << 80 | int.from_bytes(os.urandom(10))
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def session_key(text: str) -> str:
    """Return *text* if it can be a session key; it is used literally.

    Raises:
        BadRequest: It is empty, too long or has other characters than ``[A-Za-z0-9._:@+!~=-]``.
    """
    if not _KEY.fullmatch(text):
        raise BadRequest(
            f"{text[:80]!r} cannot be a session key",
            hint="use 1 to 256 characters of A-Z a-z 0-9 . _ : @ + ! ~ = -",
        )
    return text


def idempotency_key(text: str) -> str:
    """Return *text* if it can be an idempotency key: 1 to 256 visible ASCII characters.

    Raises:
        BadRequest: It is empty, too long or has other characters.
    """
    if not _IDEMPOTENCY_KEY.fullmatch(text):
        raise BadRequest(
            "the Idempotency-Key header is not usable", hint="use 1 to 256 visible ASCII characters"
        )
    return text
