"""Tells of what a transaction does to sessions and runs, where somebody has asked for it.

What webhooks are told is written in that very transaction: it is sent exactly if the thing has happened, within the
bounds of the outbox, of which events may take one half. What plugins are told is handed to listeners after the commit.
Where nobody has asked, this costs one look into a mapping.
"""

from tidegate.domain import event as events
from tidegate.domain.event import Event, EventName
from tidegate.domain.run import Run
from tidegate.domain.session import Session, State
from tidegate.store import outbox
from tidegate.store.tx import Tx

#: bringing a session back is no second end of it
RESTORED = "restored"
_REACHED = {State.COMPLETED: EventName.SESSION_COMPLETED, State.ARCHIVED: EventName.SESSION_ARCHIVED}


def born(tx: Tx, session: Session) -> None:
    """Tell of a new session."""
    _of_session(tx, EventName.SESSION_CREATED, session)


def moved(tx: Tx, session: Session, reason: str) -> None:
    """Tell of a session that has another state now."""
    name = _REACHED.get(session.state)
    if name is not None and reason != RESTORED:
        _of_session(tx, name, session)


def gone(tx: Tx, session: Session) -> None:
    """Tell of a deleted session."""
    _of_session(tx, EventName.SESSION_DELETED, session)


def started(tx: Tx, session: Session, run: Run, first_seq: int) -> None:
    """Tell of a run that was claimed for the first time; its message begins at *first_seq*."""
    if tx.audience.wants(EventName.RUN_STARTED):
        tell(tx, events.of_run(EventName.RUN_STARTED, session, run, tx.now, first_seq))


def finished(tx: Tx, session: Session, run: Run) -> None:
    """Tell of a run that is done."""
    if tx.audience.wants(EventName.RUN_FINISHED):
        tell(tx, events.of_run(EventName.RUN_FINISHED, session, run, tx.now))


def tell(tx: Tx, event: Event) -> None:
    """Tell everybody who has asked; a webhook that there is no room for is counted and holds nothing up."""
    targets = tx.audience.webhooks.get(event.event, ())
    data = events.told(event) if targets else None
    for target in targets:
        outbox.put(tx, target, event.event, data, share=outbox.EVENT_SHARE)
    if event.event in tx.audience.plugins:
        tx.effects.events.append(event)


def _of_session(tx: Tx, name: EventName, session: Session) -> None:
    if tx.audience.wants(name):
        tell(tx, events.of_session(name, session, tx.now))
