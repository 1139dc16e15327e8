"""The head of one session: born, changed, dated, deleted. Every transition of the house ends in `change`."""

from contextlib import suppress

import msgspec

from tidegate.domain import policy
from tidegate.domain.policy import Policy
from tidegate.domain.session import DueTo, PolicyName, Session, State
from tidegate.errors import Corrupt, SessionExists, SessionNotFound, TooManySessions, WrongState
from tidegate.ids import SessionId, ulid
from tidegate.store import events, rows
from tidegate.store.admission import Birth
from tidegate.store.tx import Reads, Transition, Tx

ABSENT = "none"  # stands for "before birth" and is the first state of every transition count
DELETED = "deleted"


def by_id(reads: Reads, session: SessionId) -> Session:
    """Return a session.

    Raises:
        SessionNotFound: It is not there.
    """
    row = reads.one("session_by_id", id=session)
    if row is None:
        raise SessionNotFound(f"there is no session {session!r}")
    return rows.session(row)


def tell(tx: Tx, row: rows.Row | None) -> None:
    """Say how a session is now, if it can be said: it may be the very row that cannot be read."""
    with suppress(Corrupt):
        if row is not None:
            head = rows.session(row)
            tx.effects.heads[head.key] = head


def rules_of(tx: Tx, session: Session) -> Policy:
    """Return the policy that a session lives under."""
    return tx.policies[session.policy]


def check_room(tx: Tx, name: PolicyName) -> None:
    """Let one more session of a policy live.

    Raises:
        TooManySessions: As many as the policy allows live already.
    """
    limit = tx.policies[name].max_running
    live = tx.one("live_count", policy=name)
    if limit is not None and live and live[0] >= limit:
        raise TooManySessions(
            f"{live[0]} sessions of kind {name} are running, as many as its policy allows",
            hint=f"wait, or raise max_running in [lifecycle.{name}]",
        )


def create(tx: Tx, key: str | None, birth: Birth, title: str, snapshot: str | None = None) -> Session:
    """Create a session whose first turn starts now; from birth it has the date of its next step."""
    session_id = SessionId(ulid(tx.now))
    parent = by_id(tx, birth.parent) if birth.parent else None
    unborn = Session(
        id=session_id,
        key=key or f"{birth.policy.kind}:{session_id}",
        policy=birth.policy,
        state=State.CREATED,
        outcome=None,
        parent=birth.parent,
        cap_group=birth.cap_group or (f"children:{birth.parent}" if birth.parent else None),
        agent=birth.agent,
        title=title,
        created_at=tx.now,
        updated_at=tx.now,
        since_at=tx.now,
        turn_at=tx.now,
        running_at=None,
        due_at=None,
        due_to=None,
        entries=0,
        cold_through=0,
        bytes=0,
        pinned=False,
        version=1,
        max_runtime_ms=birth.max_runtime_ms,
        root=None if parent is None else parent.root or parent.id,
        depth=0 if parent is None else parent.depth + 1,
        snapshot=snapshot,
    )
    born = _dated(tx, unborn)
    tx.run("session_born", **_values(born))
    tx.effects.heads[born.key] = born
    tx.effects.transitions[Transition(ABSENT, born.state, "created")] += 1
    events.born(tx, born)
    tx.effects.born[born.policy] += 1
    return born


def change(tx: Tx, before: Session, reason: str, **changes: object) -> Session:
    """Write a changed head with the date that its policy, or the cap of its group, gives it.

    Every transition ends here.
    """
    after = _dated(tx, msgspec.structs.replace(before, version=before.version + 1, **changes))
    tx.run("session_moved", **_values(after))
    tx.effects.heads[after.key] = after
    if after.state is not before.state:
        tx.effects.transitions[Transition(before.state, after.state, reason)] += 1
        events.moved(tx, after, reason)
    return after if after.is_live else enforce_cap(tx, after)


def adopt(tx: Tx, before: Session, snapshot: str | None) -> Session:
    """Let a session refer to other skills; the transition that follows shows it."""
    if before.snapshot == snapshot:
        return before
    tx.run("session_adopted", id=before.id, snapshot=snapshot)
    return msgspec.structs.replace(before, snapshot=snapshot)


def instruct(tx: Tx, before: Session, instructions: str) -> Session:
    """Note what the client of a session has instructed last; the transition that follows shows it."""
    tx.run("session_instructed", id=before.id, instructions=instructions)
    return msgspec.structs.replace(before, instructions=instructions)


