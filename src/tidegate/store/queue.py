"""Runs at the end of their queue: a piece of work in a session that is open for it."""

from collections.abc import Sequence

import msgspec

from tidegate.domain.entry import Body
from tidegate.domain.run import Lane, Origin, Run
from tidegate.domain.session import Session, State
from tidegate.errors import RunNotFound
from tidegate.ids import ulid
from tidegate.store import blobs, rows, sessions
from tidegate.store.tx import Tx


def reopen(tx: Tx, session: Session) -> Session:
    """Open a session's turn for one more piece of work; an archived conversation comes back."""
    if session.state is State.ARCHIVED:
        session = sessions.change(tx, session, "continued", state=State.ACTIVE, since_at=tx.now)
    turn_at = tx.now if session.turn_at is None else session.turn_at
    return sessions.change(tx, session, "admitted", turn_at=turn_at, updated_at=tx.now)


def enqueue(tx: Tx, session: Session, lane: Lane, origin: Origin, bodies: Sequence[Body]) -> Run:
    """Queue a run, which holds its message until it is claimed."""
    kept = [blobs.spill(tx, session.id, body)[0] for body in bodies]
    row = tx.one(
        "run_born",
        id=ulid(tx.now),
        session=session.id,
        lane=lane,
        origin=origin,
        created_at=tx.now,
        prompt=msgspec.json.encode(kept),
    )
    if row is None:
        raise RunNotFound
    tx.effects.queued.add(lane)
    return rows.run(row)
