"""Signatures of webhooks, both ways: HMAC-SHA256 over id, timestamp and body.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. A secret may be
replaced without a gap: who signs signs with every secret it has, who verifies accepts any of its own.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Sequence

import msgspec

from tidegate.errors import SignatureWrong

TOLERANCE_S = 300
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
MAX_SIGNATURES = 16
PREFIX = "whsec_"

# Without a full stop, so that nobody can move the borders between id, timestamp and body.
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,256}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """The three headers of a webhook."""

    id: str
    timestamp: str
    signature: str


def secret(text: str) -> bytes:
    """Return the key that ``whsec_…`` stands for.

    Raises:
        ValueError: It is none.
    """
    prefix, encoded = text[: len(PREFIX)], text[len(PREFIX) :]
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if prefix != PREFIX or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"a secret is {PREFIX} and the base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes"
        )
    return key


def sign(secrets: Iterable[bytes], message_id: str, at_s: int, body: bytes) -> Signed:
    """Return the headers of a body that is sent at *at_s*, seconds since the epoch."""
    timestamp = str(at_s)
    signatures = (_signature(key, message_id, timestamp, body) for key in secrets)
    return Signed(id=message_id, timestamp=timestamp, signature=" ".join(signatures))


def verify(secrets: Sequence[bytes], signed: Signed, body: bytes, now_s: int) -> None:
    """Return if somebody who holds one of the secrets has signed exactly this, within the last five minutes.

    What is wrong with the time is told only to who signed properly.

    Raises:
        SignatureWrong: It is not so.
    """
    if not (_ID.fullmatch(signed.id) and _TIMESTAMP.fullmatch(signed.timestamp)):
        raise SignatureWrong
    given = [part.encode() for part in signed.signature.split(" ")[:MAX_SIGNATURES] if part.isascii()]
    expected = [_signature(key, signed.id, signed.timestamp, body).encode() for key in secrets]
    # Every pair is compared, whatever the others were.
    if not sum(hmac.compare_digest(one, other) for one in expected for other in given):
        raise SignatureWrong
    late_s = now_s - int(signed.timestamp)
    if abs(late_s) > TOLERANCE_S:
        side = "old" if late_s > 0 else "ahead of its time"
        raise SignatureWrong(
            f"the signature is {abs(late_s):,} s {side}; {TOLERANCE_S} s are allowed",
            hint="sign each attempt anew, and look at both clocks",
        )


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    content = b".".join((message_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()
