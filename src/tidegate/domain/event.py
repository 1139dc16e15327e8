"""What is told of the lives of sessions and runs to those who have asked: plugins and webhooks.

An event holds ids, counts, bytes, cursors and times, never a text, a title or an error: whoever wants more asks for it
with the ids. So it is small by construction, whatever it is about.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

import msgspec

from tidegate.clock import iso
from tidegate.domain.run import Lane, Origin, Run
from tidegate.domain.session import Kind, Outcome, Session, State
from tidegate.ids import RunId, SessionId

MAX_BYTES = 2_048  # of an event as JSON
_AGENT_CHARS = 64  # as in the configuration, whatever was imported


class EventName(StrEnum):
    """What may happen to a session or a run."""

    SESSION_CREATED = "session_created"
    #: it was claimed for the first time; going on after a wait or a crash is no start
    RUN_STARTED = "run_started"
    #: it is done, whether it was ever started or not
    RUN_FINISHED = "run_finished"
    BEFORE_COMPACTION = "before_compaction"
    AFTER_COMPACTION = "after_compaction"
    SESSION_COMPLETED = "session_completed"
    SESSION_ARCHIVED = "session_archived"
    SESSION_DELETED = "session_deleted"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that has happened, or is about to; what an event is not about is None."""

    event: EventName
    at: int
    session: SessionId
    key: str
    kind: Kind
    agent: str
    parent: SessionId | None
    #: of the session; a deleted one has the last it had
    state: State
    #: of the run if there is one, else of the session
    outcome: Outcome | None
    #: of the session, ever, and its bytes
    entries: int
    bytes: int
    #: where to read: of a started run its message, of a compaction what it replaces, else all there is
    first_seq: int | None = None
    last_seq: int | None = None
    created_at: int
    run: RunId | None = None
    lane: Lane | None = None
    origin: Origin | None = None
    #: of a compaction: why, how many tokens it replaces, and where its summary stands
    reason: str | None = None
    tokens: int | None = None
    summary_seq: int | None = None
    #: answers of the model, and what they took
    steps: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    #: seq of the answer of a finished run
    reply_seq: int | None = None
    started_at: int | None = None
    finished_at: int | None = None


class Compaction(Protocol):
    """What is told of a compaction by whoever compacts."""

    @property
    def session(self) -> SessionId:
        """Whose transcript."""

    @property
    def run(self) -> RunId:
        """In which run."""

    @property
    def reason(self) -> str:
        """Why, in one word."""

    @property
    def first_seq(self) -> int:
        """The first entry that is replaced."""

    @property
    def last_seq(self) -> int:
        """The last one."""

    @property
    def tokens(self) -> int:
        """How many tokens these have."""

    @property
    def summary_seq(self) -> int | None:
        """Where the summary stands; None before."""


class Audience(msgspec.Struct, frozen=True, kw_only=True):
    """Who has asked for what."""

    #: names of webhooks by event
    webhooks: Mapping[EventName, Sequence[str]] = MappingProxyType({})
    plugins: Collection[EventName] = frozenset()

    def wants(self, name: EventName) -> bool:
        """Whether anybody has asked for it."""
        return name in self.plugins or name in self.webhooks


def of_session(name: EventName, session: Session, at: int) -> Event:
    """Return what has happened to a session."""
    return Event(
        event=name,
        at=at,
        session=session.id,
        key=session.key,
        kind=session.kind,
        agent=session.agent[:_AGENT_CHARS],
        parent=session.parent,
        state=session.state,
        outcome=session.outcome,
        entries=session.entries,
        bytes=session.bytes,
        first_seq=1 if session.entries else None,
        last_seq=session.entries or None,
        created_at=session.created_at,
    )


def of_run(name: EventName, session: Session, run: Run, at: int, first_seq: int | None = None) -> Event:
    """Return what has happened to a run; it has written from *first_seq* on, where that is known."""
    return msgspec.structs.replace(
        of_session(name, session, at),
        outcome=run.outcome,
        first_seq=first_seq,
        run=run.id,
        lane=run.lane,
        origin=run.origin,
        steps=run.steps,
        input_tokens=run.usage.input_tokens,
        output_tokens=run.usage.output_tokens,
        reply_seq=run.reply_seq,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def of_compaction(name: EventName, session: Session, what: Compaction, at: int) -> Event:
    """Return a compaction of a session that is about to begin, or has ended."""
    return msgspec.structs.replace(
        of_session(name, session, at),
        first_seq=what.first_seq,
        last_seq=what.last_seq,
        run=what.run,
        reason=what.reason,
        tokens=what.tokens,
        summary_seq=what.summary_seq,
    )


def told(event: Event) -> Mapping[str, object]:
    """Return an event as webhooks are told of it: without what it is not about, times as text."""
    fields = msgspec.structs.asdict(event).items()
    return {
        key: iso(value) if key.endswith("_at") else value
        for key, value in fields
        if value is not None and key not in {"event", "at"}
    }
