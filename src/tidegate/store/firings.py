"""Instants that have come: each becomes one row, at most once, in the transaction that makes its run.

An instant at or below the watermark is nobody's any more: whoever brings it, after a restart, from a second process or
by a clock that was put back, changes nothing.
"""

import msgspec

from tidegate.domain import job as rules
from tidegate.domain.job import FiringOutcome, Job
from tidegate.errors import (
    DiskBudget,
    JobRunning,
    QueueFull,
    Refused,
    SessionBusy,
    Short,
    TooManySessions,
    WrongState,
)
from tidegate.faults import Area
from tidegate.store import jobs, runs
from tidegate.store.admission import Admission, Admitted, Attempt, Shot, SnapshotMissing
from tidegate.store.tx import Tx

STILL_RUNS = "it still ran"
HELD_BACK = "held back after failures"


class _Row(msgspec.Struct, frozen=True):
    """A firing that is to be written."""

    instant: int
    outcome: FiringOutcome
    count: int = 1
    note: str = ""
    admitted: Admitted | None = None
    is_asked: bool = False


def fire(tx: Tx, attempt: Attempt) -> Shot:
    """Carry out a plan, if its job is still as it was when the plan was made."""
    row = tx.one("job_by_name", name=attempt.job.name)
    job = jobs.find(tx, attempt.job.name) if row else None
    plan = attempt.plan
    is_new = plan.fires or plan.missed > 0
    if job is None or (job.revision, job.wakes_at) != (attempt.job.revision, attempt.job.wakes_at):
        return Shot.LOST
    if job.fired_through != attempt.job.fired_through or (is_new and plan.through <= job.fired_through):
        return Shot.LOST
    fires = plan.fires and not _has_come(tx, job, plan.through)
    try:
        fired = _admit(tx, job, attempt) if fires else None
    except SnapshotMissing:  # raised before anything is written
        return Shot.BARE
    if fires and fired is None:
        return Shot.FULL
    if plan.missed and not _has_come(tx, job, plan.missed_at):
        note = HELD_BACK if job.failures else ""
        _write(tx, job, _Row(plan.missed_at, FiringOutcome.MISSED, plan.missed, note))
    if fired is not None:
        _write(tx, job, fired)
    jobs.write(
        tx, msgspec.structs.replace(job, fired_through=plan.through, next_at=plan.next_at, held_until=None)
    )
    tx.run("aside_over", part=Area.JOBS, item=job.name)
    return Shot.DONE


def ask(tx: Tx, known: Job, admission: Admission) -> Admitted:
    """Make a run of a job now, beside its schedule."""
    job = jobs.find(tx, known.name)
    if job.revision != known.revision:
        raise WrongState(f"the job {job.name!r} has been changed meanwhile", hint="try again")
    if job.definition.overlap == "forbid" and tx.one("firing_open", job=job.name):
        raise JobRunning(f"the job {job.name!r} still runs", hint="wait for it, or cancel its session")
    admitted = runs.admit(tx, admission)
    _write(tx, job, _Row(tx.now, FiringOutcome.FIRED, admitted=admitted, is_asked=True))
    return admitted


def _admit(tx: Tx, job: Job, attempt: Attempt) -> _Row | None:
    """Make the run of an instant; None if there is no room for one now. What is refused has changed nothing."""
    at = attempt.plan.through
    if job.definition.overlap == "forbid" and tx.one("firing_open", job=job.name):
        return _Row(at, FiringOutcome.SKIPPED, note=STILL_RUNS)
    try:
        return _Row(at, FiringOutcome.FIRED, admitted=runs.admit(tx, attempt.admission))
    except QueueFull:
        return None
    except TooManySessions as error:
        return (
            None if rules.is_isolated(job.definition) else _Row(at, FiringOutcome.REFUSED, note=error.message)
        )
    except (Refused, SessionBusy, Short, DiskBudget) as error:
        return _Row(at, FiringOutcome.REFUSED, note=error.message)


def _has_come(tx: Tx, job: Job, instant: int) -> bool:
    """Whether an instant above the watermark has a row: a person has put the watermark back."""
    return tx.one("firing_at", job=job.name, instant=instant) is not None


def _write(tx: Tx, job: Job, row: _Row) -> None:
    definition, admitted = job.definition, row.admitted
    tx.run(
        "firing_born",
        job=job.name,
        instant=row.instant,
        outcome=row.outcome,
        count=row.count,
        asked=row.is_asked,
        run=admitted.run.id if admitted else None,
        session=admitted.session.id if admitted else None,
        is_open=admitted is not None,
        note=row.note,
        created_at=tx.now,
        ended_at=None if admitted else tx.now,
        allow_tools=msgspec.json.encode(definition.allow_tools).decode(),
        tools=None if definition.tools is None else msgspec.json.encode(definition.tools).decode(),
        isolated=rules.is_isolated(definition),
    )
    tx.run("firings_pruned", job=job.name, kept=rules.KEPT_FIRINGS)
    tx.effects.firings[row.outcome] += row.count
