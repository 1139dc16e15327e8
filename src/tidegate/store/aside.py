"""What is put aside because it failed: durably, with its attempts and a back-off, so that it holds up nobody behind it.

An item is a run, a job, a session that is due or a delivery, by its id or name. Nothing of it is read for that: it may
be the very row that cannot be. What works again is forgotten at once, what has gone after a week.
"""

from collections.abc import Collection

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tidegate.domain.run import Lane
from tidegate.domain.session import Outcome
from tidegate.faults import Area
from tidegate.ids import RunId, SessionId
from tidegate.store import sessions, turns
from tidegate.store.admission import Ending
from tidegate.store.runs import names
from tidegate.store.tx import Tx

FIRST_MS = 1 * SECOND_MS  # twice as long after each further failure,
LONGEST_MS = HOUR_MS  # and never longer
KEEP_MS = 7 * DAY_MS
MAX_ATTEMPTS = 3  # of a run, which then ends as failed


def put(tx: Tx, part: Area, item: str, error: str, first_ms: int = FIRST_MS) -> tuple[int, int]:
    """Note that an item has failed; return how often in a row, and before when it is not tried again."""
    row = tx.one(
        "aside_put", part=part, item=item, error=error, now=tx.now, first_ms=first_ms, longest_ms=LONGEST_MS
    )
    return (int(row[0]), int(row[1])) if row else (1, tx.now + first_ms)


def rest(tx: Tx, part: Area, item: str, error: str) -> None:
    """Let a request to a model that was in vain rest: for a minute, then for longer."""
    put(tx, part, item, error, MINUTE_MS)


def rests(tx: Tx, part: Area, item: str) -> bool:
    """Whether it is too early to try again."""
    return tx.one("aside_resting", part=part, item=item, now=tx.now) is not None


def works(tx: Tx, part: Area, item: str) -> None:
    """Forget that something has failed."""
    tx.run("aside_over", part=part, item=item)


def job(tx: Tx, name: str, error: str) -> None:
    """Let a job that could not be planned or fired come back later."""
    _, until = put(tx, Area.JOBS, name, error)
    tx.run("job_put_aside", name=name, until=until)
    tx.effects.is_about_jobs = True


def session(tx: Tx, session_id: SessionId, error: str) -> None:
    """Let a session that could not be moved come back later."""
    _, until = put(tx, Area.SWEEP, session_id, error)
    sessions.tell(tx, tx.one("session_put_aside", id=session_id, until=until))


def delivery(tx: Tx, number: int, error: str) -> None:
    """Let a delivery that cannot be read come back later."""
    _, until = put(tx, Area.OUTBOX, str(number), error)
    tx.run("delivery_put_aside", number=number, until=until)


def run(tx: Tx, run_id: RunId, error: str) -> int:
    """Queue a run again that could not be claimed or closed; return how often that has failed."""
    attempts, _ = put(tx, Area.RUNNER, run_id, error)
    row = tx.one("run_put_aside", id=run_id)
    if row is not None:
        sessions.tell(tx, tx.one("session_of_run_rests", id=row[0]))
    return attempts


def next_run(
    tx: Tx, lane: Lane, *, with_api: bool, without: Collection[str], error: str
) -> tuple[RunId, int] | None:
    """Put the run aside that would be claimed next; return it and how often it has failed."""
    row = tx.one("run_claimable", lane=lane, with_api=with_api, without=names(without), now=tx.now)
    return (RunId(row[1]), run(tx, RunId(row[1]), error)) if row else None


def give_up(tx: Tx, run_id: RunId, error: str) -> None:
    """Close a run as failed that could not be carried out, with a word to its reader."""
    row = tx.one("run_by_id", id=run_id)
    if row is None or row[5] == "done":
        return
    head = turns.notice(tx, sessions.by_id(tx, SessionId(row[2])), run_id, f"failed: {error}")
    head = turns.close(tx, head, row, Ending(outcome=Outcome.FAILED, error=error))
    turns.end_turn(tx, head, Outcome.FAILED, "finished")
    tx.run("aside_over", part=Area.RUNNER, item=run_id)


def drop(tx: Tx, run_id: RunId, error: str) -> None:
    """Close a run as failed that cannot even be read, and let its session go on; nothing is told in that."""
    row = tx.one("run_dropped", id=run_id, error=error, now=tx.now)
    if row is None:
        return
    sessions.tell(tx, tx.one("session_of_run_dropped", id=row[0]))
    tx.effects.queued.update(Lane)  # what stood behind it in its session
    tx.run("aside_over", part=Area.RUNNER, item=run_id)


def tidy(tx: Tx) -> int:
    """Forget a slice of what has not failed for long."""
    return tx.run("aside_forgotten", before=tx.now - KEEP_MS)
