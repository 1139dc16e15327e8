"""Looks at a store from outside and says whether what must always be true is true.

It reads through a connection of its own, gateway running or not, and writes nothing. A hit may be a moment between two
transactions of a running gateway, so it is looked at again after a second before it counts.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import apsw

from tidegate.domain.policy import OVERDUE_MS
from tidegate.errors import NotFound
from tidegate.store import orphans, replacement
from tidegate.store.connection import SqliteReads, open_reader
from tidegate.store.rows import Value
from tidegate.store.scrub import SCRUBS, Scrub, is_older, true_tallies, whole_transcripts
from tidegate.store.sqlite import NAME
from tidegate.store.writer import translate

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
    #: whether background work is held back wherever a person is, and as the level of memory wants it
    people_first: bool = True
    #: by part, what was put aside since the start, in a few words; and the parts that cannot work at all
    faults: Mapping[str, str] = MappingProxyType({})
    stuck: Collection[str] = ()


class Patient(NamedTuple):
    """What is looked at."""

    reads: SqliteReads
    living: Living | None
    now: int

    def keys(self, query: str, **values: Value) -> str:
        """Return the first hits of a query, as text."""
        return ", ".join(str(row[0]) for row in self.reads.all(query, **values))


class Noted(Exception):
    """Nothing is wrong, and there is something to say."""


class Skipped(Exception):
    """The check cannot be made here."""


Check = Callable[[Patient], str]


def examine(folder: Path, living: Living | None, now: int, *, scrub: bool) -> Iterator[Finding]:
    """Carry out every check, one after the other.

    Raises:
        NotFound: There is no store in the folder.
        Corrupt: The file is not a database any more.
        Unavailable: A restore was interrupted.
    """
    path = folder / NAME
    if not path.exists():
        raise NotFound(f"there is no store in {str(folder)!r}", hint="name the state folder with --state")
    replacement.check(path)
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
    except Noted as note:
        return Finding(name, promise, OK, str(note))
    except Skipped as reason:
        return Finding(name, promise, NOT_CHECKED, str(reason))
    except apsw.SQLError as error:
        if not is_older(error):
            raise
        return Finding(
            name, promise, NOT_CHECKED, "the store is from an older release; the next start changes that"
        )
    return Finding(name, promise, VIOLATED if detail else OK, detail)


def _look(patient: Patient, check: Check) -> str:
    with patient.reads.snapshot():
        return check(patient)


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


def _admission(patient: Patient) -> str:
    if patient.living is None:
        raise Skipped("needs a running gateway")
    return "" if patient.living.people_first else "something is short, and background work goes on"


def _faults(patient: Patient) -> str:
    if patient.living is None:
        raise Skipped("needs a running gateway")
    if patient.living.stuck:
        return "; ".join(patient.living.faults[part] for part in patient.living.stuck)
    if patient.living.faults:
        raise Noted("; ".join(patient.living.faults.values()))
    return ""


def _outbox(patient: Patient) -> str:
    row = patient.reads.one("meta", key="swept_at")
    if patient.living is None and row is None:
        raise Skipped("no gateway has swept here yet")
    judged_at = patient.now if patient.living is not None else int(row[0]) if row else 0
    return patient.keys("doctor_outbox", before=judged_at - OVERDUE_MS)


def _facts(patient: Patient) -> str:
    return patient.keys("doctor_facts")


def _of(look: Scrub) -> Check:
    """Return a check that needs nothing but the store."""
    return lambda patient: look(patient.reads)


_CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("I1", "every transcript is whole and in order", _of(whole_transcripts)),
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
    ("I13", "what fails is put aside, and the rest goes on", _faults),
    ("outbox", "what is to be sent is sent or given up", _outbox),
    ("facts", "every fact is in the index", _facts),
    ("tallies", "the counts are what was counted", _of(true_tallies)),
)
_SCRUBS = tuple((name, promise, _of(look)) for name, promise, look in SCRUBS)
