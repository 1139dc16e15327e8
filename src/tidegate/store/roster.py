"""Which jobs there are: those of the configuration are made to match it, any other goes when somebody removes it.

A job that goes takes what it has running with it, since what its runs may do is kept with its firings.
"""

from collections.abc import Sequence

import msgspec

from tidegate.config.job import Job as Definition
from tidegate.domain.job import Job, JobOrigin
from tidegate.domain.session import Outcome
from tidegate.errors import JobInConfig
from tidegate.store import jobs, rows, turns
from tidegate.store.admission import Ending
from tidegate.store.tx import Tx


def remove(tx: Tx, name: str) -> Job:
    """Remove a job, cancel what it has running, and return it as it was."""
    job = jobs.find(tx, name)
    if job.origin is JobOrigin.CONFIG:
        hint = "take it out there, or pause it"
        raise JobInConfig(f"the job {name!r} stands in the configuration", hint=hint)
    _drop(tx, job)
    return job


def reconcile(tx: Tx, definitions: Sequence[Definition]) -> int:
    """Make the jobs of the configuration match it and say how many were made, changed or removed.

    A name in the configuration is the configuration's, whoever has made a job of that name before.
    """
    changed = 0
    wanted = {definition.name for definition in definitions}
    for row in tx.all("jobs_of_origin", origin=JobOrigin.CONFIG):
        job = rows.job(row)
        if job.name not in wanted:
            _drop(tx, job)
            changed += 1
    for definition in definitions:
        known = tx.one("job_by_name", name=definition.name)
        if known is None:
            jobs.put(tx, definition, JobOrigin.CONFIG)
            changed += 1
            continue
        job = rows.job(known)
        if job.definition != definition or job.origin is not JobOrigin.CONFIG:
            jobs.redefine(tx, msgspec.structs.replace(job, origin=JobOrigin.CONFIG), definition)
            changed += 1
    return changed


def _drop(tx: Tx, job: Job) -> None:
    while (row := tx.one("firing_open", job=job.name)) is not None:
        firing = rows.firing(row)
        session_row = tx.one("session_by_id", id=firing.session)
        session = rows.session(session_row) if session_row else None
        if session is not None and session.is_live and not session.policy.is_conversation:
            turns.complete(tx, session, Outcome.CANCELLED, "cancelled")
        elif session is not None and (run := tx.one("run_by_id", id=firing.run)):
            session = turns.close(tx, session, run, Ending(outcome=Outcome.CANCELLED))
            turns.end_turn(tx, session, Outcome.CANCELLED, "cancelled")
        tx.run("firing_ended", number=row[0], result=Outcome.CANCELLED, now=tx.now, note="")
    tx.run("job_gone", name=job.name)
    tx.effects.is_about_jobs = True
