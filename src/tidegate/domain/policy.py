"""When a session moves next, and where to: the whole lifecycle in one pure function.

`next_step` is called in the transaction of every transition and its answer is stored in the row; a sweep carries out
what is due. Dates of sessions that still run may be older than their last entry (they are not rewritten at each
message): before such a session is moved, the sweep asks again and postpones.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config import Lifecycle
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session, State

REFUSED_AGAIN_MS = 30_000  # a due row whose move is refused comes back after this
OVERDUE_MS = 120_000  # due for longer than this and not held: something is wrong


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How long each state of a kind lasts (ms; None is never), how many are kept and how many may run."""

    max_runtime_ms: int | None = None
    #: without an entry for this long while a run is running
    stall_after_ms: int | None = None
    #: for conversations: after the last activity; for the others: after completion
    archive_after_ms: int | None = None
    delete_after_ms: int | None = None
    #: instead of `delete_after_ms` where the outcome is not ok
    delete_failed_after_ms: int | None = None
    #: how many of one cap group
    keep: int | None = None
    #: created and active together
    max_running: int | None = None
    #: how long a person is waited for
    max_wait_ms: int = DAY_MS

    def fingerprint(self) -> str:
        """Return a hash that changes with every value."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()


class Due(NamedTuple):
    """The next move of a session; both are None exactly while nothing may move it."""

    due_at: int | None
    due_to: DueTo | None


Policies = Mapping[PolicyName, Policy]

NEVER = Due(None, None)

DEFAULTS: Policies = MappingProxyType(
    {
        PolicyName.SUBAGENT: Policy(
            max_runtime_ms=2 * HOUR_MS,
            stall_after_ms=10 * MINUTE_MS,
            archive_after_ms=HOUR_MS,
            delete_after_ms=30 * DAY_MS,
            keep=500,
            max_running=200,
        ),
        PolicyName.CRON: Policy(
            max_runtime_ms=2 * HOUR_MS,
            archive_after_ms=HOUR_MS,
            delete_after_ms=30 * DAY_MS,
            delete_failed_after_ms=90 * DAY_MS,
            keep=500,
            max_running=100,
        ),
        PolicyName.HOOK: Policy(
            max_runtime_ms=30 * MINUTE_MS,
            archive_after_ms=HOUR_MS,
            delete_after_ms=14 * DAY_MS,
            max_running=200,
        ),
        PolicyName.API: Policy(
            max_runtime_ms=10 * MINUTE_MS,
            archive_after_ms=0,
            delete_after_ms=DAY_MS,
            max_running=1_000,
        ),
        PolicyName.API_NAMED: Policy(
            max_runtime_ms=10 * MINUTE_MS,
            archive_after_ms=HOUR_MS,
            delete_after_ms=30 * DAY_MS,
            max_running=1_000,
        ),
        PolicyName.CHAT: Policy(archive_after_ms=30 * DAY_MS),
    }
)


def policies(lifecycle: Mapping[str, Lifecycle], max_wait_ms: int = DAY_MS) -> Policies:
    """Return the policies with what *lifecycle* sets, by kind, instead of the default."""
    merged = {name: _merged(DEFAULTS[name], lifecycle.get(name)) for name in PolicyName}
    return MappingProxyType(
        {name: msgspec.structs.replace(policy, max_wait_ms=max_wait_ms) for name, policy in merged.items()}
    )


def next_step(session: Session, policy: Policy) -> Due:
    """Say when *session* moves next and where to.

    Pure, and total over all sessions; for an ephemeral session that is not pinned the answer is never `NEVER`
    (invariant I3), which configuration guarantees by refusing "never" outside of chats.
    """
    match session.state:
        case State.CREATED | State.ACTIVE if session.policy.is_conversation:
            return _conversation_step(session, policy)
        case State.CREATED | State.ACTIVE:
            return _deadline(session, policy)
        case State.COMPLETED:
            return _after(session, policy.archive_after_ms, DueTo.ARCHIVED)
        case State.ARCHIVED:
            return _after(session, _retention_ms(session, policy), DueTo.DELETED)


def _merged(default: Policy, wanted: Lifecycle | None) -> Policy:
    changes = {} if wanted is None else {name: getattr(wanted, name) for name in wanted.__struct_fields__}
    changes = {name: value for name, value in changes.items() if value is not msgspec.UNSET}
    if "idle_after_ms" in changes:
        changes["archive_after_ms"] = changes.pop("idle_after_ms")
    return msgspec.structs.replace(default, **changes)


def _conversation_step(session: Session, policy: Policy) -> Due:
    if session.turn_at is not None and policy.max_runtime_ms is not None:
        ends_at = session.turn_at + policy.max_runtime_ms + _respite_ms(session, policy)
        return Due(ends_at, DueTo.COMPLETED)
    if session.pinned or policy.archive_after_ms is None:
        return NEVER
    idle_since = max(session.updated_at, session.since_at)
    return Due(idle_since + policy.archive_after_ms, DueTo.ARCHIVED)


def _deadline(session: Session, policy: Policy) -> Due:
    """Return the date from birth; a pin does not stop it."""
    dates = []
    limits = [limit for limit in (policy.max_runtime_ms, session.max_runtime_ms) if limit is not None]
    if limits:
        dates.append(session.created_at + min(limits) + _respite_ms(session, policy))
    if policy.stall_after_ms is not None and session.running_at is not None:
        dates.append(max(session.updated_at, session.running_at) + policy.stall_after_ms)
    return Due(min(dates), DueTo.COMPLETED) if dates else NEVER


def _respite_ms(session: Session, policy: Policy) -> int:
    """Return by how much a deadline moves: the time spent waiting for a person does not count."""
    return session.waited_ms + (policy.max_wait_ms if session.waiting_at is not None else 0)


def _after(session: Session, duration_ms: int | None, due_to: DueTo) -> Due:
    if session.pinned or duration_ms is None:
        return NEVER
    return Due(session.since_at + duration_ms, due_to)


def _retention_ms(session: Session, policy: Policy) -> int | None:
    if session.outcome not in {None, Outcome.OK} and policy.delete_failed_after_ms is not None:
        return policy.delete_failed_after_ms
    return policy.delete_after_ms
