"""Children and what they owe: born within the limits of their tree, paid for by their parent, answered for once.

A child's end and the delivery of its result are one transaction: as the result of the call that waits for it, else as a
queued run of its parent. There is no moment in which a result exists that nobody will get.
"""

from typing import NamedTuple

from tidegate.domain import spawn as rules
from tidegate.domain.entry import Assistant, BlobRef, Body, Result, User, decode
from tidegate.domain.run import Lane, Origin, Run
from tidegate.domain.session import Outcome, Session
from tidegate.domain.spawn import MIN_TOKENS, Tree
from tidegate.errors import SpawnRefused
from tidegate.ids import RunId, SessionId
from tidegate.store import blobs, queue, rows, sessions, transcript, waits
from tidegate.store.admission import Order
from tidegate.store.lease import held
from tidegate.store.tx import Tx

MAX_TOLD_CHARS = 32_000
NO_ANSWER = "it ended without an answer"


class _Debt(NamedTuple):
    """A row of ``spawns``, without the child."""

    parent: SessionId
    run: RunId
    call_id: str
    tool: str
    label: str
    waits: int


def repeat_of(tx: Tx, order: Order) -> Session | None:
    """Return the child that this very call has asked for before, if its result is still owed.

    Raises:
        FenceLost: The run may not write any more.
    """
    held(tx, order.lease)
    row = tx.one("spawn_of_call", run=order.lease.run, call_id=order.call_id)
    return rows.session(row) if row else None


def check(tx: Tx, order: Order) -> int:
    """Return the tokens that one more child may spend.

    Raises:
        SpawnRefused: The tree is as large as it may be, or nothing is left to spend.
    """
    parent = sessions.by_id(tx, order.lease.session)
    children, descendants = tx.one("live_below", parent=parent.id, root=parent.root or parent.id) or (0, 0)
    tree = Tree(depth=parent.depth, children=children, descendants=descendants)
    refusal = rules.refusal(tree, order.limits)
    if refusal is not None:
        raise SpawnRefused(refusal)
    run = rows.run(held(tx, order.lease))
    reserved = tx.one("tokens_reserved", run=run.id) or (0,)
    limit = order.max_tokens if run.max_tokens is None else min(order.max_tokens, run.max_tokens)
    tokens = rules.share(limit - run.spent.total - reserved[0], children, order.limits)
    if tokens < MIN_TOKENS:
        raise SpawnRefused("too little of this run's budget of tokens is left for a sub-agent")
    return min(tokens, order.child_max_tokens)


def record(tx: Tx, order: Order, child: Session, run: Run, tokens: int) -> None:
    """Note what a child owes to which call, and what it may spend."""
    tx.run("run_allowed", id=run.id, max_tokens=tokens)
    tx.run(
        "spawn_born",
        child=child.id,
        parent=order.lease.session,
        run=order.lease.run,
        call_id=order.call_id,
        tool=order.tool,
        label=order.label,
        waits=order.waits,
    )


def deliver(tx: Tx, child: Session, outcome: Outcome) -> None:
    """Deliver what a child that has just ended owes, and charge what it has spent."""
    row = tx.one("spawn_of_child", child=child.id)
    if row is None:
        return
    debt = _Debt(*row)
    tx.run("spawn_delivered", child=child.id)
    spent = tx.one("tokens_of_session", session=child.id) or (0,)
    tx.run("children_spent", id=debt.run, tokens=spent[0])
    text, is_error = answer(tx, child, outcome)
    parent = sessions.by_id(tx, debt.parent)
    if debt.waits:
        result = Result(tool=debt.tool, call_id=debt.call_id, text=text, is_error=is_error)
        transcript.append(tx, parent, debt.run, [result])
        waits.go_on(tx, debt.run)
    elif parent.is_live or parent.policy.is_conversation:
        message = User(text=f"[result of the sub-agent {debt.label!r}, session {child.key}]\n{told(text)}")
        queue.enqueue(tx, queue.reopen(tx, parent), Lane.SUBAGENT, Origin.RESULT, [message])


def told(text: str) -> str:
    """Return what a message holds of a result: it is read whole with each prompt."""
    if len(text) <= MAX_TOLD_CHARS:
        return text
    return f"{text[:MAX_TOLD_CHARS]}\n[cut off; the whole answer has {len(text):,} characters]"


def answer(tx: Tx, child: Session, outcome: Outcome) -> tuple[str, bool]:
    """Return the last answer of a child, whole, or what went wrong."""
    row = tx.one("last_run", session=child.id)
    run = rows.run(row) if row else None
    if run is not None and outcome is Outcome.OK:
        body = _body_at(tx, child.id, run.reply_seq)
        if body is not None:
            return _whole(tx, body), False
    reason = (run.error if run else "") or NO_ANSWER
    return (f"{outcome.replace('_', ' ')}: {reason}" if outcome is not Outcome.OK else reason), True


def _body_at(tx: Tx, session: SessionId, seq: int | None) -> Body | None:
    row = tx.one("entry_at", session=session, seq=seq)
    body = decode(bytes(row[0])) if row else None
    return body if isinstance(body, Assistant) else None


def _whole(tx: Tx, body: Body) -> str:
    match body.blob:
        case BlobRef(hash=name):
            return blobs.whole(tx, name).decode()
        case None:
            return body.text
