"""A person's word on a call: asked for, given, acted upon once. The transactions behind the port's approvals."""

from collections.abc import Sequence

from tidegate.domain import approval as rules
from tidegate.domain.approval import (
    KEEP_DECIDED_MS,
    KEEP_UNUSED_MS,
    NO_RUN,
    STANDING_MS,
    Approval,
    ApprovalState,
    Decision,
    Question,
    Verdict,
)
from tidegate.domain.run import Lease, Run
from tidegate.domain.session import PolicyName, Session
from tidegate.errors import AlreadyDecided, ApprovalNotFound, TooManyApprovals
from tidegate.ids import ApprovalId, ulid
from tidegate.store import jobs, rows, sessions, waits
from tidegate.store.lease import held
from tidegate.store.tx import Tx

MAX_PENDING = 1_000
MAX_ALWAYS = 1_000
MAX_OF_AGENT = 100  # open ones, so that no agent fills the room of all


def wait(tx: Tx, lease: Lease, questions: Sequence[Question]) -> Run:
    """Put questions to a person and let the run wait, for the answers and for its children."""
    held(tx, lease)
    session = sessions.by_id(tx, lease.session)
    _check_room(tx, ApprovalState.PENDING, MAX_PENDING - len(questions))
    expires_at = tx.now + sessions.rules_of(tx, session).max_wait_ms
    # in the order of the calls, which ids of one millisecond would not keep
    for question, name in zip(questions, sorted(ulid(tx.now) for _ in questions), strict=True):
        _ask(tx, lease, session, question, ApprovalId(name), expires_at)
    return waits.begin(tx, lease)


def verdict(tx: Tx, lease: Lease, question: Question, *, is_new: bool) -> Verdict:
    """Say what may become of a call; what is said of a decided question is said for good."""
    held(tx, lease)
    session = sessions.by_id(tx, lease.session)
    digest = question.digest(session.agent)
    row = tx.one("approval_of_call", run=lease.run, call_id=question.call_id, digest=digest)
    asked = rows.approval(row) if row and not is_new else None
    granted = tx.one("approval_granted", digest=digest)
    rights = jobs.rights(tx, lease.session, lease.run)
    is_granted = granted is not None or (rights is not None and question.tool in rights.allow_tools)
    found = rules.verdict(asked, is_granted=is_granted, is_new=is_new)
    if asked is not None and found is not Verdict.UNDECIDED:
        tx.run("approval_used", id=asked.id)
    if granted is not None and found is Verdict.GO:
        tx.run("approval_kept", id=granted[0], expires_at=tx.now + KEEP_UNUSED_MS)
    if found is not Verdict.UNDECIDED or asked is not None:
        return found
    if _is_unattended(tx, session):
        return _stand(tx, session, question, digest)
    return Verdict.CROWDED if _is_crowded(tx, session.agent) else found


def _is_unattended(tx: Tx, session: Session) -> bool:
    """Whether the tree of a session began with a request that takes its answer and goes."""
    root = sessions.by_id(tx, session.root) if session.root else session
    return root.policy is PolicyName.API


def _stand(tx: Tx, session: Session, question: Question, digest: str) -> Verdict:
    """Say what was said of the same call, or put the question, once however often the call is made."""
    row = tx.one("approval_standing", run=NO_RUN, digest=digest, now=tx.now)
    if row is not None:
        return rules.standing(rows.approval(row))
    pending = tx.one("approvals_in_state", state=ApprovalState.PENDING)
    if _is_crowded(tx, session.agent) or (pending and pending[0] >= MAX_PENDING):
        return Verdict.CROWDED
    tx.run(
        "approval_born",
        id=ulid(tx.now),
        session=session.id,
        run=NO_RUN,
        agent=session.agent,
        call_id=digest,
        tool=question.tool,
        arguments=question.arguments,
        digest=digest,
        created_at=tx.now,
        expires_at=tx.now + sessions.rules_of(tx, session).max_wait_ms,
    )
    return rules.standing(None)


def _is_crowded(tx: Tx, agent: str) -> bool:
    found = tx.one("approvals_pending_of_agent", agent=agent, limit=MAX_OF_AGENT)
    return found is not None and found[0] >= MAX_OF_AGENT


def decide(tx: Tx, approval_id: ApprovalId, decision: Decision) -> Approval:
    """Write a person's word; the run goes on when nothing is left to decide."""
    row = tx.one("approval_by_id", id=approval_id)
    if row is None:
        raise ApprovalNotFound(f"there is no approval {approval_id[:80]!r}")
    approval = rows.approval(row)
    if approval.state is decision.state:
        return approval
    is_revoked = approval.state is ApprovalState.ALWAYS and decision is Decision.DENY
    if approval.state is not ApprovalState.PENDING and not is_revoked:
        raise AlreadyDecided(f"approval {approval.id} is {approval.state} already")
    if decision is Decision.ALWAYS:
        _check_room(tx, ApprovalState.ALWAYS, MAX_ALWAYS - 1)
    return _close(tx, approval, decision.state)


def lapse(tx: Tx) -> int:
    """Close what nobody has decided in time, and say how many there were."""
    lapsed = [rows.approval(row) for row in tx.all("approvals_lapsed", now=tx.now)]
    for approval in lapsed:
        _close(tx, approval, ApprovalState.EXPIRED)
    return len(lapsed)


def _ask(  # noqa: PLR0913, PLR0917 - a row
    tx: Tx, lease: Lease, session: Session, question: Question, name: ApprovalId, expires_at: int
) -> None:
    """Put one question, unless it has been put and not been acted upon."""
    digest = question.digest(session.agent)
    known = tx.one("approval_of_call", run=lease.run, call_id=question.call_id, digest=digest)
    if known is not None and not rows.approval(known).is_used:
        return
    tx.run(
        "approval_born",
        id=name,
        session=session.id,
        run=lease.run,
        agent=session.agent,
        call_id=question.call_id,
        tool=question.tool,
        arguments=question.arguments,
        digest=digest,
        created_at=tx.now,
        expires_at=expires_at,
    )


def _close(tx: Tx, approval: Approval, state: ApprovalState) -> Approval:
    decided_ms = STANDING_MS if approval.run == NO_RUN else KEEP_DECIDED_MS
    kept_ms = KEEP_UNUSED_MS if state is ApprovalState.ALWAYS else decided_ms
    row = tx.one("approval_decided", id=approval.id, state=state, now=tx.now, expires_at=tx.now + kept_ms)
    if row is None:
        raise ApprovalNotFound
    if approval.state is ApprovalState.PENDING:
        waits.go_on(tx, approval.run)
    return rows.approval(row)


def _check_room(tx: Tx, state: ApprovalState, room: int) -> None:
    found = tx.one("approvals_in_state", state=state)
    if found and found[0] > room:
        hint = "`tidegate approvals list` shows them; decide on some, or revoke some"
        raise TooManyApprovals(f"{found[0]} approvals are {state} already", hint=hint)
