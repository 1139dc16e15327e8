"""Moves of sessions from one state to the next, and how they came out."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from tidegate.domain.session import DueTo, Session
from tidegate.ids import SessionId
from tidegate.store.segments import Segment


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a session's life that a sweep or a person wants carried out."""

    session: Session
    to: DueTo
    #: whose wish it is: by date, the date is asked again and the move may be postponed
    is_asked: bool = False
    #: for a move to archived: the hot entries, packed
    segments: Sequence[Segment] = ()


class Settled(StrEnum):
    """What became of a move."""

    DONE = "done"
    #: one session below it was deleted; ask again
    PROGRESS = "progress"
    #: some of what hangs on it was dealt with, and more is left; ask again
    SLICE = "slice"
    #: its date lies in the future after all
    POSTPONED = "postponed"
    #: something running or pinned holds it; it comes back in 30 s
    REFUSED = "refused"
    #: the session has changed since it was read, or is gone; nothing was touched
    LOST = "lost"


class Evictable(NamedTuple):
    """A finished session that may go to make room, and about how much of it that would be."""

    id: SessionId
    bytes: int
