"""Sends the bytes of a blob a part at a time, so that memory does not follow their size."""

from collections.abc import AsyncIterator

from tidegate.ids import BlobHash
from tidegate.store.blobs import CHUNK_BYTES
from tidegate.store.port import Store


async def parts(store: Store, name: BlobHash, size: int) -> AsyncIterator[bytes]:
    """Yield the parts of a blob of *size* bytes; a blob that goes away meanwhile ends the stream early."""
    sent = 0
    while sent < size:
        part = await store.blob_part(name, sent // CHUNK_BYTES)
        if not part:
            return
        sent += len(part)
        yield part
