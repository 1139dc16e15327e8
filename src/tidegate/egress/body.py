"""The body of an answer: read up to a limit, on the wire and once more as it is unpacked."""

import zlib
from collections.abc import AsyncIterator

from tidegate.egress.unreachable import Unreachable

ACCEPTED = "gzip"
_GZIP = 16 + zlib.MAX_WBITS


async def read(pieces: AsyncIterator[bytes], encoding: str, max_bytes: int) -> tuple[bytes, bool]:
    """Return a body, unpacked, and whether it was cut at the limit; no more than that is ever held.

    Raises:
        Unreachable: It is packed in a way that was not asked for, or broken.
    """
    match encoding.strip().lower():
        case "" | "identity":
            unpack = None
        case "gzip" | "x-gzip":
            unpack = zlib.decompressobj(_GZIP)
        case other:
            raise Unreachable(f"the answer is packed as {other[:40]!r}, which was not asked for")
    body, received = bytearray(), 0
    async for piece in pieces:
        received += len(piece)
        try:
            body += piece if unpack is None else unpack.decompress(piece, max_bytes + 1 - len(body))
        except zlib.error as error:
            raise Unreachable("the answer is broken: it is no gzip") from error
        if len(body) > max_bytes or received > max_bytes:
            return bytes(body[:max_bytes]), True
    if unpack is not None and received and not unpack.eof:
        raise Unreachable("the answer broke off")
    return bytes(body), False
