"""What weighs most in the store, for those who want to know what grew.

There is no index for that: sessions are walked from the newest on, a page at a time, so that no reader is held for
long and nothing but the heaviest is held in memory. The walk through the pages of the file, which tells tables apart,
is done where the file is small enough alone.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import apsw

from tidegate.domain.session import PolicyName, State
from tidegate.domain.weight import TOP, HeavySession, HeavySkill, Table
from tidegate.store.connection import SqliteReads
from tidegate.store.tx import Read, Reads

PAGE = 5_000  # sessions
NEWEST = "~"  # sorts after every id
MOST_PAGES = 32_768  # of the file, 128 MiB: some 0.2 s
MOST_MANIFESTS = 200_000  # rows that say which session set has which skill
_JOB = "job:"


class Held(NamedTuple):
    """How many sessions of a job there are, and what they hold."""

    sessions: int
    bytes: int


class Page(NamedTuple):
    """Some sessions: how many, the oldest of them, the heaviest, and what those of each job hold."""

    looked_at: int
    oldest: str
    sessions: Sequence[HeavySession]
    jobs: dict[str, Held]


class Weight:
    """Weighs what a store holds."""

    def __init__(self, read: Read) -> None:
        self._read = read

    async def page(self, before: str) -> Page:
        """Weigh the next `PAGE` sessions that are older than one; fewer are the last ones."""
        return await self._read(partial(page, before=before))

    async def firings(self, job: str) -> int:
        """Count the instants of a job that are remembered."""
        row = await self._read(lambda reads: reads.one("weight_firings", job=job))
        return int(row[0]) if row else 0

    async def skills(self) -> list[HeavySkill]:
        """Return the heaviest skills."""
        found = await self._read(lambda reads: reads.all("weight_skills", most=MOST_MANIFESTS, top=TOP))
        return [HeavySkill(name=row[0], versions=row[1], bytes=row[2]) for row in found]

    async def tables(self) -> list[Table] | None:
        """Return every table by what it takes of the file; None where the file is too large, or SQLite cannot."""
        return await self._read(tables)


def page(reads: Reads, before: str) -> Page:
    """Weigh some sessions."""
    row = reads.one("weight_page", before=before, limit=PAGE)
    count, oldest = (int(row[1]), str(row[0] or "")) if row else (0, "")
    part = {"first": oldest, "before": before}
    jobs: dict[str, Held] = {}
    for group, sessions, size in reads.all("weight_jobs", **part):
        name = str(group)[len(_JOB) :].split(":")[0]
        known = jobs.get(name, Held(0, 0))
        jobs[name] = Held(known.sessions + sessions, known.bytes + size)
    return Page(count, oldest, [_heavy(*row) for row in reads.all("weight_sessions", top=TOP, **part)], jobs)


def tables(reads: Reads) -> list[Table] | None:
    """Return every table by what it takes of the file."""
    if not isinstance(reads, SqliteReads) or reads.pragma("page_count") > MOST_PAGES:
        return None
    try:
        found = reads.all("weight_tables")
    except apsw.SQLError:  # a library that was built without the table of pages
        return None
    return [Table(name=row[0], rows=row[1], bytes=row[2]) for row in found]


def _heavy(key: str, policy: str, state: str, entries: int, size: int) -> HeavySession:
    kind = PolicyName(policy).kind
    return HeavySession(key=key, kind=kind, state=State(state), entries=entries, bytes=size)
