"""How long a session is kept, by its policy, and in which form: rows while it runs and rests, then a segment. Pure.

A flow is a number of sessions a day that all stay equally long. A policy has several where outcomes, jobs or parents
differ: failed firings are kept longer, a job keeps so many and no more, a sub-agent goes with the session that it works
for. `math.inf` is never.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tidegate.domain.policy import Policies, Policy
from tidegate.domain.session import PolicyName

LEAST_SAMPLE = 5  # fewer finished sessions tell nothing
MOST_FLOWS = 64  # of one policy; more are rounded together

#: how long a session is at work, or a conversation goes on, where that was not measured
ASSUMED_SPAN_MS: Mapping[PolicyName, float] = MappingProxyType(
    {
        PolicyName.CHAT: HOUR_MS,
        PolicyName.SUBAGENT: 2 * MINUTE_MS,
        PolicyName.CRON: 2 * MINUTE_MS,
        PolicyName.HOOK: MINUTE_MS,
        PolicyName.API: 10 * SECOND_MS,
        PolicyName.API_NAMED: 10 * MINUTE_MS,
    }
)
# One of twenty does not end well, as long as nothing else is known: as if twenty had been seen before the first one.
ASSUMED_FAILED = 1
ASSUMED_ENDED = 20


class Stay(NamedTuple):
    """How long a session is in each form, in ms: at work (a conversation: or idle), finished, archived."""

    running_ms: float
    finished_ms: float
    archived_ms: float

    @property
    def hot_ms(self) -> float:
        """How long its entries are rows."""
        return self.running_ms + self.finished_ms

    @property
    def whole_ms(self) -> float:
        """How long it is kept."""
        return self.hot_ms + self.archived_ms


class Flow(NamedTuple):
    """So many sessions a day that stay equally long; whether a cap ends that."""

    per_day: float
    stay: Stay
    is_capped: bool = False


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What the sessions of a policy were like that have finished lately."""

    count: int = 0
    #: from creation to the last entry, of all of them together
    span_ms: int = 0
    failed: int = 0
    #: of sub-agents: for whom they worked
    roots: Mapping[PolicyName, int] = MappingProxyType({})

    def mean_span_ms(self, name: PolicyName) -> float:
        """Return how long one was at work."""
        return ASSUMED_SPAN_MS[name] if self.count < LEAST_SAMPLE else max(0, self.span_ms) / self.count

    @property
    def failed_share(self) -> float:
        """Which part did not end well."""
        return (self.failed + ASSUMED_FAILED) / (self.count + ASSUMED_ENDED)


UNKNOWN = Finished()


class Life(NamedTuple):
    """What decides how long sessions are kept."""

    policies: Policies
    finished: Mapping[PolicyName, Finished]
    #: how many sessions a day each job makes
    jobs: Sequence[float]


def littles_law(per_day: float, span_ms: float) -> float:
    """Return how many are there at once of so many a day that stay so long; nobody who stays for ever is nobody."""
    per_ms = per_day / DAY_MS
    return per_ms * span_ms if per_ms and span_ms else 0.0


def flows(name: PolicyName, per_day: float, life: Life) -> list[Flow]:
    """Return the flows that the sessions of a policy come in; there is one at least."""
    match name:
        case PolicyName.CRON:
            found = _of_jobs(per_day, life)
        case PolicyName.SUBAGENT:
            found = _of_parents(per_day, life)
        case _:
            found = _by_outcome(name, per_day, life)
    return _joined(found)


def worst(name: PolicyName, per_day: float, life: Life) -> list[Flow]:
    """Return the flows if every session ran to its deadline, failed, and were kept for that."""
    policy = life.policies[name]
    work_ms = max(_work_ms(name, life), float(policy.max_runtime_ms or 0))
    stay = max(_stay(policy, name, work_ms, failed=failed) for failed in (False, True))
    told, keep = math.fsum(life.jobs), policy.keep
    if name is not PolicyName.CRON or told == 0 or keep is None:
        return [Flow(per_day, stay)]
    # of each job: those that ended well, and the others
    return _joined(_capped(Flow(per_day * job / told, stay), 2 * keep) for job in life.jobs)


