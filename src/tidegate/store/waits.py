"""Runs that wait: for a person's word, for children, for both. What ends the last wait queues the run again.

A waiting run has no lease, so whoever held it can write nothing more; going on is the same path as after a crash. Only
the wait for a person stops the session's clock: children have deadlines of their own.

A run that is parked, because something is short, waits for nothing of this; it is let go with all the others. Its
session's deadline holds meanwhile.
"""

from tidegate.domain.run import Lane, Lease, Run, RunState
from tidegate.errors import FenceLost
from tidegate.ids import RunId
from tidegate.store import rows, sessions
from tidegate.store.lease import held
from tidegate.store.tx import Tx

UNPARK_ROWS = 500


def begin(tx: Tx, lease: Lease) -> Run:
    """Let a running run wait; it goes on at once if nothing is left to wait for."""
    row = tx.one("run_waits", id=lease.run)
    if row is None:
        raise FenceLost
    is_asked = tx.one("approvals_pending_of_run", run=lease.run) is not None
    session = sessions.by_id(tx, lease.session)
    sessions.change(tx, session, "waits", running_at=None, waiting_at=tx.now if is_asked else None)
    run = rows.run(row)
    if is_asked:
        tx.effects.waiting.append(run)
    else:
        go_on(tx, lease.run)
    return run


def go_on(tx: Tx, run_id: RunId) -> None:
    """Queue a waiting run again unless there is something else to wait for; its clock goes on with the last answer."""
    row = tx.one("run_by_id", id=run_id)
    run = rows.run(row) if row else None
    if run is None or run.state is not RunState.WAITING or run.parked_at is not None:
        return
    if tx.one("approvals_pending_of_run", run=run.id):
        return
    session = sessions.by_id(tx, run.session)
    waited_ms = 0 if session.waiting_at is None else max(0, tx.now - session.waiting_at)
    is_ready = tx.one("spawns_awaited", run=run.id) is None
    if is_ready:
        tx.run("run_resumed", id=run.id)
        tx.effects.queued.add(run.lane)
    if session.waiting_at is not None:
        tx.run("run_waited", id=run.id, waited_ms=waited_ms)
    if is_ready or session.waiting_at is not None:
        waited_in_all_ms = session.waited_ms + waited_ms
        sessions.change(tx, session, "resumed", waiting_at=None, waited_ms=waited_in_all_ms, since_at=tx.now)


def park(tx: Tx, lease: Lease) -> Run:
    """Let a running run wait until it is let go; what it owes or is owed stays as it is."""
    held(tx, lease)
    row = tx.one("run_parked", id=lease.run, now=tx.now)
    if row is None:
        raise FenceLost
    sessions.change(tx, sessions.by_id(tx, lease.session), "waits", running_at=None)
    return rows.run(row)


def unpark(tx: Tx) -> int:
    """Queue a slice of the parked runs again, the oldest first, and say how many that were."""
    count = tx.run("runs_unparked", now=tx.now, limit=UNPARK_ROWS)
    if count:
        tx.effects.queued.update(Lane)
    return count
