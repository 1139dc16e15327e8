"""What weighs most in the store: sessions, jobs by what their sessions hold, skills, tables."""

from collections.abc import Sequence

import msgspec

from tidegate.domain.session import Kind, State

TOP = 10


class HeavySession(msgspec.Struct, frozen=True, kw_only=True):
    """A session with its transcript and the large texts that it refers to; several may refer to the same one."""

    key: str
    kind: Kind
    state: State
    entries: int
    bytes: int


class HeavyJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job, which may have gone since, and the sessions that it has made; where it writes to a chat it made none."""

    name: str
    sessions: int
    bytes: int
    #: remembered instants, a few of the last ones alone
    firings: int


class HeavySkill(msgspec.Struct, frozen=True, kw_only=True):
    """A skill with all of its versions that some session still has."""

    name: str
    versions: int
    bytes: int


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table; its bytes are those of its pages with its indices, None where the file was not walked."""

    name: str
    rows: int
    bytes: int | None


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """The heaviest of each, heaviest first."""

    sessions: Sequence[HeavySession] = ()
    jobs: Sequence[HeavyJob] = ()
    skills: Sequence[HeavySkill] = ()
    #: where the file is too large to be walked the most rows first, and those alone that are counted anyway
    tables: Sequence[Table] = ()
    #: how many sessions were looked at, the newest ones, and whether those were all
    looked_at: int = 0
    is_all: bool = True
