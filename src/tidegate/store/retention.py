"""What is due: the transactions that a sweep carries out, in slices that other writers can wait for."""

from contextlib import suppress

import msgspec

from tidegate.domain import policy
from tidegate.domain.policy import REFUSED_AGAIN_MS
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session, State
from tidegate.errors import Corrupt, SessionPinned, SessionRunning
from tidegate.ids import SessionId
from tidegate.store import approvals, aside, facts, jobs, outbox, rows, sessions, turns, usage
from tidegate.store.facts import FactRules
from tidegate.store.move import Move, Settled
from tidegate.store.segments import Segment
from tidegate.store.tx import Tx

SLICE_ROWS = 200


def settle(tx: Tx, move: Move, rules: FactRules) -> Settled:
    """Carry out one move if its session is as it was read; *rules* say what becomes of the facts it has said."""
    row = tx.one("session_by_id", id=move.session.id)
    session = rows.session(row) if row else None
    if session is None or session.version != move.session.version:
        return Settled.LOST
    if not move.is_asked and _is_early(tx, session):
        return Settled.POSTPONED
    match move.to:
        case DueTo.COMPLETED:
            return _complete(tx, session)
        case DueTo.ARCHIVED:
            return _archive(tx, session, move)
        case DueTo.DELETED:
            return _delete(tx, session, move, rules)


def postpone(tx: Tx, session_id: SessionId) -> None:
    """Date a session that cannot be moved now for another try."""
    session = sessions.by_id(tx, session_id)
    if session.due_to is not None:
        sessions.date(tx, session, tx.now + REFUSED_AGAIN_MS, session.due_to)


def freeze(tx: Tx, session_id: SessionId, segments: list[Segment]) -> Settled:
    """Put the oldest hot entries of a session into segments; it lives on."""
    session = sessions.by_id(tx, session_id)
    if not segments or segments[0].first_seq != session.cold_through + 1:
        return Settled.LOST
    keep(tx, session, segments)
    return Settled.DONE


def keep(tx: Tx, session: Session, segments: list[Segment]) -> Session:
    """Store segments; the hot rows that they stand for go in slices, once they have been verified."""
    if not segments:
        return session
    _store(tx, session, segments)
    tx.run("trim_wanted", session=session.id)
    raw = sum(segment.raw_bytes - (segment.last_seq - segment.first_seq) for segment in segments)
    packed = sum(len(segment.body) for segment in segments)
    return sessions.freeze(tx, session, cold_through=segments[-1].last_seq, size=session.bytes - raw + packed)


def plant(tx: Tx, session: Session, segments: list[Segment]) -> Session:
    """Let a session without entries begin with segments."""
    if not segments:
        return session
    _store(tx, session, segments)
    last, size = segments[-1].last_seq, sum(len(segment.body) for segment in segments)
    planted = msgspec.structs.replace(session, entries=last)
    return sessions.freeze(tx, planted, cold_through=last, size=size)


def trim(tx: Tx, session_id: SessionId, through: int) -> bool:
    """Remove a slice of hot rows that segments hold; the caller has compared the two up to a seq."""
    tx.run("trim_slice", session=session_id, through=through)
    tx.run("trim_done", session=session_id)
    return tx.one("trim_left", session=session_id) is not None


def redate(tx: Tx, name: PolicyName, after: SessionId | None) -> SessionId | None:
    """Give the next slice of sessions of a policy the dates and caps of the policy as it is now."""
    found: list[rows.Row] = []
    for state in State:
        query = {"policy": name.value, "state": state.value, "after": after or "", "limit": SLICE_ROWS}
        found += tx.all("of_policy", **query)
    slice_ = sorted(found, key=lambda row: str(row[0]))[:SLICE_ROWS]
    page: list[Session] = []
    for row in slice_:
        with suppress(Corrupt):  # the sweep names what cannot be read
            page.append(rows.session(row))
    for session in page:
        step = policy.next_step(session, sessions.rules_of(tx, session))
        if step != (session.due_at, session.due_to):
            sessions.date(tx, session, step.due_at, step.due_to)
    for session in {session.cap_group: session for session in page if not session.is_live}.values():
        sessions.enforce_cap(tx, session)
    return SessionId(slice_[-1][0]) if slice_ else None


def tidy(tx: Tx, rules: FactRules) -> int:
    """Forget a slice of what has expired; questions that nobody has answered in time count as answered."""
    gone = usage.tidy(tx) + tx.run("receipts_expired", now=tx.now)
    gone += jobs.tidy(tx) + aside.tidy(tx)
    gone += outbox.expire(tx) + facts.tidy(tx, rules)
    return gone + approvals.lapse(tx) + tx.run("approvals_forgotten", now=tx.now)


def _is_early(tx: Tx, session: Session) -> bool:
    """Ask the policy again for a live session, whose date is not rewritten at each entry."""
    if not session.is_live:
        return session.due_at is None or session.due_at > tx.now
    step = policy.next_step(session, sessions.rules_of(tx, session))
    if step.due_at is not None and step.due_at <= tx.now:
        return False
    sessions.date(tx, session, step.due_at, step.due_to)
    return True


def _complete(tx: Tx, session: Session) -> Settled:
    if session.policy.is_conversation:
        turns.time_out(tx, session)
    elif session.is_live:
        turns.complete(tx, session, Outcome.TIMED_OUT, "due")
    return Settled.DONE


def _archive(tx: Tx, session: Session, move: Move) -> Settled:
    if session.state is State.ARCHIVED:
        return Settled.DONE
    if session.is_running or session.pinned:
        return _refuse(tx, session, move)
    through = move.segments[-1].last_seq if move.segments else session.cold_through
    if through != session.entries:
        return Settled.LOST
    session = keep(tx, session, list(move.segments))
    sessions.change(tx, session, _reason(move), state=State.ARCHIVED, since_at=tx.now)
    return Settled.DONE


def _store(tx: Tx, session: Session, segments: list[Segment]) -> None:
    for segment in segments:
        tx.run(
            "segment_born",
            session=session.id,
            first_seq=segment.first_seq,
            last_seq=segment.last_seq,
            digest=segment.digest,
            raw_bytes=segment.raw_bytes,
            body=segment.body,
        )


def _delete(tx: Tx, session: Session, move: Move, rules: FactRules) -> Settled:
    holder = tx.one("holder_in_tree", id=session.id)
    if holder is not None:
        return _refuse(tx, session, move, rows.session(holder))
    leaf = session
    while (row := tx.one("first_child", id=leaf.id)) is not None:
        leaf = rows.session(row)
    if facts.let_go(tx, leaf.id, rules):
        return Settled.SLICE
    sessions.delete(tx, leaf, _reason(move))
    return Settled.DONE if leaf is session else Settled.PROGRESS


def _refuse(tx: Tx, session: Session, move: Move, holder: Session | None = None) -> Settled:
    if not move.is_asked:
        sessions.date(tx, session, tx.now + REFUSED_AGAIN_MS, move.to)
        return Settled.REFUSED
    holder = holder or session
    if holder.is_running:
        raise SessionRunning(f"session {holder.key!r} is running", hint="cancel it first")
    raise SessionPinned(f"session {holder.key!r} is pinned", hint="unpin it first")


def _reason(move: Move) -> str:
    return "asked" if move.is_asked else "due"
