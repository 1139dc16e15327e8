"""A compaction: a summary takes the place of the older entries of a transcript, which stay readable."""

from enum import StrEnum

import msgspec

from tidegate.ids import RunId, SessionId


class Reason(StrEnum):
    """Why a transcript is compacted."""

    #: it is about to be too long for the model
    THRESHOLD = "threshold"
    #: the provider says that it is too long
    OVERFLOW = "overflow"
    #: a person asked for it
    ASKED = "asked"


class CompactionOutcome(StrEnum):
    """What became of a compaction."""

    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    #: there was nothing whose summary would have been shorter
    NOTHING = "nothing"


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """What those are told who are called before and after one: ids, counts and cursors, never a text."""

    session: SessionId
    key: str
    agent: str
    run: RunId
    reason: Reason
    #: the entries that the summary takes the place of, the last one included
    first_seq: int
    last_seq: int
    entries: int
    #: of these entries, as estimated
    tokens: int
    #: where the summary stands; None before it is made
    summary_seq: int | None = None
