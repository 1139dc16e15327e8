"""Carries out moves of sessions, however many transactions one takes.

Compressing is done on a reader's thread; the writer only commits segments and, in slices, lets go of the rows that
they stand for.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec

from tidegate import log
from tidegate.domain.session import DueTo, Session
from tidegate.errors import Corrupt, Refused, SessionNotFound, SessionRunning, StoreBroken, Unavailable
from tidegate.ids import SessionId
from tidegate.store.move import Move, Settled
from tidegate.store.port import Store

T = TypeVar("T")

FREEZE_BYTES = 4 << 20  # raw bytes compressed at a time
TRIM_ROWS = 500  # rows removed in one slice
AT_ONCE = (
    16  # sessions compressed or trimmed side by side; each may hold `FREEZE_BYTES` while it is compressed
)

_log = log.get("mover")


class Carried(NamedTuple):
    """What became of a move, and how many sessions moved on the way."""

    settled: Settled
    steps: int


async def carry_out(store: Store, moves: Sequence[Move]) -> list[Carried]:
    """Carry out moves and say what became of each."""
    ready = await _side_by_side([partial(_prepared, store, move) for move in moves])
    settled = iter(await store.settle([move for move in ready if move is not None]))
    return [await _finished(store, move, next(settled) if move else Settled.REFUSED) for move in ready]


async def archive(store: Store, session: Session) -> Session:
    """Archive a session now.

    Raises:
        SessionRunning, SessionPinned: It may not be archived now.
        SessionNotFound: It has gone meanwhile.
        Corrupt: It cannot be read.
    """
    return await _now(store, session, DueTo.ARCHIVED)


async def retire(store: Store, session: SessionId) -> None:
    """Archive a conversation that has lost its key, if nothing holds it; otherwise its date is as good."""
    head = store.session_by_id(session)
    try:
        if head is not None and not head.is_running and not head.pinned:
            await archive(store, head)
    except (Refused, Unavailable, Corrupt) as error:
        _log.info("not_archived", session=session, error=error.message)


async def delete(store: Store, session: Session) -> Session:
    """Delete a session and everything below it now, and return it as it was.

    Raises:
        SessionRunning, SessionPinned: Something in the tree may not be deleted now.
    """
    return await _now(store, session, DueTo.DELETED)


async def trim_all(store: Store) -> None:
    """Remove the rows that segments stand for; a session whose segments do not verify keeps its rows."""
    after = SessionId("")
    while found := await store.trims(after, 100):
        await trim(store, found)
        after = found[-1]


async def trim(store: Store, sessions: Sequence[SessionId]) -> None:
    """Do the same for some sessions."""
    await _side_by_side([partial(_trim, store, session) for session in sessions])


async def _trim(store: Store, session: SessionId) -> None:
    try:
        while await store.trim(session):
            pass
    except Corrupt as error:
        _log.error("segment_differs", session=session, error=str(error))
    except SessionNotFound:
        return
    except (Unavailable, StoreBroken):
        raise
    except Exception as error:  # noqa: BLE001 - the wall of one session: the others are trimmed all the same
        _log.error("not_trimmed", session=session, error=f"{type(error).__name__}: {error}")


async def _finished(store: Store, move: Move | None, settled: Settled) -> Carried:
    """Go on with a move that takes several transactions."""
    steps = int(settled in {Settled.DONE, Settled.PROGRESS})
    while move is not None and settled in {Settled.PROGRESS, Settled.SLICE}:
        (settled,) = await store.settle([move])
        steps += settled in {Settled.DONE, Settled.PROGRESS}
    return Carried(settled, steps)


async def _now(store: Store, session: Session, to: DueTo) -> Session:
    """Carry out an asked move; one that lost a race is tried again on the session as it is then."""
    for _ in range(5):
        move = Move(session=session, to=to, is_asked=True)
        if to is DueTo.ARCHIVED:
            move = await _ready(store, move)  # a person is told what cannot be read
        (carried,) = await carry_out(store, [move])
        if carried.settled is Settled.DONE:
            return session if to is DueTo.DELETED else _again(store, session)
        session = _again(store, session)
    raise SessionRunning(f"session {session.key!r} is busy", hint="try again")


def _again(store: Store, session: Session) -> Session:
    head = store.session(session.key)
    if head is None or head.id != session.id:
        raise SessionNotFound(f"session {session.key!r} has gone meanwhile")
    return head


async def _side_by_side(works: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """Do some works, a few at a time so that they share commits, and return what each gave, in order."""
    results: list[T] = []
    for start in range(0, len(works), AT_ONCE):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for work in works[start : start + AT_ONCE]]
        results += [task.result() for task in tasks]
    return results


async def _prepared(store: Store, move: Move) -> Move | None:
    """Compress what a move needs compressed; nothing comes back for a session that cannot be read."""
    try:
        return await _ready(store, move)
    except Corrupt as error:
        _log.error("session_damaged", session=move.session.key, error=str(error))
        return await _despite_damage(store, move)


async def _ready(store: Store, move: Move) -> Move:
    """Compress what a move needs compressed.

    Raises:
        Corrupt: The session cannot be read.
    """
    try:
        if move.to is DueTo.ARCHIVED and not move.session.is_running and not move.segments:
            return await _packed(store, move)
        if move.to is DueTo.DELETED and move.session.hot_entries > TRIM_ROWS:
            return await _emptied(store, move)
    except SessionNotFound:
        pass  # somebody was faster; the store will say that the move is lost
    return move


async def _despite_damage(store: Store, move: Move) -> Move | None:
    """What cannot be read can still be deleted, in one transaction however long; anything else has to wait."""
    try:
        if move.to is DueTo.DELETED:
            return msgspec.structs.replace(move, session=_again(store, move.session))
        await store.postpone(move.session.id)
    except SessionNotFound:
        return move
    return None


async def _packed(store: Store, move: Move) -> Move:
    """Compress the hot entries; all but the last part goes into segments ahead of the move."""
    while move.session.hot_entries:
        segments = await store.pack(move.session.id, FREEZE_BYTES)
        if not segments or segments[-1].last_seq >= move.session.entries:
            return msgspec.structs.replace(move, segments=segments)
        await store.freeze(move.session.id, segments)
        move = msgspec.structs.replace(move, session=_again(store, move.session))
    return move


async def _emptied(store: Store, move: Move) -> Move:
    """Bring a large transcript into segments first, so that deleting it is one short transaction."""
    packed = await _packed(store, move)
    await store.freeze(move.session.id, packed.segments)
    while await store.trim(move.session.id):
        pass
    return msgspec.structs.replace(move, session=_again(store, move.session))
