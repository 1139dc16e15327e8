"""Conversations that begin afresh and those that branch off; what was said before stays where it is."""

from tidegate.domain.entry import Notice
from tidegate.domain.session import PolicyName, Session, State
from tidegate.errors import SessionExists, SessionNotFound, WrongState
from tidegate.ids import SessionId
from tidegate.store import retention, rows, sessions, transcript
from tidegate.store.admission import Birth, Excerpt
from tidegate.store.context import Renewed
from tidegate.store.tx import Tx

MAX_KEY_CHARS = 256


def renew(tx: Tx, session_id: SessionId, key: str | None = None) -> Renewed:
    """Let a conversation begin afresh, between two turns; one that has lost its key meanwhile has done so already."""
    session = sessions.by_id(tx, session_id)
    if key is not None and session.key != key:
        holder = tx.one("session_by_key", key=key)
        if holder is None:
            raise SessionNotFound(f"there is no session {key!r}")
        return Renewed(session=rows.session(holder), former=None)
    if not session.policy.is_conversation:
        raise WrongState(
            f"session {session.key!r} is no conversation",
            hint="chats and named api sessions are conversations",
        )
    if not is_used(session):
        return Renewed(session=session, former=None)
    renewed = begin_afresh(tx, session)
    rested = sessions.change(tx, renewed.session, "renewed", state=State.ACTIVE, turn_at=None)
    return Renewed(session=rested, former=renewed.former)


def is_used(session: Session) -> bool:
    """Whether anything has been said in a conversation, or is about to be, but that it is new."""
    return session.entries > 1 or session.turn_at is not None


def begin_afresh(tx: Tx, session: Session) -> Renewed:
    """Give a conversation another key and its own to a new one, whose first turn starts now."""
    sessions.check_room(tx, session.policy)
    former = sessions.rename(tx, session, former_key(session))
    birth = Birth(policy=session.policy, agent=session.agent)
    fresh = sessions.create(tx, session.key, birth, "", session.snapshot)
    told = Notice(text=f"A new conversation. What was said before stands in {former.key}.")
    fresh = transcript.append(tx, fresh, None, [told]).session
    return Renewed(session=fresh, former=former)


def former_key(session: Session) -> str:
    """Return the key that a conversation gets when another one takes its own: no other can have it."""
    return f"{session.key[: MAX_KEY_CHARS - len(session.id) - 1]}~{session.id}"


def fork(tx: Tx, key: str | None, excerpt: Excerpt) -> Session:
    """Make a chat out of a part of another conversation, between two turns."""
    session = branch(tx, key, excerpt)
    return sessions.change(tx, session, "forked", state=State.ACTIVE, turn_at=None)


def branch(tx: Tx, key: str | None, excerpt: Excerpt) -> Session:
    """Make a chat out of a part of another conversation; its first turn starts now."""
    source = sessions.by_id(tx, excerpt.source)
    if key is not None and tx.one("session_by_key", key=key) is not None:
        raise SessionExists(f"there is a session {key!r} already", hint="name another key, or none")
    sessions.check_room(tx, PolicyName.CHAT)
    birth = Birth(policy=PolicyName.CHAT, agent=source.agent)
    session = sessions.create(tx, key, birth, source.title, source.snapshot)
    for name in excerpt.blobs:
        tx.run("reference_born", session=session.id, hash=name)
    session = retention.plant(tx, session, list(excerpt.segments))
    session = sessions.summarise(tx, session, excerpt.summary_seq)
    told = Notice(
        text=f"Branched off from {source.key} before its entry {excerpt.before}, where all of it stands."
    )
    return transcript.append(tx, session, None, [told]).session
