"""The part of a transcript that a fork shares, made ready on a reader's thread: entries under new numbers, packed.

What a model reads at that place is copied, by the reference where it is large: what is pinned, the summary, and the
entries after it. What came before stays with the original.
"""

from collections.abc import Iterator

import msgspec

from tidegate.domain.entry import Assistant, Body, Call, Entry, Summary, User, encode
from tidegate.domain.session import Session
from tidegate.errors import BadRequest
from tidegate.ids import BlobHash, SessionId
from tidegate.store import segments, sessions, transcript
from tidegate.store.admission import Excerpt
from tidegate.store.context import Context
from tidegate.store.tx import Reads


def excerpt(reads: Reads, session: SessionId, before: int, max_bytes: int) -> Excerpt:
    """Pack what a model read before an entry."""
    head = sessions.by_id(reads, session)
    if not 1 <= before <= head.entries + 1:
        raise BadRequest(
            f"session {head.key!r} has no entry {before}", hint=f"name one from 1 to {head.entries + 1}"
        )
    context = _read(reads, head, before, max_bytes)
    shared = [*context.pinned, *([context.summary] if context.summary else []), *_tail(context)]
    summary_seq = len(context.pinned) + 1 if context.summary else None
    bodies = [_renumbered(entry.body, len(context.pinned)) for entry in shared]
    return Excerpt(
        source=session,
        before=before,
        segments=list(segments.pack(1, map(encode, bodies))),
        blobs={name for body in bodies for name in _blobs(body)},
        summary_seq=summary_seq,
    )


def _read(reads: Reads, head: Session, before: int, max_bytes: int) -> Context:
    if before == 1:
        return Context()
    return transcript.context_before(reads, head, before, max_bytes)


def _tail(context: Context) -> list[Entry]:
    """Return the entries after the summary; where they are not all there, from a user's message on."""
    entries = list(context.entries)
    if context.is_whole:
        return entries
    starts = (at for at, entry in enumerate(entries) if isinstance(entry.body, User))
    return entries[next(starts, len(entries)) :]


def _renumbered(body: Body, pinned: int) -> Body:
    """Return a body as it stands in the fork; tokens were counted of another prompt."""
    match body:
        case Summary():
            return msgspec.structs.replace(body, through=pinned + 1, pinned=tuple(range(1, pinned + 1)))
        case Assistant() | Call():
            return msgspec.structs.replace(body, tokens=0)
        case _:
            return body


def _blobs(body: Body) -> Iterator[BlobHash]:
    refs = [body.blob, body.opaque_blob if isinstance(body, Assistant | Call) else None]
    yield from (ref.hash for ref in refs if ref is not None)
