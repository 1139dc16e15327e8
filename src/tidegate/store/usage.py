"""What models took and cost, counted in the transaction of each answer, outside of sessions (invariant I11).

It is kept by agent and model: a row a day, after 90 days one a month, after two years one a year; so it grows by a
few rows a year, and is never forgotten. What a job has cost is kept for a week.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from tidegate.clock import DAY_MS, day
from tidegate.config.job import Job
from tidegate.domain.run import Origin, Run, Usage
from tidegate.domain.session import Session
from tidegate.store import rows
from tidegate.store.tx import Read, Reads, Spent, Tx

FOLD_AFTER_MS = 90 * DAY_MS
FOLD_AFTER_YEARS = 2
KEEP_JOBS_MS = 7 * DAY_MS
MAX_JOB_ROWS = 100_000
#: how the cap group of a job's sessions begins; an outcome follows the name once they are completed
JOB_GROUP = "job:"
DAY_CHARS, MONTH_CHARS = 10, 7

_definition = msgspec.json.Decoder(Job)


class JobSpend(msgspec.Struct, frozen=True, kw_only=True):
    """What a job that has a limit has cost in a day."""

    job: str
    micros: int
    limit_micros: int


class DaySpend(msgspec.Struct, frozen=True, kw_only=True):
    """What a day has cost: by agent and model micro-dollars and answers without a price, and the jobs with a limit."""

    models: Mapping[tuple[str, str], tuple[int, int]]
    jobs: Sequence[JobSpend]


class Spending:
    """What models have cost, for those who stand outside of a transaction."""

    def __init__(self, read: Read) -> None:
        self._read = read

    async def of_day(self, period: str) -> DaySpend:
        """Return what models have cost on a day, as in ``2026-11-21``, UTC."""
        return await self._read(partial(of_day, period=period))

    async def since(self, period: str) -> tuple[int, int]:
        """Return micro-dollars and answers without a price since a day, which is not more than 90 days ago."""
        return await self._read(partial(since, period=period))


def count(tx: Tx, session: Session, run: Run | None, model: str, usage: Usage) -> None:
    """Count one answer, for its agent and for the job that it belongs to; *run* is whose answer it is, if any."""
    period = day(tx.now)
    row = tx.one(
        "usage_counted",
        period=period,
        agent=session.agent,
        model=model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        micros=usage.micros,
        unpriced=usage.unpriced,
    )
    if row is None or not (usage.micros or usage.unpriced):
        return
    job = job_of(tx, session, run) if usage.micros else None
    tx.effects.spent.append(
        Spent(
            day=period,
            agent=session.agent,
            model=model,
            cost=(usage.micros, usage.unpriced),
            total=(row[0], row[1]),
            job=job,
            job_micros=_count_job(tx, period, job, usage.micros) if job else 0,
        )
    )


def job_of(reads: Reads, session: Session, run: Run | None) -> str | None:
    """Return the job that an answer belongs to: that of the session at the top, or the one that fired this run."""
    top = session
    if session.root and (row := reads.one("session_by_id", id=session.root)):
        top = rows.session(row)
    group = top.cap_group or ""
    if group.startswith(JOB_GROUP):
        return group.removeprefix(JOB_GROUP).partition(":")[0]
    if session.policy.is_conversation and run and run.origin is Origin.FIRING:
        row = reads.one("firing_of_run", session=session.id, run=run.id)
        return rows.firing(row).job if row else None
    return None


def of_day(reads: Reads, period: str) -> DaySpend:
    """Return what a day has cost; what it takes to find out depends on that day alone."""
    models = {
        (row[0], row[1]): (int(row[2]), int(row[3])) for row in reads.all("usage_of_day", period=period)
    }
    jobs: list[JobSpend] = []
    after = ""
    while page := reads.all("job_spend_of_day", day=period, after=after):
        after = page[-1][0]
        for name, micros, text in page:
            limit = _definition.decode(text).spend_micros
            if isinstance(limit, int):
                jobs.append(JobSpend(job=name, micros=micros, limit_micros=limit))
    return DaySpend(models=models, jobs=jobs)


def since(reads: Reads, period: str) -> tuple[int, int]:
    """Return micro-dollars and answers without a price since a day, which is not more than 90 days ago."""
    row = reads.one("usage_since", period=period)
    return (int(row[0]), int(row[1])) if row else (0, 0)


def tidy(tx: Tx) -> int:
    """Fold what is old, forget a slice of what jobs have cost, and say how many rows went."""
    year = int(day(tx.now)[:4]) - FOLD_AFTER_YEARS
    gone = 0
    for length, before in ((DAY_CHARS, day(tx.now - FOLD_AFTER_MS)), (MONTH_CHARS, f"{year:04d}")):
        tx.run("usage_folded", length=length, before=before)
        gone += tx.run("usage_unfolded", length=length, before=before)
    return gone + tx.run("job_spend_expired", before=day(tx.now - KEEP_JOBS_MS))


def _count_job(tx: Tx, period: str, job: str, micros: int) -> int:
    """Add to what a job has cost; where there is no room for it, to what such jobs have cost together."""
    held = tx.one("job_spends")
    if held and held[0] >= MAX_JOB_ROWS and tx.one("job_spend_of", day=period, job=job) is None:
        job = ""
    row = tx.one("job_spent", day=period, job=job, micros=micros)
    return int(row[0]) if row and job else 0
