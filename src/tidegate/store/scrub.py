"""What a store must show by itself: whole pages and transcripts, true counts, bytes that match their sums.

The doctor asks this of a store, a backup of the copy before it gets its name, a restore of what is to be put in place.
Each check returns the first few things that are wrong, as text, and "" where all is well; it changes nothing.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import apsw

from tidegate.domain import relevance
from tidegate.domain.snapshot import snapshot_of
from tidegate.errors import Corrupt
from tidegate.ids import BlobHash
from tidegate.store import blobs, rows, segments, snapshots, tallies
from tidegate.store.connection import SqliteReads

PAGE = 500
ROWS = 100  # of up to 64 KiB each
TOLD = 5  # how many wrong things are named

Scrub = Callable[[SqliteReads], str]


def is_older(error: apsw.Error) -> bool:
    """Whether a query failed because the store is from before a table or a column that it asks for."""
    return isinstance(error, apsw.SQLError) and str(error).startswith(("no such table", "no such column"))


def whole_transcripts(reads: SqliteReads) -> str:
    """Compare each head with its rows and segments."""
    return _told(_gaps(reads))


def true_tallies(reads: SqliteReads) -> str:
    """Compare the counts with what is there."""
    return _told(f"{family} {label} {state}".strip() for family, label, state, _, _ in tallies.wrong(reads))


def sound_entries(reads: SqliteReads) -> str:
    """Compare each hot entry with its checksum."""
    return _told(_damaged_entries(reads))


def sound_segments(reads: SqliteReads) -> str:
    """Compare each segment with its digest."""
    return _told(_damaged_segments(reads))


def sound_blobs(reads: SqliteReads) -> str:
    """Compare each blob with its name."""
    return _told(_damaged_blobs(reads))


def sound_snapshots(reads: SqliteReads) -> str:
    """Compare each snapshot with its name."""
    return _told(_damaged_snapshots(reads))


def found_facts(reads: SqliteReads) -> str:
    """Look for a word of each fact where a search looks for it."""
    return _told(_lost_facts(reads))


def sound_pages(reads: SqliteReads) -> str:
    """Let SQLite look at every page, index and constraint of the file."""
    found = reads.connection.execute(f"PRAGMA integrity_check({TOLD})").fetchall()
    return "" if found == [("ok",)] else "; ".join(str(row[0]) for row in found)


def kept_references(reads: SqliteReads) -> str:
    """Let SQLite look whether each reference leads to a row."""
    cursor = reads.connection.execute("PRAGMA foreign_key_check")
    found = _told(f"a row of {table} refers to nothing in {parent}" for table, _, parent, _ in cursor)
    cursor.close()
    return found


#: by name: what is promised, and how it is seen
SCRUBS: tuple[tuple[str, str, Scrub], ...] = (
    ("entries", "every entry matches its checksum", sound_entries),
    ("segments", "every segment matches its digest", sound_segments),
    ("blobs", "every blob matches its name", sound_blobs),
    ("snapshots", "every snapshot matches its name", sound_snapshots),
    ("words", "every fact is found by its words", found_facts),
    ("refs", "every reference leads to a row", kept_references),
    ("pages", "every page of the file is sound", sound_pages),
)


def verify(connection: apsw.Connection) -> None:
    """Read everything.

    Raises:
        Corrupt: Something is not as it must be.
    """
    reads = SqliteReads(connection)
    for check in (sound_pages, kept_references, whole_transcripts, true_tallies):
        _demand(reads, check)
    for check in (sound_entries, sound_segments, sound_blobs, sound_snapshots, found_facts):
        _demand(reads, check)


def verify_pages(connection: apsw.Connection) -> None:
    """Look at the file alone: of any schema, whatever its rows say.

    Raises:
        Corrupt: A page or an index is damaged.
    """
    connection.execute("PRAGMA ignore_check_constraints = ON")
    _demand(SqliteReads(connection), sound_pages)


def _demand(reads: SqliteReads, check: Scrub) -> None:
    try:
        found = check(reads)
    except apsw.SQLError as error:
        if not is_older(error):
            raise
        return  # of a table that the store does not have yet nothing can be wrong
    if found:
        raise Corrupt(
            found, hint="`tidegate doctor --scrub` tells more; `tidegate doctor --fix` repairs what it can"
        )


def _told(found: Iterator[str]) -> str:
    return ", ".join(islice(found, TOLD))


def _gaps(reads: SqliteReads) -> Iterator[str]:
    after = ""
    while page := reads.all("doctor_transcripts", after=after, limit=PAGE):
        for _, key, entries, cold, hot, last_hot, in_segments, last_cold in page:
            is_whole = in_segments == last_cold == cold and hot == entries - cold
            if not is_whole or (hot and last_hot != entries):
                yield f"the transcript of {key} has gaps"
        after = page[-1][0]


def _damaged_entries(reads: SqliteReads) -> Iterator[str]:
    after = 0
    while page := reads.all("doctor_entries", after=after, limit=ROWS):
        for _, session, seq, body, checksum in page:
            if rows.checksum(session, seq, body) != checksum:
                yield f"entry {seq} of session {_key(reads, session)} is damaged"
        after = page[-1][0]


def _damaged_segments(reads: SqliteReads) -> Iterator[str]:
    after = 0
    while page := reads.all("doctor_segments", after=after, limit=10):
        for row in page:
            try:
                segments.from_row(row[1:]).lines()
            except Corrupt as error:
                yield f"session {_key(reads, row[1])}: {error}"
        after = page[-1][0]


def _damaged_blobs(reads: SqliteReads) -> Iterator[str]:
    after = ""
    while page := reads.all("doctor_blobs", after=after, limit=PAGE):
        for (name,) in page:
            try:
                blobs.whole(reads, BlobHash(name))
            except Corrupt as error:
                keys = ", ".join(row[0] for row in reads.all("doctor_blob_sessions", hash=name))
                yield f"{error} (in session {keys})" if keys else str(error)
        after = page[-1][0]


def _damaged_snapshots(reads: SqliteReads) -> Iterator[str]:
    after = ""
    while page := reads.all("doctor_snapshots", after=after, limit=PAGE):
        for (name,) in page:
            if snapshot_of(snapshots.skills(reads, name)).name != name:
                yield f"snapshot {name} is damaged"
        after = page[-1][0]


def _lost_facts(reads: SqliteReads) -> Iterator[str]:
    after = 0
    while page := reads.all("doctor_fact_texts", after=after, limit=PAGE):
        for number, text, name in page:
            terms = relevance.terms(text)[:1]
            if terms and not reads.all("doctor_fact_found", words=f'"{terms[0]}"', number=number):
                yield f"fact {name} is not found by {terms[0]!r}"
        after = page[-1][0]


def _key(reads: SqliteReads, session: str) -> str:
    row = reads.one("session_by_id", id=session)
    return str(row[1]) if row else session
