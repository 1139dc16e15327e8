"""The transcript of a session: appended to under one numbering, read through segments and rows alike."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from tidegate.domain.entry import Body, Entry, Summary
from tidegate.domain.session import Session
from tidegate.errors import Corrupt, SessionNotFound
from tidegate.ids import RunId, SessionId
from tidegate.store import blobs, rows, segments, sessions
from tidegate.store.context import Context
from tidegate.store.segments import Segment
from tidegate.store.tx import Reads, Tx

PAGE_BYTES = 4 << 20
PAGE_ROWS = 200


class Appended(NamedTuple):
    """A session after an append, and what was appended."""

    session: Session
    entries: list[Entry]


def append(tx: Tx, session: Session, run: RunId | None, bodies: Sequence[Body]) -> Appended:
    """Append bodies in order, each stamped with its run and the instant; large texts go to blobs."""
    entries: list[Entry] = []
    size = 0
    for seq, body in enumerate(bodies, session.entries + 1):
        stamped = msgspec.structs.replace(body, at=tx.now, run=run)
        kept, encoded = blobs.spill(tx, session.id, stamped)
        check = rows.checksum(session.id, seq, encoded)
        tx.run("entry_born", session=session.id, seq=seq, body=encoded, checksum=check)
        entries.append(Entry(session=session.id, seq=seq, body=kept))
        size += len(encoded)
    if not entries:
        return Appended(session, entries)
    tx.effects.entries += entries
    return Appended(sessions.grow(tx, session, entries=session.entries + len(entries), size=size), entries)


def page(reads: Reads, session: SessionId, after: int, limit: int) -> list[Entry]:
    """Return up to *limit* entries after a seq, in order; the page ends early at 4 MiB of bodies."""
    found: list[Entry] = []
    size = 0
    for seq, body in _forwards(reads, session, after):
        found.append(rows.entry(session, seq, body))
        size += len(body)
        if len(found) >= limit or size >= PAGE_BYTES:
            break
    return found


def context(reads: Reads, session: SessionId, max_bytes: int) -> Context:
    """Return what a model reads now: the summary, what is pinned, and the newest entries that it leaves out."""
    head = _head(reads, session)
    summary = entry_at(reads, head, head.summary_seq) if head.summary_seq else None
    return _context(reads, head, summary, _Span(head.entries + 1, max_bytes))


def context_before(reads: Reads, head: Session, before: int, max_bytes: int) -> Context:
    """Return what a model read before an entry; a summary that lies further back is not looked for."""
    size, summary = max_bytes, None
    for seq, body in _backwards(reads, head, before):
        size -= len(body)
        entry = rows.entry(head.id, seq, body)
        if isinstance(entry.body, Summary) or size < 0:
            summary = entry if isinstance(entry.body, Summary) else None
            break
    return _context(reads, head, summary, _Span(before, max_bytes))


def entry_at(reads: Reads, head: Session, seq: int) -> Entry:
    """Return one entry.

    Raises:
        Corrupt: It is missing or damaged.
    """
    if seq <= head.cold_through:
        segment = _segment_after(reads, head.id, seq - 1)
        if segment is not None:
            return rows.entry(head.id, seq, segment.lines()[seq - segment.first_seq])
    row = reads.one("hot_entry", session=head.id, seq=seq)
    if row is None:
        raise Corrupt(f"entry {seq} of session {head.key!r} is missing")
    return rows.entry(head.id, seq, rows.hot_body(head.id, row))


def pack(reads: Reads, session: SessionId, max_bytes: int, through: int | None) -> list[Segment]:
    """Compress the oldest hot entries, so many bytes or up to a seq, verified against their checksums."""
    head = _head(reads, session)
    hot = _hot(reads, head, head.cold_through)
    bodies = _up_to(max_bytes, (body for seq, body in hot if through is None or seq <= through))
    return list(segments.pack(head.cold_through + 1, bodies))


def check_segments(reads: Reads, session_id: SessionId) -> int:
    """Compare the next hot rows that are to go with what the segments hold in their place.

    Both are final, so that what was compared stays true until the rows go. Return the last seq compared; others may
    have been frozen meanwhile.

    Raises:
        Corrupt: They differ.
        SessionNotFound: The session is gone.
    """
    session = _head(reads, session_id)
    stale = reads.all("hot_entries", session=session.id, after=0, limit=500)
    cold: dict[int, bytes] = {}
    compared = 0
    for row in stale:
        seq = row[0]
        if seq > session.cold_through:
            break
        if seq not in cold:
            segment = _segment_after(reads, session.id, seq - 1)
            cold = dict(enumerate(segment.lines(), segment.first_seq)) if segment else {}
        if cold.get(seq) != rows.hot_body(session.id, row):
            raise Corrupt(f"entry {seq} of session {session.key!r} is not what its segment holds")
        compared = seq
    return compared


class _Span(NamedTuple):
    """Entries before one, up to so many bytes of bodies."""

    before: int
    max_bytes: int


def _context(reads: Reads, head: Session, summary: Entry | None, span: _Span) -> Context:
    body = summary.body if summary else None
    through, pinned = (body.through, body.pinned) if isinstance(body, Summary) else (0, ())
    found: list[Entry] = []
    left, reached = span.max_bytes, span.before
    for seq, encoded in _backwards(reads, head, span.before):
        left -= len(encoded)
        if seq <= through or (left < 0 and found):
            break
        entry, reached = rows.entry(head.id, seq, encoded), seq
        if not isinstance(entry.body, Summary):
            found.append(entry)
    return Context(
        pinned=[entry_at(reads, head, seq) for seq in pinned],
        summary=summary,
        entries=found[::-1],
        is_whole=reached <= through + 1,
    )


def _head(reads: Reads, session: SessionId) -> Session:
    row = reads.one("session_by_id", id=session)
    if row is None:
        raise SessionNotFound(f"there is no session {session!r}")
    return rows.session(row)


def _forwards(reads: Reads, session: SessionId, after: int) -> Iterator[tuple[int, bytes]]:
    head = _head(reads, session)
    while after < head.cold_through:
        segment = _segment_after(reads, session, after)
        if segment is None:
            raise Corrupt(f"entries after {after} of session {head.key!r} are missing")
        for seq, line in enumerate(segment.lines(), segment.first_seq):
            if seq > after:
                yield seq, line
        after = segment.last_seq
    yield from _hot(reads, head, after)


def _hot(reads: Reads, head: Session, after: int) -> Iterator[tuple[int, bytes]]:
    while after < head.entries:
        batch = reads.all("hot_entries", session=head.id, after=after, limit=PAGE_ROWS)
        if not batch or batch[0][0] != after + 1:
            raise Corrupt(f"entry {after + 1} of session {head.key!r} is missing")
        for row in batch:
            yield row[0], rows.hot_body(head.id, row)
        after = batch[-1][0]


def _backwards(reads: Reads, head: Session, before: int) -> Iterator[tuple[int, bytes]]:
    session = head.id
    while before > head.cold_through + 1:
        batch = reads.all(
            "hot_entries_back",
            session=session,
            before=before,
            cold_through=head.cold_through,
            limit=PAGE_ROWS,
        )
        if not batch or batch[0][0] != before - 1:
            raise Corrupt(f"entry {before - 1} of session {head.key!r} is missing")
        for row in batch:
            yield row[0], rows.hot_body(session, row)
        before = batch[-1][0]
    while before > 1:
        found = reads.one("segment_before", session=session, before=before)
        if found is None:
            raise Corrupt(f"entries before {before} of session {head.key!r} are missing")
        segment = segments.from_row(found)
        numbered = list(enumerate(segment.lines(), segment.first_seq))
        yield from ((seq, line) for seq, line in reversed(numbered) if seq < before)
        before = segment.first_seq


def _segment_after(reads: Reads, session: SessionId, after: int) -> Segment | None:
    row = reads.one("segment_after", session=session, after=after)
    return segments.from_row(row) if row else None


def _up_to(max_bytes: int, bodies: Iterator[bytes]) -> Iterator[bytes]:
    for body in bodies:
        yield body
        max_bytes -= len(body)
        if max_bytes <= 0:
            return
