"""Repairs what is safe to repair in a store that no gateway holds.

All repairs are one transaction: after a crash the store is as it was before. What a repair removes is written to a
JSONL file first, which is synced before the commit; and before anything is touched, the file is copied as it is.
Damaged entries, segments and blobs stay where they are: only a backup has them whole.

A table whose rows can lose their owner joins in by its query ``orphans_removed_TYPE`` (a DELETE of some of them that
RETURNS what it deleted) and its place in `REMOVED`, owners before what they own.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import apsw

from tidegate.domain import policy
from tidegate.domain.policy import Policies
from tidegate.domain.session import Outcome, Session
from tidegate.errors import NotFound, StorageFailed
from tidegate.ids import RunId
from tidegate.store import backup, disk, orphans, replacement, rows, sessions, tallies, turns, waits
from tidegate.store.admission import Ending
from tidegate.store.archive import Archive
from tidegate.store.backup import Rules
from tidegate.store.connection import SqliteReads, SqliteTx, open_writer
from tidegate.store.migrate import migrate
from tidegate.store.rows import Row
from tidegate.store.scrub import verify_pages
from tidegate.store.sql import QUERIES
from tidegate.store.sqlite import NAME
from tidegate.store.writer import translate

REMOVED = (
    "trim",
    "run",
    "entry",
    "segment",
    "snapshot",
    "skill",
    "reference",
    "blob",
    "chunk",
    "approval",
    "spawn",
    "firing",
    "vector",
    "flush",
)
SLICE_ROWS = 200


class Repair(NamedTuple):
    """One thing that was repaired; `detail` is fit for a person."""

    name: str
    detail: str


class Fixed(NamedTuple):
    """What was done to a store; nothing at all where it needed nothing."""

    repairs: list[Repair]
    #: the store as it was before
    backup: Path | None
    #: what was removed from it
    archive: Path | None


class Bench(NamedTuple):
    """What a repair works with."""

    tx: SqliteTx
    archive: Archive


def fix(folder: Path, policies: Policies, now: int) -> Fixed:
    """Repair the store of a folder; needs the folder's lock.

    Idempotent: a store that needs no repair is not touched.

    Raises:
        NotFound: There is none.
        Corrupt: The file itself is damaged; nothing was changed.
    """
    path = folder / NAME
    backups = folder / "backups"
    try:
        replacement.settle(path)
        if not path.exists():
            raise NotFound(f"there is no store in {str(folder)!r}", hint="name the state folder with --state")
        with closing(open_writer(path)) as connection:
            migrate(connection, backups)
            if not _needs(SqliteReads(connection)):
                return Fixed([], None, None)
            backups.mkdir(mode=0o700, exist_ok=True)
            saved = backups / f"before-fix-{disk.stamp(now)}.db"
            backup.copy(connection, saved, Rules(verify=verify_pages, is_forced=True))
            archive = Archive(backups / f"orphans-{disk.stamp(now)}.jsonl")
            repairs = _repair_all(SqliteTx(connection, now, policies), archive)
            return Fixed(repairs, saved, archive.path if archive.rows else None)
    except apsw.Error as error:
        raise translate(error) from error
    except OSError as error:
        raise StorageFailed(f"{str(backups)!r} cannot be written: {error.strerror}") from error


def _needs(reads: SqliteReads) -> bool:
    """Whether there is anything to repair."""
    return bool(
        any(orphans.count(reads).values())
        or any(
            reads.all(query)
            for query in ("doctor_dateless", "doctor_two_at_once", "doctor_running_but_ended")
        )
        or tallies.wrong(reads)
        or not _is_indexed(reads)
    )


def _is_indexed(reads: SqliteReads) -> bool:
    """Whether each word of each fact is where a search looks for it, and nothing else is."""
    try:
        reads.connection.execute(QUERIES["facts_index_checked"]).fetchall()
    except apsw.CorruptError:
        return False
    return True


def _repair_all(tx: SqliteTx, archive: Archive) -> list[Repair]:
    """Repair everything or nothing."""
    connection = tx.connection
    # Nothing may go along with what is removed: each row is archived by itself. The counts are made anew at the end.
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    connection.execute("BEGIN IMMEDIATE")
    try:
        repairs = [
            Repair(name, detail)
            for name, repair in _REPAIRS.items()
            if (detail := repair(Bench(tx, archive)))
        ]
        archive.close()
        connection.execute("COMMIT")
    except BaseException:
        archive.discard()
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return repairs


def _detach_children(bench: Bench) -> str:
    """A session whose parent is gone stays, as one without a parent."""
    found = bench.archive.keep("child", bench.tx.connection.execute(QUERIES["orphans_children"]))
    bench.tx.run("orphans_detached")
    return f"{found} sessions without their parent stand for themselves now" if found else ""


def _detach_skills(bench: Bench) -> str:
    """A session whose snapshot is gone has no skills."""
    found = bench.tx.run("sessions_without_snapshot")
    return f"{found} sessions have no skills any more, since their snapshot is lost" if found else ""


def _remove(kind: str) -> Callable[[Bench], str]:
    """Return the repair that removes the orphans of a type."""

    def repair(bench: Bench) -> str:
        removed = 0
        while found := bench.archive.keep(
            kind, bench.tx.connection.execute(QUERIES[f"orphans_removed_{kind}"], {"limit": SLICE_ROWS})
        ):
            removed += found
        return f"{removed} removed, kept in {bench.archive.path.name}" if removed else ""

    return repair


def _date(bench: Bench) -> str:
    """An ephemeral session gets the date that its policy gives it, at the earliest now."""
    found = [rows.session(row) for row in bench.tx.all("dateless")]
    for session in found:
        _date_one(bench.tx, session)
    return f"{len(found)} sessions have a date again" if found else ""


def _date_one(tx: SqliteTx, session: Session) -> None:
    step = policy.next_step(session, sessions.rules_of(tx, session))
    if step.due_at is not None:
        sessions.date(tx, session, max(step.due_at, tx.now), step.due_to)


def _end(bench: Bench) -> str:
    """Work in a session that lives gets its turn back; in a finished one it is closed, and its message kept."""
    found = bench.tx.all("running_but_ended")
    for row in found:
        _end_one(bench.tx, row)
    return f"{len(found)} runs whose session did not wait for them" if found else ""


def _end_one(tx: SqliteTx, row: Row) -> None:
    session = sessions.by_id(tx, rows.run(row).session)
    if session.is_live:
        _date_one(tx, sessions.change(tx, session, "repaired", turn_at=tx.now))
    else:
        turns.close(tx, session, row, Ending(outcome=Outcome.INTERRUPTED, error="its session had ended"))


def _queue_again(bench: Bench) -> str:
    """What runs twice at a time is queued again, but for the oldest."""
    queued = bench.tx.run("runs_one_by_one")
    return f"{queued} runs are queued again, to be carried out one at a time" if queued else ""


def _wake(bench: Bench) -> str:
    """What waits for nothing, now that questions and debts without an owner are gone, goes on."""
    found = bench.tx.all("waits_for_nothing")
    for row in found:
        waits.go_on(bench.tx, RunId(row[0]))
    return f"{len(found)} runs that waited for nothing go on" if found else ""


def _detach_facts(bench: Bench) -> str:
    """A fact whose session is gone stays."""
    found = bench.archive.keep("fact", bench.tx.connection.execute(QUERIES["facts_of_nobody"]))
    bench.tx.run("facts_without_source")
    return f"{found} facts have lost the session that said them" if found else ""


def _index(bench: Bench) -> str:
    """The index of words is made anew from the facts."""
    if _is_indexed(bench.tx):
        return ""
    bench.tx.run("facts_index_rebuilt")
    return "the words of all facts are indexed anew"


def _recount(bench: Bench) -> str:
    corrected = tallies.recount(bench.tx)
    return f"{corrected} counts corrected" if corrected else ""


_REPAIRS: Mapping[str, Callable[[Bench], str]] = {
    "dates": _date,
    "two at once": _queue_again,
    "ended": _end,
    "child": _detach_children,
    "lost skills": _detach_skills,
    "fact": _detach_facts,
    **{kind: _remove(kind) for kind in REMOVED},
    "index": _index,
    "wait": _wake,
    "tallies": _recount,
}
