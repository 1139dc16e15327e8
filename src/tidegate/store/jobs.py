"""Jobs as rows: made, changed, paused, forgotten. Whatever changes a job's dates ends in `write`."""

from collections.abc import Callable

import msgspec

from tidegate.clock import DAY_MS
from tidegate.config.job import Job as Definition
from tidegate.config.job import instant
from tidegate.domain import job as rules
from tidegate.domain.job import Job, JobOrigin, Rights
from tidegate.errors import JobExists, JobInConfig, JobNotFound, TooManyJobs
from tidegate.ids import RunId, SessionId
from tidegate.store import rows
from tidegate.store.tx import Reads, Tx


def find(reads: Reads, name: str) -> Job:
    """Return a job.

    Raises:
        JobNotFound: There is none.
    """
    row = reads.one("job_by_name", name=name)
    if row is None:
        raise JobNotFound(f"there is no job {name[:80]!r}", hint="`tidegate jobs list` shows what there is")
    return rows.job(row)


def put(tx: Tx, definition: Definition, origin: JobOrigin, creator: str = "") -> Job:
    """Make a job, whose first instant comes after now."""
    if tx.one("job_by_name", name=definition.name) is not None:
        raise JobExists(f"there is a job {definition.name!r} already")
    held = tx.one("jobs_held")
    if held and held[0] >= rules.MAX_JOBS:
        raise TooManyJobs(f"there are {held[0]} jobs already")
    of_creator = tx.one("jobs_of_creator", origin=origin, creator=creator)
    if origin is JobOrigin.MODEL and of_creator and of_creator[0] >= rules.MAX_JOBS_OF_MODEL:
        raise TooManyJobs(
            f"{of_creator[0]} jobs were made by the agent {creator!r} already", hint="remove some"
        )
    job = Job(
        definition=definition,
        origin=origin,
        creator=creator,
        paused=definition.paused,
        created_at=tx.now,
        fired_through=tx.now,
        next_at=rules.next_due(definition, tx.now, tx.now),
        held_until=None,
        failures=0,
        revision=1,
    )
    tx.run("job_born", **_values(job), creator=creator, created_at=tx.now)
    tx.effects.is_about_jobs = True
    return job


def alter(tx: Tx, name: str, change: Callable[[Definition], Definition]) -> Job:
    """Change what a job is; a new schedule begins now."""
    job = find(tx, name)
    if job.origin is JobOrigin.CONFIG:
        raise JobInConfig(f"the job {name!r} stands in the configuration", hint="change it there")
    return redefine(tx, job, change(job.definition))


def redefine(tx: Tx, job: Job, definition: Definition) -> Job:
    """Write another definition of a job; what it has done so far stays done."""
    after = msgspec.structs.replace(
        job, definition=definition, revision=job.revision + 1, held_until=None, failures=0
    )
    if definition.paused != job.definition.paused:
        after = msgspec.structs.replace(after, paused=definition.paused)
    if after.schedule != job.schedule:
        after = _from_now(tx, after)
    return write(tx, msgspec.structs.replace(after, next_at=_next_due(after)))


def pause(tx: Tx, name: str, *, paused: bool) -> Job:
    """Pause a job or let it go on; the instants in between are not made up for.

    Letting it go on forgets its failures, and a watermark that a clock which was wrong has left in the future.
    """
    job = find(tx, name)
    if paused:
        return write(tx, msgspec.structs.replace(job, paused=True, revision=job.revision + 1))
    after = msgspec.structs.replace(job, paused=False, failures=0, held_until=None, revision=job.revision + 1)
    if job.paused or job.fired_through > tx.now + DAY_MS:
        after = msgspec.structs.replace(after, fired_through=tx.now)
    return write(tx, msgspec.structs.replace(after, next_at=_next_due(after)))


def write(tx: Tx, job: Job) -> Job:
    """Write a job as it is now."""
    tx.run("job_moved", **_values(job))
    tx.effects.is_about_jobs = True
    return job


def rights(reads: Reads, session: SessionId, run: RunId | None) -> Rights | None:
    """Return what a run may use because a job has fired it; None if none has, or it has ended."""
    row = reads.one("firing_of_run", session=session, run=run)
    return None if row is None else rows.rights(row)


def tidy(tx: Tx) -> int:
    """Forget a slice of what is old."""
    gone = tx.run("firings_expired", before=tx.now - rules.KEEP_FIRINGS_MS)
    return gone + tx.run("jobs_expired", now=tx.now)


def _from_now(tx: Tx, job: Job) -> Job:
    return msgspec.structs.replace(job, fired_through=max(job.fired_through, tx.now))


def _next_due(job: Job) -> int | None:
    return rules.next_due(job.definition, job.created_at, job.fired_through)


def _values(job: Job) -> dict[str, rows.Value]:
    at = instant(job.definition.at) if job.definition.at else None
    is_kept = at is None or job.origin is JobOrigin.CONFIG
    return {
        "name": job.name,
        "definition": msgspec.json.encode(job.definition).decode(),
        "origin": job.origin,
        "paused": job.paused,
        "fired_through": job.fired_through,
        "next_at": job.next_at,
        "held_until": job.held_until,
        "failures": job.failures,
        "revision": job.revision,
        "wakes_at": job.wakes_at,
        "isolated": rules.is_isolated(job.definition),
        "expires_at": None if is_kept or at is None else at + rules.KEEP_OVER_MS,
    }
