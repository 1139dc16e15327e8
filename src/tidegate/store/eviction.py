"""Who goes to make room: which finished sessions there are to choose from, and the dates of those that are chosen.

Choosing reads on a reader's thread; dating is one short transaction, which looks again. A sweep carries it out.
"""

import heapq
from collections.abc import Sequence
from itertools import islice

from tidegate.domain.session import DueTo, State
from tidegate.domain.storage import Group
from tidegate.ids import SessionId
from tidegate.store import rows, sessions
from tidegate.store.move import Evictable
from tidegate.store.tx import Reads, Tx

FINISHED = (State.COMPLETED, State.ARCHIVED)


def evictable(reads: Reads, group: Group, after: SessionId, before: int, limit: int) -> list[Evictable]:
    """Return sessions of a group that may go, oldest first; ids are in the order of birth."""
    parts = (
        reads.all(
            "evictable",
            policy=group.policy,
            state=state,
            is_ok=group.is_ok,
            after=after,
            before=before,
            limit=limit,
        )
        for state in FINISHED
    )
    merged = heapq.merge(*parts, key=lambda row: str(row[0]))
    return [Evictable(SessionId(row[0]), int(row[1])) for row in islice(merged, limit)]


def doom(tx: Tx, chosen: Sequence[SessionId]) -> int:
    """Date those of some sessions for deletion now that may go, and say how many that were."""
    return sum(_doom(tx, session) for session in chosen)


def _doom(tx: Tx, session_id: SessionId) -> bool:
    row = tx.one("session_by_id", id=session_id)
    session = rows.session(row) if row else None
    if session is None or session.policy.is_conversation or session.state not in FINISHED:
        return False
    if tx.one("holder_in_tree", id=session.id) is not None:
        return False
    sessions.date(tx, session, tx.now, DueTo.DELETED)
    return True