def _by_outcome(name: PolicyName, per_day: float, life: Life) -> Iterator[Flow]:
    """Yield those that end well, and those that do not if they are kept for another time."""
    policy, work_ms = life.policies[name], _work_ms(name, life)
    well, ill = (_stay(policy, name, work_ms, failed=failed) for failed in (False, True))
    share = life.finished.get(name, UNKNOWN).failed_share if well != ill else 0.0
    yield Flow(per_day * (1 - share), well)
    if share:
        yield Flow(per_day * share, ill)


def _of_jobs(per_day: float, life: Life) -> Iterator[Flow]:
    """Yield the flows of each job, of which so many are kept of each outcome."""
    told = math.fsum(life.jobs)
    keep = life.policies[PolicyName.CRON].keep
    if told == 0 or keep is None:
        yield from _by_outcome(PolicyName.CRON, per_day, life)
        return
    for job in life.jobs:
        for flow in _by_outcome(PolicyName.CRON, per_day * job / told, life):
            yield _capped(flow, keep)


def _of_parents(per_day: float, life: Life) -> Iterator[Flow]:
    """Yield the flows by who the sub-agents work for: they go with that session if not before."""
    roots = life.finished.get(PolicyName.SUBAGENT, UNKNOWN).roots
    known = sum(roots.values())
    for flow in _by_outcome(PolicyName.SUBAGENT, per_day, life):
        if known < LEAST_SAMPLE:
            yield flow
            continue
        for root, count in roots.items():
            whole_ms = min(above.stay.whole_ms for above in _by_outcome(root, 1.0, life))
            yield flow._replace(per_day=flow.per_day * count / known, stay=_cut(flow.stay, whole_ms))


def _work_ms(name: PolicyName, life: Life) -> float:
    span_ms = life.finished.get(name, UNKNOWN).mean_span_ms(name)
    most_ms = life.policies[name].max_runtime_ms
    return span_ms if most_ms is None or name.is_conversation else min(span_ms, most_ms)


def _stay(policy: Policy, name: PolicyName, work_ms: float, *, failed: bool) -> Stay:
    rests_ms = math.inf if policy.archive_after_ms is None else float(policy.archive_after_ms)
    retention_ms = policy.delete_after_ms
    if failed and policy.delete_failed_after_ms is not None and not name.is_conversation:
        retention_ms = policy.delete_failed_after_ms
    kept_ms = math.inf if retention_ms is None else float(retention_ms)
    return (
        Stay(work_ms + rests_ms, 0.0, kept_ms) if name.is_conversation else Stay(work_ms, rests_ms, kept_ms)
    )


def _capped(flow: Flow, keep: int) -> Flow:
    """Return a flow of which at most *keep* finished sessions are there."""
    if not flow.per_day:
        return flow
    rests_ms = flow.stay.finished_ms + flow.stay.archived_ms
    most_ms = keep * DAY_MS / flow.per_day
    if most_ms >= rests_ms:
        return flow
    return flow._replace(stay=_cut(flow.stay, flow.stay.running_ms + most_ms), is_capped=True)


def _cut(stay: Stay, whole_ms: float) -> Stay:
    """Return a stay that is not longer than *whole_ms*; work goes on to its end."""
    finished_ms = min(stay.finished_ms, max(0.0, whole_ms - stay.running_ms))
    return Stay(
        stay.running_ms,
        finished_ms,
        min(stay.archived_ms, max(0.0, whole_ms - stay.running_ms - finished_ms)),
    )


def _joined(found: Iterable[Flow]) -> list[Flow]:
    """Return one flow for all that stay equally long; where there are too many, for all that stay about as long."""
    listed = list(found)
    exact = _summed(listed)
    if len(exact) <= MOST_FLOWS:
        return exact
    return _summed(flow._replace(stay=Stay(*map(_rounded, flow.stay))) for flow in listed)


def _summed(found: Iterable[Flow]) -> list[Flow]:
    rates: defaultdict[tuple[Stay, bool], list[float]] = defaultdict(list)
    for flow in found:
        rates[flow.stay, flow.is_capped].append(flow.per_day)
    return [Flow(math.fsum(many), stay, is_capped) for (stay, is_capped), many in rates.items()]


def _rounded(span_ms: float) -> float:
    return float(f"{span_ms:.2g}")