def rename(tx: Tx, before: Session, key: str) -> Session:
    """Give a session another key; nobody finds it under its own any more."""
    if tx.one("session_by_key", key=key) is not None:
        raise SessionExists(f"there is a session {key!r} already", hint="delete it first")
    row = tx.one("session_renamed", id=before.id, key=key)
    if row is None:
        raise SessionNotFound
    after = rows.session(row)
    tx.effects.heads[before.key] = None
    tx.effects.heads[after.key] = after
    tx.effects.renamed.append(after.id)
    return after


def entitle(tx: Tx, before: Session, title: str) -> Session:
    """Give a session without a title one; the transition that follows shows it."""
    if before.title or not title:
        return before
    tx.run("session_titled", id=before.id, title=title)
    return msgspec.structs.replace(before, title=title)


def summarise(tx: Tx, before: Session, summary_seq: int | None) -> Session:
    """Write where the summary stands. The date of the session stays, whoever gave it."""
    after = msgspec.structs.replace(before, summary_seq=summary_seq, version=before.version + 1)
    tx.run("session_moved", **_values(after))
    tx.effects.heads[after.key] = after
    return after


def freeze(tx: Tx, before: Session, *, cold_through: int, size: int) -> Session:
    """Write a head whose entries went into segments. Its date stays, whoever gave it."""
    after = msgspec.structs.replace(before, cold_through=cold_through, bytes=size, version=before.version + 1)
    tx.run("session_moved", **_values(after))
    tx.effects.heads[after.key] = after
    return after


def grow(tx: Tx, before: Session, *, entries: int, size: int) -> Session:
    """Write a head after an append. Its date stays: a sweep asks again before it moves a live session."""
    after = msgspec.structs.replace(
        before, updated_at=tx.now, entries=entries, bytes=before.bytes + size, version=before.version + 1
    )
    tx.run(
        "session_grew",
        id=after.id,
        updated_at=after.updated_at,
        entries=after.entries,
        bytes=after.bytes,
        version=after.version,
    )
    tx.effects.heads[after.key] = after
    return after


def date(tx: Tx, session: Session, due_at: int | None, due_to: DueTo | None) -> Session:
    """Write another date than the policy's: a refused move, a postponed one, a cap."""
    row = tx.one("session_dated", id=session.id, due_at=due_at, due_to=due_to)
    if row is None:
        raise SessionNotFound
    after = rows.session(row)
    tx.effects.heads[after.key] = after
    return after


def enforce_cap(tx: Tx, session: Session) -> Session:
    """Date the oldest finished sessions of a group above its cap for deletion now; pinned ones stay but count.

    Return the session as it is then: it may be one of those.
    """
    keep = rules_of(tx, session).keep
    if keep is None or session.cap_group is None:
        return session
    size = tx.one("group_size", cap_group=session.cap_group)
    excess = (size[0] if size else 0) - keep
    if excess > 0:
        for row in tx.all("group_oldest", cap_group=session.cap_group, excess=excess):
            dated = date(tx, rows.session(row), tx.now, DueTo.DELETED)
            session = dated if dated.id == session.id else session
    return session


def pin(tx: Tx, session_id: SessionId, *, pinned: bool) -> Session:
    """Pin or unpin; after an unpin the time of the present state counts from now."""
    session = by_id(tx, session_id)
    if session.pinned == pinned:
        return session
    return change(tx, session, "pin", pinned=pinned, since_at=session.since_at if pinned else tx.now)


def restore(tx: Tx, session_id: SessionId) -> Session:
    """Bring an archived session back; its entries stay where they are and are read from there."""
    session = by_id(tx, session_id)
    if session.state is not State.ARCHIVED:
        raise WrongState(f"session {session.key!r} is {session.state}, not archived")
    if not session.policy.is_conversation:
        return change(tx, session, events.RESTORED, state=State.COMPLETED, since_at=tx.now)
    check_room(tx, session.policy)
    return change(tx, session, events.RESTORED, state=State.ACTIVE, since_at=tx.now)


def delete(tx: Tx, session: Session, reason: str) -> None:
    """Delete a session that has nobody below it; its rows, and blobs nobody else refers to, go with it."""
    tx.run("session_gone", id=session.id)
    tx.effects.heads[session.key] = None
    tx.effects.gone.append(session.id)
    tx.effects.transitions[Transition(session.state, DELETED, reason)] += 1
    events.gone(tx, session)


def _dated(tx: Tx, session: Session) -> Session:
    step = policy.next_step(session, rules_of(tx, session))
    return msgspec.structs.replace(session, due_at=step.due_at, due_to=step.due_to)


def _values(session: Session) -> dict[str, rows.Value]:
    return msgspec.structs.asdict(session)
