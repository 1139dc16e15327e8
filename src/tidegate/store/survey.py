"""What a forecast needs to know of a store: how many sessions, what they take, what the last ones were like.

It reads a bounded number of rows, whatever is stored, and writes nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tidegate.clock import DAY_MS
from tidegate.config.job import Job as Definition
from tidegate.domain.job import JobOrigin
from tidegate.domain.policy import Policies, Policy
from tidegate.domain.residence import LEAST_SAMPLE, Finished
from tidegate.domain.session import Outcome, PolicyName, State
from tidegate.domain.survey import Survey
from tidegate.store import file, lists, rows
from tidegate.store.tx import Reads

NEWEST = 300  # finished sessions of a policy and state that are looked at
MOST_JOBS = 1_000
SLOT_BYTES = 40  # of a row beside its body
_FINISHED = (State.COMPLETED, State.ARCHIVED)


class _Past(NamedTuple):
    """A session that has finished."""

    created_at: int
    updated_at: int
    since_at: int
    outcome: str | None


def take(reads: Reads, policies: Policies, now: int) -> Survey:
    """Look at a store through a connection that is there."""
    tallies = lists.tallies(reads)
    slots, bodies = (reads.one("survey_rings") or (0, 0))[:2]
    skills = reads.one("survey_skills")
    return Survey(
        sessions=tallies.sessions,
        finished={name: _finished(reads, name, policies, now) for name in PolicyName},
        live_bytes=file.live_bytes(reads),
        skill_bytes=skills[0] if skills else 0,
        ring_bytes=bodies + SLOT_BYTES * slots,
        jobs=_jobs(reads),
    )


def _finished(reads: Reads, name: PolicyName, policies: Policies, now: int) -> Finished:
    # of any that is younger, none can have been deleted by its date, whichever way it ended
    since = now - _least_retention_ms(policies[name])
    found = [
        _Past(*row)
        for state in _FINISHED
        for row in reads.all("survey_finished", policy=name, state=state, limit=NEWEST)
    ]
    lives = _over(found) if name.is_conversation else [past for past in found if past.created_at >= since]
    return Finished(
        count=len(lives),
        span_ms=sum(past.updated_at - past.created_at for past in lives),
        failed=sum(past.outcome not in {None, Outcome.OK} for past in lives),
        roots=_roots(reads, policies, now) if name is PolicyName.SUBAGENT else {},
    )


def _over(found: Sequence[_Past]) -> Sequence[_Past]:
    """Return the conversations that are archived the longest: those that will hardly go on."""
    return sorted(found, key=lambda past: past.since_at)[: max(LEAST_SAMPLE, len(found) // 4)]


def _roots(reads: Reads, policies: Policies, now: int) -> Mapping[PolicyName, int]:
    """Count for whom sub-agents worked, among those that are so young that nobody can have taken them along."""
    since = now - min(map(_least_retention_ms, policies.values()))
    found: Counter[PolicyName] = Counter()
    for state in _FINISHED:
        for row in reads.all("survey_roots", state=state, limit=NEWEST, since=since):
            found[PolicyName(row[0])] += row[1]
    return found


def _least_retention_ms(policy: Policy) -> int:
    """Return how old a session is before its date can have deleted it; a century where none does."""
    dates = [date for date in (policy.delete_after_ms, policy.delete_failed_after_ms) if date is not None]
    return min(dates, default=36_500 * DAY_MS) + (policy.archive_after_ms or 0)


def _jobs(reads: Reads) -> list[Definition]:
    jobs = map(rows.job, reads.all("jobs_page", after="", limit=MOST_JOBS))
    return [job.definition for job in jobs if job.origin is not JobOrigin.CONFIG and not job.paused]
