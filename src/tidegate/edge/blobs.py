"""Large texts over HTTP, a part at a time, so that memory does not follow their size."""

from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import Response

from tidegate.edge.endpoint import Endpoint
from tidegate.edge.stream import Stream
from tidegate.ids import BlobHash
from tidegate.store.blobs import CHUNK_BYTES
from tidegate.store.port import Store


class Blobs:
    """The handler of large texts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def send(self, request: Request) -> Response:
        """Send the bytes of a large text, a part at a time."""
        name = BlobHash(request.path_params["hash"])
        size = self._store.blob_size(name)
        headers = {
            "Content-Length": str(size),
            "Content-Disposition": "attachment",
            "X-Content-Type-Options": "nosniff",
        }
        parts = _parts(self._store, name, size)
        return Stream(parts, "text/plain; charset=utf-8", headers)

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [
            Endpoint(
                method="GET",
                path="/api/blobs/{hash}",
                handler=self.send,
                summary="Fetch a large text whole",
                errors=(404,),
                media_type="text/plain",
            )
        ]


async def _parts(store: Store, name: BlobHash, size: int) -> AsyncGenerator[bytes, None]:
    """Yield the parts of a blob of *size* bytes; a blob that goes away meanwhile ends the stream early."""
    sent = 0
    while sent < size:
        part = await store.blob_part(name, sent // CHUNK_BYTES)
        if not part:
            return
        sent += len(part)
        yield part
