"""Bytes named by their hash: each is stored once, whoever refers to it, and lives as long as a reference.

Taking the last reference away takes the blob away, by a trigger of the schema.
"""

import hashlib

import msgspec

from tidegate.domain.entry import (
    MAX_BODY_BYTES,
    MAX_OPAQUE_BYTES,
    MAX_TEXT_BYTES,
    PREVIEW_CHARS,
    BlobRef,
    Body,
    encode,
    opaque_of,
)
from tidegate.errors import BlobNotFound, Corrupt, TooLarge
from tidegate.ids import BlobHash, SessionId
from tidegate.store.tx import Reads, Tx

CHUNK_BYTES = 64 << 10
MAX_BLOB_BYTES = 16 << 20


def spill(tx: Tx, session: SessionId, body: Body) -> tuple[Body, bytes]:
    """Return a body that fits into an entry, and its stored form; what is large of it goes to blobs.

    Raises:
        TooLarge: The text has more than 16 MiB.
    """
    body = _without_opaque(tx, session, body)
    text = body.text.encode()
    if len(text) <= MAX_TEXT_BYTES:
        encoded = encode(body)
        if len(encoded) <= MAX_BODY_BYTES:
            return body, encoded
    spilled = msgspec.structs.replace(body, text=body.text[:PREVIEW_CHARS], blob=_ref(tx, session, text))
    return spilled, encode(spilled)


def _without_opaque(tx: Tx, session: SessionId, body: Body) -> Body:
    """Move the provider's own data to a blob where they would leave too little room to a text."""
    data = opaque_of(body).encode()
    if len(data) <= MAX_OPAQUE_BYTES:
        return body
    return msgspec.structs.replace(body, opaque="", opaque_blob=_ref(tx, session, data))


def _ref(tx: Tx, session: SessionId, data: bytes) -> BlobRef:
    return BlobRef(hash=put(tx, session, data), bytes=len(data))


def put(tx: Tx, session: SessionId, data: bytes) -> BlobHash:
    """Store bytes once and let a session refer to them.

    Raises:
        TooLarge: There are more than 16 MiB.
    """
    if len(data) > MAX_BLOB_BYTES:
        raise TooLarge(f"a text of {len(data):,} bytes is above the limit of {MAX_BLOB_BYTES >> 20} MiB")
    name = BlobHash(hashlib.sha256(data).hexdigest())
    keep(tx, name, data)
    tx.run("reference_born", session=session, hash=name)
    return name


def keep(tx: Tx, name: BlobHash, data: bytes) -> None:
    """Store bytes under their hash unless they are there; the caller writes the reference that they live by."""
    if tx.one("blob", hash=name) is None:
        tx.run("blob_born", hash=name, bytes=len(data))
        for part, start in enumerate(range(0, len(data), CHUNK_BYTES)):
            tx.run("chunk_born", hash=name, part=part, body=data[start : start + CHUNK_BYTES])


def size(reads: Reads, name: BlobHash) -> int:
    """Return how many bytes a blob has.

    Raises:
        BlobNotFound: No session refers to such a blob.
    """
    row = reads.one("blob", hash=name)
    if row is None:
        raise BlobNotFound(f"there is no blob {name[:80]!r}")
    return int(row[0])


def part(reads: Reads, name: BlobHash, first: int, limit: int) -> bytes:
    """Return up to *limit* chunks from chunk *first* on; nothing after the last one."""
    return b"".join(row[1] for row in reads.all("chunks", hash=name, part=first, limit=limit))


def whole(reads: Reads, name: BlobHash) -> bytes:
    """Return all of a blob, verified against its name.

    Raises:
        BlobNotFound: No session refers to such a blob.
        Corrupt: The bytes do not hash to the name.
    """
    count = size(reads, name)
    data = part(reads, name, 0, MAX_BLOB_BYTES // CHUNK_BYTES)
    if len(data) != count or hashlib.sha256(data).hexdigest() != name:
        raise Corrupt(f"blob {name} is damaged", hint="restore a backup")
    return data
