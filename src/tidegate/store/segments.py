"""Compressed slices of a transcript: one zstd frame over one JSON body a line, at most 1 MiB before compression.

Packing and verifying happen on a reader's thread, never on the writer's.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator

import msgspec

from tidegate.domain.entry import MAX_BODY_BYTES
from tidegate.errors import Corrupt
from tidegate.store.rows import Row

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RAW_BYTES = 1 << 20
LEVEL = 3


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """The entries first_seq..last_seq of a session, compressed; the digest is over the raw bytes."""

    first_seq: int
    last_seq: int
    digest: bytes
    raw_bytes: int
    body: bytes

    def lines(self) -> list[bytes]:
        """Return the stored bodies, verified.

        Raises:
            Corrupt: The bytes do not match the digest or the range.
        """
        try:
            raw = zstd.decompress(self.body)
        except zstd.ZstdError as error:
            raise self._damaged() from error
        lines = raw.split(b"\n")
        if _digest(raw) != self.digest or len(lines) != self.last_seq - self.first_seq + 1:
            raise self._damaged()
        return lines

    def _damaged(self) -> Corrupt:
        return Corrupt(
            f"the segment of entries {self.first_seq} to {self.last_seq} is damaged", hint="restore a backup"
        )


def from_row(row: Row) -> Segment:
    """Read a row of ``segments``."""
    return Segment(first_seq=row[1], last_seq=row[2], digest=row[3], raw_bytes=row[4], body=row[5])


def pack(first_seq: int, bodies: Iterable[bytes]) -> Iterator[Segment]:
    """Compress consecutive bodies into as few segments as the limit allows; each is read back before it is given."""
    batch: list[bytes] = []
    size = 0
    for body in bodies:
        batch.append(body)
        size += len(body) + 1
        if size > RAW_BYTES - MAX_BODY_BYTES:
            yield _pack(first_seq, batch)
            first_seq += len(batch)
            batch, size = [], 0
    if batch:
        yield _pack(first_seq, batch)


def _pack(first_seq: int, bodies: list[bytes]) -> Segment:
    raw = b"\n".join(bodies)
    segment = Segment(
        first_seq=first_seq,
        last_seq=first_seq + len(bodies) - 1,
        digest=_digest(raw),
        raw_bytes=len(raw),
        body=zstd.compress(raw, LEVEL),
    )
    segment.lines()
    return segment


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=16).digest()
