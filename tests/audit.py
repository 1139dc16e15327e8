"""Looks at a store's file with an eye of its own and compares what it finds with what the store says.

It reads with plain SQL and past the cache, between two writes, so that it sees what a new start would see.
"""

from collections import Counter
from pathlib import Path

import apsw

from tidegate.clock import Clock
from tidegate.domain.policy import Policies, next_step
from tidegate.domain.run import Lane, RunState
from tidegate.domain.session import DueTo, PolicyName, Session, State
from tidegate.store import rows
from tidegate.store.sqlite import NAME, SqliteStore

HELD_BACK = """
WITH RECURSIVE tree (top, id) AS (
    SELECT id, id FROM sessions UNION ALL SELECT t.top, s.id FROM sessions s JOIN tree t ON s.parent = t.id
)
SELECT DISTINCT t.top FROM tree t JOIN sessions s ON s.id = t.id
WHERE s.pinned OR s.turn_at IS NOT NULL
   OR (s.state IN ('created', 'active') AND s.policy NOT IN ('chat', 'api_named'))
"""
NUMBERED = """
SELECT s.id, s.entries, s.cold_through, s.bytes,
    (SELECT count(*) FROM entries e WHERE e.session = s.id AND e.seq > s.cold_through),
    (SELECT coalesce(sum(length(body)), 0) FROM entries e WHERE e.session = s.id AND e.seq > s.cold_through)
    + (SELECT coalesce(sum(length(body)), 0) FROM segments g WHERE g.session = s.id),
    (SELECT coalesce(sum(last_seq - first_seq + 1), 0) FROM segments g WHERE g.session = s.id)
FROM sessions s
"""
COUNTS = {
    "blobs": "SELECT count(*) FROM blobs",
    "blob_bytes": "SELECT coalesce(sum(length(body)), 0) FROM chunks",
    "references": "SELECT (SELECT count(*) FROM session_blobs) + (SELECT count(*) FROM snapshot_skills)",
    "snapshots": "SELECT count(*) FROM snapshots",
    "segments": "SELECT count(*) FROM segments",
    "segment_bytes": "SELECT coalesce(sum(length(body)), 0) FROM segments",
    "receipts": "SELECT count(*) FROM receipts",
}


class Audit:
    """One connection of its own to the file of a store."""

    def __init__(self, folder: Path) -> None:
        self._connection = apsw.Connection(str(folder / NAME), flags=apsw.SQLITE_OPEN_READONLY)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def heads(self) -> dict[str, Session]:
        """Return every session by its id, as its row says."""
        found = (rows.session(row) for row in self._all("SELECT * FROM sessions"))
        return {session.id: session for session in found}

    def held(self) -> set[str]:
        """Return the sessions that something pinned or running in their tree keeps from being deleted."""
        return {row[0] for row in self._all(HELD_BACK)}

    def snapshots(self) -> dict[str, list[str]]:
        """Return the names of the skills of each snapshot, as the rows say."""
        found: dict[str, list[str]] = {row[0]: [] for row in self._all("SELECT hash FROM snapshots")}
        for snapshot, name in self._all("SELECT snapshot, name FROM snapshot_skills"):
            found[snapshot].append(name)
        return found

    def check(self, store: SqliteStore, heads: dict[str, Session]) -> None:
        """Compare counts, caches and numbers with the rows."""
        for session in heads.values():
            assert store.session(session.key) == session
            assert store.session(session.key) is store.session_by_id(session.id)
            # I3: a date from birth on
            assert session.policy is PolicyName.CHAT or session.pinned or session.due_at is not None
            # what is pinned and rests has none
            assert not session.pinned or session.is_running or session.due_at is None
        self._check_trees(heads)
        # I2, I6: snapshots are those that sessions have, each once, and each blob somebody refers to
        assert set(self.snapshots()) == {one.snapshot for one in heads.values() if one.snapshot}
        referred = self._all("SELECT hash FROM session_blobs UNION SELECT blob FROM snapshot_skills")
        assert set(referred) == set(self._all("SELECT hash FROM blobs"))
        self._check_tallies(store, heads)
        for _, entries, cold_through, size, hot, hot_and_cold, frozen in self._all(NUMBERED):
            assert (hot, frozen, hot_and_cold) == (entries - cold_through, cold_through, size)
        # I10: one running run for each session
        assert not self._all(
            "SELECT session FROM runs WHERE state IN ('running', 'waiting') GROUP BY 1 HAVING count(*) > 1"
        )

    def _check_trees(self, heads: dict[str, Session]) -> None:
        """See that what ended has nothing open below it, and that what lives has something to live for."""
        live = {session.id: session for session in heads.values() if session.is_live}
        parents = {session.parent for session in live.values()}
        for session in live.values():
            if session.parent is not None:
                assert session.parent in live or heads[session.parent].policy.is_conversation
            assert session.policy.is_conversation or session.turn_at is not None or session.id in parents

    def _check_tallies(self, store: SqliteStore, heads: dict[str, Session]) -> None:
        tallies = store.tallies()
        count: Counter[tuple[PolicyName, State]] = Counter()
        size: Counter[tuple[PolicyName, State]] = Counter()
        for session in heads.values():
            count[session.policy, session.state] += 1
            size[session.policy, session.state] += session.bytes
        assert tallies.sessions == {place: (count[place], size[place]) for place in tallies.sessions}
        runs = {
            (row[0], row[1]): row[2]
            for row in self._all("SELECT lane, state, count(*) FROM runs GROUP BY 1, 2")
        }
        assert {place: number for place, number in tallies.runs.items() if number} == {
            (Lane(lane), RunState(state)): number for (lane, state), number in runs.items()
        }
        approvals = {row[0]: row[1] for row in self._all("SELECT state, count(*) FROM approvals GROUP BY 1")}
        assert {state: count for state, count in tallies.approvals.items() if count} == approvals
        for name, query in COUNTS.items():
            assert getattr(tallies, name) == self._all(query)[0][0], name

    def check_dates(self, heads: dict[str, Session], policies: Policies, clock: Clock) -> None:
        """See that no live session's stored date lies behind the one that its policy gives: it would be late."""
        for session in heads.values():
            step = next_step(session, policies[session.policy])
            if session.is_live and step.due_at is not None and step.due_at > clock.now():
                assert session.due_at is not None
                assert session.due_at <= step.due_at

    def check_caps(self, heads: dict[str, Session], policies: Policies) -> None:
        """See that no group holds more than its policy keeps, but for what is pinned, held or about to go."""
        held = self.held()
        groups: dict[str, list[Session]] = {}
        for session in heads.values():
            if session.cap_group is not None and not session.is_live:
                groups.setdefault(session.cap_group, []).append(session)
        for group in groups.values():
            keep = policies[group[0].policy].keep
            may_stay = sum(session.id in held or _is_doomed(session, policies) for session in group)
            assert keep is None or len(group) - keep <= may_stay

    def _all(self, query: str) -> list[rows.Row]:
        return list[rows.Row](self._connection.execute(query).fetchall())


def _is_doomed(session: Session, policies: Policies) -> bool:
    """Whether something else than time has dated a session for deletion."""
    step = next_step(session, policies[session.policy])
    return session.due_to is DueTo.DELETED and step != (session.due_at, session.due_to)
