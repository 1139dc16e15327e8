"""How work ends: a run is closed, its turn with it, and with the last turn an ephemeral session.

A run that is closed before it was claimed still holds its message; the message enters the transcript then, so that
nothing that was acknowledged is lost (invariant I1).
"""

import msgspec

from tidegate.domain.approval import KEEP_DECIDED_MS
from tidegate.domain.entry import Assistant, Body, Notice
from tidegate.domain.run import Origin, Run, RunState
from tidegate.domain.session import Outcome, PolicyName, Session, State
from tidegate.ids import RunId
from tidegate.store import events, reports, rows, sessions, spawns, transcript
from tidegate.store.admission import Ending
from tidegate.store.rows import Row
from tidegate.store.tx import Tx

PRUNE_AFTER_MS = 86_400_000  # done runs of a long chat are kept for a day, the last hundred for longer

_bodies = msgspec.json.Decoder(list[Body])


def bodies_of(prompt: bytes | None) -> list[Body]:
    """Read the stored prompt of a run."""
    return _bodies.decode(prompt) if prompt else []


def close(tx: Tx, session: Session, row: Row, ending: Ending) -> Session:
    """Close one open run and raise its fence; the session's turn is left to `end_turn` or `complete`.

    Nobody is asked any more on behalf of a run that waited, and the children that it waited for are cancelled.
    """
    run = rows.run(row)
    session = transcript.append(tx, session, run.id, bodies_of(rows.prompt_of(row))).session
    for child in tx.all("spawns_awaited", run=run.id):
        _complete_tree(tx, sessions.by_id(tx, child[0]), Outcome.CANCELLED, "cancelled")
        session = sessions.by_id(tx, session.id)
    closed = tx.one(
        "run_closed",
        id=run.id,
        outcome=ending.outcome,
        error=ending.error,
        failure=ending.failure.code if ending.failure else "",
        retry_after_s=ending.failure.retry_after_s if ending.failure else None,
        now=tx.now,
    )
    if closed is not None:
        tx.effects.closed.append(rows.run(closed))
        events.finished(tx, session, tx.effects.closed[-1])
    if tx.run("approvals_closed", run=run.id, now=tx.now, expires_at=tx.now + KEEP_DECIDED_MS):
        session = sessions.change(tx, session, "closed", waiting_at=None)
    if run.origin is Origin.FIRING and session.policy.is_conversation:
        reports.run_ended(tx, session, run, ending.outcome)
    return session


def close_all(tx: Tx, session: Session, outcome: Outcome) -> Session:
    """Close every open run of a session."""
    while (row := tx.one("open_runs", session=session.id)) is not None:
        session = close(tx, session, row, Ending(outcome=outcome))
    return session


def end_turn(tx: Tx, session: Session, outcome: Outcome, reason: str) -> Session:
    """Write what a session is after one of its runs was closed; complete it if that was the last thing open."""
    tx.run("runs_forgotten", session=session.id, before=tx.now - PRUNE_AFTER_MS)
    while (row := tx.one("open_runs", session=session.id)) is not None and _is_told(row):
        session = close(tx, session, row, Ending(outcome=Outcome.OK))
    left = [rows.run(row) for row in tx.all("open_runs", session=session.id)]
    if left:
        return _next_turn(tx, session, left, reason)
    if session.policy.is_conversation:
        return _rest(tx, session, reason)
    session = sessions.change(tx, session, reason, turn_at=None, running_at=None)
    if tx.one("live_children", id=session.id):
        return session
    return complete(tx, session, outcome, reason)


def complete(tx: Tx, session: Session, outcome: Outcome, reason: str) -> Session:
    """Complete an ephemeral session: everything open in it is closed, everything open below it is cancelled.

    A parent that was only waiting for this child completes with it.
    """
    session = _complete_tree(tx, session, outcome, reason)
    parent_row = tx.one("session_by_id", id=session.parent) if session.parent else None
    parent = rows.session(parent_row) if parent_row else None
    if parent and parent.is_live and parent.turn_at is None and not parent.policy.is_conversation:
        last = tx.one("last_outcome", session=parent.id)
        if last and not tx.one("live_children", id=parent.id):
            complete(tx, parent, Outcome(last[0]), reason)
    return session


def _complete_tree(tx: Tx, session: Session, outcome: Outcome, reason: str) -> Session:
    cancel_children(tx, session, reason)
    session = close_all(tx, sessions.by_id(tx, session.id), outcome)
    group = session.cap_group
    if group and session.policy is PolicyName.CRON:
        group = f"{group}:{'ok' if outcome is Outcome.OK else 'failed'}"
    session = sessions.change(
        tx,
        session,
        reason,
        state=State.COMPLETED,
        outcome=outcome,
        since_at=tx.now,
        turn_at=None,
        running_at=None,
        cap_group=group,
    )
    spawns.deliver(tx, session, outcome)
    reports.session_ended(tx, session, outcome)
    return session


def end_conversation_turn(tx: Tx, session: Session, outcome: Outcome, reason: str) -> Session:
    """Close every open run of a conversation; the conversation itself goes on."""
    if session.turn_at is None:
        return session
    return _rest(tx, close_all(tx, session, outcome), reason)


def time_out(tx: Tx, session: Session) -> Session:
    """End the run of a conversation that has the turn; what is queued behind it has its own turn next."""
    open_runs = tx.all("open_runs", session=session.id)
    if not open_runs:
        return session
    turn = next((row for row in open_runs if rows.run(row).state is not RunState.QUEUED), open_runs[0])
    ending = Ending(outcome=Outcome.TIMED_OUT, error="the turn took longer than it may")
    session = close(tx, session, turn, ending)
    return end_turn(tx, session, Outcome.TIMED_OUT, "due")


def cancel_children(tx: Tx, session: Session, reason: str) -> None:
    """Cancel everything open below a session."""
    for row in tx.all("live_children", id=session.id):
        child = rows.session(row)
        if child.policy.is_conversation:
            end_conversation_turn(tx, child, Outcome.CANCELLED, reason)
        else:
            _complete_tree(tx, child, Outcome.CANCELLED, reason)


def notice(tx: Tx, session: Session, run: RunId, text: str) -> Session:
    """Tell the reader of a transcript something that no model sees."""
    return transcript.append(tx, session, run, [Notice(text=text)]).session if text else session


def _is_told(row: Row) -> bool:
    """Whether a run is queued that only holds what somebody else has answered, so that no model is needed."""
    run = rows.run(row)
    if run.state is not RunState.QUEUED or run.origin is not Origin.FIRING:
        return False
    return all(isinstance(body, Assistant) for body in bodies_of(rows.prompt_of(row)))


def _rest(tx: Tx, session: Session, reason: str) -> Session:
    """Write a conversation between two turns: it is active, even if its first run was closed before a claim."""
    return sessions.change(tx, session, reason, state=State.ACTIVE, turn_at=None, running_at=None)


def _next_turn(tx: Tx, session: Session, left: list[Run], reason: str) -> Session:
    if any(run.state in {RunState.RUNNING, RunState.WAITING} for run in left):
        return session
    return sessions.change(tx, session, reason, turn_at=tx.now, running_at=None)
