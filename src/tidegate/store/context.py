"""What of a conversation a model still reads, and what takes the place of the rest."""

from collections.abc import Sequence

import msgspec

from tidegate.domain.entry import Entry, Summary
from tidegate.domain.run import Usage
from tidegate.domain.session import Session
from tidegate.store.segments import Segment


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a model reads of a transcript: the summary, what is read beside it, and the entries that it leaves out."""

    pinned: Sequence[Entry] = ()
    summary: Entry | None = None
    #: the newest of them, without summaries
    entries: Sequence[Entry] = ()
    #: these are all of them
    is_whole: bool = True


class Replacement(msgspec.Struct, frozen=True, kw_only=True):
    """A summary and what it takes the place of, which goes into segments in the same step."""

    summary: Summary
    #: the summary that it was made from
    before: int | None
    #: the hot entries up to `Summary.through`, packed
    segments: Sequence[Segment]
    usage: Usage
    model: str


class Renewed(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that has begun afresh, and the one before it, under the key that it has now."""

    session: Session
    #: None where nothing had been said
    former: Session | None
