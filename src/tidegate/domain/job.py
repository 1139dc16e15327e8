"""Jobs: what each instant of a schedule becomes, and when the next one is. Pure.

A job has a watermark, `fired_through`: instants up to it are dealt with, for good. Whatever happens to the clock, to
the process or to the definition, the watermark never goes back by itself, so that no instant comes twice.
"""

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from tidegate.clock import DAY_MS, HOUR_MS, SECOND_MS
from tidegate.config.job import ISOLATED, instant
from tidegate.config.job import Job as Definition
from tidegate.domain import schedule
from tidegate.domain.schedule import At, Cron, Every, Schedule
from tidegate.domain.session import Outcome
from tidegate.ids import RunId, SessionId

ON_TIME_MS = 60 * SECOND_MS  # a restart takes less, so that it makes nothing missed
FIRST_BACKOFF_MS = 30 * SECOND_MS
MAX_BACKOFF_MS = HOUR_MS
KEEP_OVER_MS = 30 * DAY_MS  # how long a job that was for once is kept after its instant
MAX_JOBS = 20_000
MAX_JOBS_OF_MODEL = 20  # made by one agent
KEPT_FIRINGS = 100  # of one job,
KEEP_FIRINGS_MS = 90 * DAY_MS  # and none longer than this


class JobOrigin(StrEnum):
    """Who has made a job."""

    CONFIG = "config"
    API = "api"
    MODEL = "model"


class FiringOutcome(StrEnum):
    """What became of an instant."""

    #: there is a run
    FIRED = "fired"
    #: nobody was there, or it was too late
    MISSED = "missed"
    #: the job still ran
    SKIPPED = "skipped"
    #: there could be no run
    REFUSED = "refused"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stands."""

    definition: Definition
    origin: JobOrigin
    #: the agent that asked for it, if a model did
    creator: str
    paused: bool
    created_at: int
    #: the watermark
    fired_through: int
    #: when the next instant is carried out, jitter included; None if there is none
    next_at: int | None
    #: not before this, since it has failed
    held_until: int | None
    #: in a row
    failures: int
    #: rises with each change of the definition
    revision: int

    @property
    def name(self) -> str:
        """What it is called."""
        return self.definition.name

    @property
    def schedule(self) -> Schedule:
        """When it runs."""
        return schedule_of(self.definition, self.created_at)

    @property
    def wakes_at(self) -> int | None:
        """When it is looked at next; None while nothing makes it run."""
        return None if self.paused or self.next_at is None else max(self.next_at, self.held_until or 0)


class Firing(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an instant, or of several that were missed in a row: then `instant` is the last of them."""

    #: the order in which they were written
    number: int
    job: str
    instant: int
    outcome: FiringOutcome
    #: how many instants; `schedule.MAX_COUNTED` stands for so many or more
    count: int
    #: somebody asked for it, beside the schedule
    is_asked: bool
    run: RunId | None
    #: None also once the session has been deleted
    session: SessionId | None
    #: the run has not ended
    is_open: bool
    #: how the run ended
    result: Outcome | None
    note: str
    created_at: int
    ended_at: int | None


class Plan(NamedTuple):
    """What is to be done with the instants that have come: written by the store, if the job is still as it was."""

    #: the new watermark, which is the instant that fires if one does
    through: int
    fires: bool
    #: how many instants are passed over, and the last of them
    missed: int
    missed_at: int
    #: when the next instant is carried out
    next_at: int | None


class Rights(NamedTuple):
    """What the runs of a firing may use: the tools that need no approval, and the only ones there are."""

    allow_tools: Sequence[str]
    tools: Sequence[str] | None


def schedule_of(definition: Definition, created_at: int) -> Schedule:
    """Return the schedule of a definition that makes sense; even distances start at its creation."""
    if definition.at:
        return At(at=instant(definition.at))
    if definition.every_ms:
        return Every(every_ms=definition.every_ms, anchor=created_at)
    return Cron(expression=definition.cron or "", timezone=definition.timezone)


def is_isolated(definition: Definition) -> bool:
    """Whether each firing has a session of its own."""
    return definition.session == ISOLATED


def jitter_ms(definition: Definition, at: int) -> int:
    """Return by how much later an instant is carried out: by chance, but after a restart the same."""
    digest = hashlib.blake2b(f"{definition.name}:{at}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % (definition.jitter_ms + 1)


def next_due(definition: Definition, created_at: int, after: int) -> int | None:
    """Return when the first instant after another one is carried out."""
    at = schedule.next_after(schedule_of(definition, created_at), after)
    return None if at is None else at + jitter_ms(definition, at)


def plan(job: Job, now: int, attended_since: int) -> Plan:
    """Say what becomes of the instants between a job's watermark and now.

    At most one fires, the last one: what came before it is missed. An instant at which nobody was there, because the
    gateway was down or the clock was put forward, is made up for if the job wants that; *attended_since* is since when
    somebody has been there.
    """
    definition = job.definition
    last = _last_due(job, now)
    if last is None:
        next_at = next_due(definition, job.created_at, job.fired_through)
        return Plan(through=job.fired_through, fires=False, missed=0, missed_at=0, next_at=next_at)
    due_at = last + jitter_ms(definition, last)
    is_attended = due_at >= min(attended_since, now - ON_TIME_MS)
    fires = now - due_at <= definition.max_lateness_ms and (is_attended or definition.missed == "once")
    earlier = schedule.count_between(job.schedule, job.fired_through, last)
    before = schedule.last_through(job.schedule, job.fired_through, last - 1) if earlier and fires else None
    missed = earlier if fires else min(earlier + 1, schedule.MAX_COUNTED)
    return Plan(
        through=last,
        fires=fires,
        missed=missed,
        missed_at=before or last,
        next_at=next_due(definition, job.created_at, last),
    )


def backoff_ms(failures: int) -> int:
    """Return how long a job rests after so many failures in a row."""
    return min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS << min(failures - 1, 20)) if failures else 0


def _last_due(job: Job, now: int) -> int | None:
    """Return the last instant above the watermark that is to be carried out by now, its jitter included."""
    last = schedule.last_through(job.schedule, job.fired_through, now)
    while last is not None and last + jitter_ms(job.definition, last) > now:
        last = schedule.last_through(job.schedule, job.fired_through, last - 1)
    return last
