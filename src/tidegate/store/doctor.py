"""Looks at a store from outside and says whether what must always be true is true.

It reads through a connection of its own, gateway running or not, and writes nothing. A hit may be a moment between two
transactions of a running gateway, so it is looked at again after a second before it counts.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import apsw

from tidegate.domain.policy import OVERDUE_MS
from tidegate.errors import Corrupt, NotFound
from tidegate.ids import BlobHash
from tidegate.store import blobs, orphans, rows, segments
from tidegate.store.connection import SqliteReads, open_reader
from tidegate.store.rows import Value
from tidegate.store.sqlite import NAME
from tidegate.store.writer import translate

PAGE = 500
SLOW_START_MS = 10_000
LOOK_AGAIN_S = 1.0

OK, VIOLATED, NOT_CHECKED = "ok", "violated", "not checked"


class Finding(NamedTuple):
    """What became of one check; `detail` is fit for a person."""

    name: str
    promise: str
    verdict: str
    detail: str


class Living(NamedTuple):
    """What a running gateway says of itself; None where none runs."""

    containers: Mapping[str, tuple[int, int]]
    shares_reads: bool | None
    holds_deletes: bool


class Patient(NamedTuple):
    """What is looked at."""

    reads: SqliteReads
    living: Living | None
    now: int

    def keys(self, query: str, **values: Value) -> str:
        """Return the first hits of a query, as text."""
        return ", ".join(str(row[0]) for row in self.reads.all(query, **values))


class Skipped(Exception):
    """The check cannot be made here."""


Check = Callable[[Patient], str]


def examine(folder: Path, living: Living | None, now: int, *, scrub: bool) -> Iterator[Finding]:
    """Carry out every check, one after the other.

    Raises:
        NotFound: There is no store in the folder.
        Corrupt: The file is not a database any more.
    """
    path = folder / NAME
    if not path.exists():
        raise NotFound(f"there is no store in {str(folder)!r}", hint="name the state folder with --state")
    try:
        connection = open_reader(path)
        try:
            patient = Patient(SqliteReads(connection), living, now)
            for name, promise, check in (*_CHECKS, *(_SCRUBS if scrub else ())):
                yield _judge(patient, name, promise, check)
        finally:
            connection.close()
    except apsw.Error as error:
        raise translate(error) from error


def _judge(patient: Patient, name: str, promise: str, check: Check) -> Finding:
    try:
        detail = _look(patient, check)
        if detail:
            time.sleep(LOOK_AGAIN_S)
            detail = _look(patient, check)
    except Skipped as reason:
        return Finding(name, promise, NOT_CHECKED, str(reason))
    return Finding(name, promise, VIOLATED if detail else OK, detail)


def _look(patient: Patient, check: Check) -> str:
    with patient.reads.snapshot():
        return check(patient)


def _transcripts(patient: Patient) -> str:
    after = ""
    while page := patient.reads.all("doctor_transcripts", after=after, limit=PAGE):
        for _, key, entries, cold, hot, last_hot, in_segments, last_cold in page:
            is_whole = in_segments == last_cold == cold and hot == entries - cold
            if not is_whole or (hot and last_hot != entries):
                return f"the transcript of {key} has gaps"
        after = page[-1][0]
    return ""


def _orphans(patient: Patient) -> str:
    found = orphans.count(patient.reads)
    return ", ".join(f"{count} {name}" for name, count in found.items() if count)


def _dates(patient: Patient) -> str:
    return patient.keys("doctor_dateless") or patient.keys("doctor_jobs_dateless")


def _overdue(patient: Patient) -> str:
    row = patient.reads.one("meta", key="swept_at")
    if patient.living is None and row is None:
        raise Skipped("no gateway has swept here yet")
    judged_at = patient.now if patient.living is not None else int(row[0]) if row else 0
    with_deletes = patient.living is None or not patient.living.holds_deletes
    return patient.keys("doctor_overdue", before=judged_at - OVERDUE_MS, with_deletes=with_deletes)


def _ended(patient: Patient) -> str:
    return patient.keys("doctor_running_but_ended")


def _sizes(patient: Patient) -> str:
    return patient.keys("doctor_too_large") or patient.keys("doctor_blob_sizes")


def _reads(patient: Patient) -> str:
    if patient.living is None or patient.living.shares_reads is None:
        raise Skipped("needs a running gateway with a session")
    return "" if patient.living.shares_reads else "a read gives a copy"


def _bounds(patient: Patient) -> str:
    if patient.living is None:
        raise Skipped("needs a running gateway")
    over = (name for name, (entries, limit) in patient.living.containers.items() if entries > limit)
    return ", ".join(over)


def _start(patient: Patient) -> str:
    row = patient.reads.one("meta", key="started_in_ms")
    if row is None:
        raise Skipped("no gateway has started here yet")
    return f"the last start took {int(row[0]):,} ms" if int(row[0]) > SLOW_START_MS else ""


def _single(patient: Patient) -> str:
    return patient.keys("doctor_two_at_once")


def _usage(patient: Patient) -> str:
    row = patient.reads.one("doctor_usage")
    if row is None or row[0] <= row[1]:
        return ""
    return f"runs took {row[0]:,} tokens, {row[1]:,} are accounted for"


def _admission(_: Patient) -> str:
    raise Skipped("no budget is enforced in this version")


def _tallies(patient: Patient) -> str:
    return patient.keys("doctor_tallies")


def _scrub_entries(patient: Patient) -> str:
    after = 0
    while page := patient.reads.all("doctor_entries", after=after, limit=PAGE):
        for _, session, seq, body, checksum in page:
            if rows.checksum(session, seq, body) != checksum:
                return f"entry {seq} of session {session} is damaged"
        after = page[-1][0]
    return ""


def _scrub_segments(patient: Patient) -> str:
    after = 0
    while page := patient.reads.all("doctor_segments", after=after, limit=10):
        for row in page:
            try:
                segments.from_row(row[1:]).lines()
            except Corrupt as error:
                return f"session {row[1]}: {error}"
        after = page[-1][0]
    return ""


def _scrub_blobs(patient: Patient) -> str:
    after = ""
    while page := patient.reads.all("doctor_blobs", after=after, limit=PAGE):
        for (name,) in page:
            try:
                blobs.whole(patient.reads, BlobHash(name))
            except Corrupt as error:
                return str(error)
        after = page[-1][0]
    return ""


def _scrub_pages(patient: Patient) -> str:
    found = patient.reads.connection.execute("PRAGMA integrity_check(5)").fetchall()
    return "" if found == [("ok",)] else "; ".join(str(row[0]) for row in found)


_CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("I1", "every transcript is whole and in order", _transcripts),
    ("I2", "nothing is orphaned", _orphans),
    ("I3", "every ephemeral session has a date", _dates),
    ("I4", "what is due is moved", _overdue),
    ("I5", "nothing running is archived", _ended),
    ("I6", "no entry is above 64 KiB, no blob is cut", _sizes),
    ("I7", "a read copies nothing", _reads),
    ("I8", "every container keeps its bound", _bounds),
    ("I9", "starting does not read history", _start),
    ("I10", "a session has one running run at most", _single),
    ("I11", "usage outlives its session", _usage),
    ("I12", "people come first under pressure", _admission),
    ("tallies", "the counts are what was counted", _tallies),
)
_SCRUBS: tuple[tuple[str, str, Check], ...] = (
    ("entries", "every entry matches its checksum", _scrub_entries),
    ("segments", "every segment matches its digest", _scrub_segments),
    ("blobs", "every blob matches its name", _scrub_blobs),
    ("pages", "every page of the file is sound", _scrub_pages),
)
