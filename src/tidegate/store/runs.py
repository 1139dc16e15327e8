"""Work, from the door to its end; the transactions behind the first half of the port."""

import hashlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import takewhile

import msgspec

from tidegate.clock import DAY_MS
from tidegate.domain.entry import Assistant, Body, Call, Entry, System, User
from tidegate.domain.run import Lane, Lease, Run, RunState, Step, Usage
from tidegate.domain.session import Outcome, PolicyName, Session, State
from tidegate.errors import (
    AgentMismatch,
    AlreadyDone,
    FenceLost,
    KeyReused,
    QueueFull,
    ReceiptsFull,
    RunNotFound,
    SessionBusy,
    SessionFinished,
    SessionNotFound,
)
from tidegate.ids import RunId, SessionId
from tidegate.store import (
    conversations,
    events,
    queue,
    rows,
    sessions,
    snapshots,
    spawns,
    transcript,
    turns,
    usage,
    waits,
)
from tidegate.store.admission import Admission, Admitted, Claimed, Ending, Said
from tidegate.store.lease import held
from tidegate.store.tx import Reads, Tx

RECEIPT_MS = DAY_MS
MAX_RECEIPTS = 1_000_000
TITLE_CHARS = 80


def admit(tx: Tx, admission: Admission) -> Admitted:
    """Accept a piece of work, or find the one that its receipt promises."""
    repeat = _repeat_of(tx, admission)
    if repeat is not None:
        return repeat
    if admission.refusal is not None:
        raise admission.refusal
    tokens = spawns.check(tx, admission.order) if admission.order else 0
    queued = tx.one("queued_in_lane", lane=admission.lane)
    if queued and queued[0] >= admission.max_queued:
        raise QueueFull(f"{queued[0]} runs are queued in the lane {admission.lane}")
    session = _session_for(tx, admission)
    run = queue.enqueue(tx, session, admission.lane, admission.origin, admission.bodies)
    if admission.order is not None:
        spawns.record(tx, admission.order, session, run, tokens)
    _keep_receipt(tx, admission, run)
    if admission.claims and (claimed := claim(tx, admission.lane, with_api=True, only=run.id)):
        tx.effects.claimed.append(claimed)
        return Admitted(run=claimed.run, session=claimed.session)
    return Admitted(run=run, session=session)


def claim(
    tx: Tx, lane: Lane, *, with_api: bool, without: Collection[str] = (), only: RunId | None = None
) -> Claimed | None:
    """Start the oldest run that may run, and append its message; with *only*, if it is this one."""
    row = tx.one("run_claimable", lane=lane, with_api=with_api, without=names(without), now=tx.now)
    if row is None or only not in (None, row[1]):
        return None
    session = sessions.by_id(tx, SessionId(row[2]))
    session, bodies = _with_news(tx, session, turns.bodies_of(rows.prompt_of(row)))
    claimed = tx.one("run_claimed", id=row[1], now=tx.now, asked_seq=session.entries + len(bodies))
    if claimed is None:
        return None
    is_first = row[14] is None
    session = sessions.change(
        tx,
        session,
        "claimed",
        state=State.ACTIVE,
        turn_at=tx.now if is_first else session.turn_at,
        running_at=tx.now,
        updated_at=tx.now,
        waited_ms=0 if is_first and session.policy.is_conversation else session.waited_ms,
    )
    run = rows.run(claimed)
    first_seq = session.entries + 1
    session = transcript.append(tx, session, run.id, bodies).session
    if is_first:
        events.started(tx, session, run, first_seq)
    return Claimed(run=run, session=session)


def _with_news(tx: Tx, session: Session, bodies: Sequence[Body]) -> tuple[Session, Sequence[Body]]:
    """Return what of a message is new: a client that instructs a session with each message says it once."""
    said = list(takewhile(lambda body: isinstance(body, System), bodies))
    if not said or session.policy is not PolicyName.API_NAMED:
        return session, bodies
    texts = msgspec.json.encode([(body.text, body.blob) for body in said])
    digest = hashlib.blake2b(texts, digest_size=16).hexdigest()
    if digest == session.instructions:
        return session, bodies[len(said) :]
    return sessions.instruct(tx, session, digest), bodies


def names(agents: Collection[str]) -> str:
    """Return names as a query takes them."""
    return msgspec.json.encode(sorted(agents)).decode()


def append(tx: Tx, lease: Lease, step: Step) -> list[Entry]:
    """Append one step under its fence."""
    run = rows.run(held(tx, lease))
    return _append(tx, run, lease, step)


def finish(tx: Tx, lease: Lease, ending: Ending) -> Run:
    """Keep the last step of a run, if there is one, and close it under its fence."""
    row = held(tx, lease)
    if ending.step is not None:
        _append(tx, rows.run(row), lease, ending.step)
    session = turns.notice(tx, sessions.by_id(tx, lease.session), lease.run, ending.notice)
    session = turns.close(tx, session, row, ending)
    turns.end_turn(tx, session, ending.outcome, "finished")
    return _run(tx, lease.run)


def cancel_run(tx: Tx, run_id: RunId, said: Said = ()) -> Run:
    """Close an open run as cancelled."""
    _keep(tx, said)
    row = tx.one("run_by_id", id=run_id)
    if row is None:
        raise RunNotFound(f"there is no run {run_id!r}")
    run = rows.run(row)
    if run.state is RunState.DONE:
        return run
    session = turns.close(tx, sessions.by_id(tx, run.session), row, Ending(outcome=Outcome.CANCELLED))
    turns.end_turn(tx, session, Outcome.CANCELLED, "cancelled")
    return _run(tx, run.id)


def cancel_session(tx: Tx, session_id: SessionId, said: Said = ()) -> Session:
    """Close all that is open in a session; an ephemeral one completes."""
    _keep(tx, said)
    session = sessions.by_id(tx, session_id)
    if session.policy.is_conversation:
        turns.cancel_children(tx, session, "cancelled")
        session = sessions.by_id(tx, session_id)
        return turns.end_conversation_turn(tx, session, Outcome.CANCELLED, "cancelled")
    return turns.complete(tx, session, Outcome.CANCELLED, "cancelled") if session.is_live else session


def unattended(reads: Reads) -> list[SessionId]:
    """Return the live sessions that end with a request, and whose client has no promise to come back to."""
    return [SessionId(row[0]) for row in reads.all("sessions_unattended", kept_ms=RECEIPT_MS)]


def recover(tx: Tx) -> int:
    """Queue every running run again, and every parked one."""
    for row in tx.all("sessions_recovered"):
        sessions.tell(tx, row)
    count = tx.run("runs_recovered")
    while parked := waits.unpark(tx):
        count += parked
    tx.effects.queued.update(Lane)
    return count


def _keep(tx: Tx, said: Said) -> None:
    """Append what runs were saying when they were stopped, unless somebody else has closed them."""
    for lease, step in said:
        with suppress(FenceLost):
            append(tx, lease, step)


def _append(tx: Tx, run: Run, lease: Lease, step: Step) -> list[Entry]:
    appended = transcript.append(tx, sessions.by_id(tx, lease.session), lease.run, step.bodies)
    took = step.usage or Usage()
    tx.run(
        "run_grew",
        id=lease.run,
        fence=lease.fence,
        answers=0 if step.usage is None else 1,
        input_tokens=took.input_tokens,
        output_tokens=took.output_tokens,
        cached_tokens=took.cached_tokens,
        reply_seq=_reply_seq(appended.entries),
    )
    if step.usage is not None:
        usage.count(tx, appended.session, run, step.model, took)
    return appended.entries


def _run(tx: Tx, run_id: RunId) -> Run:
    row = tx.one("run_by_id", id=run_id)
    if row is None:
        raise RunNotFound(f"there is no run {run_id!r}")
    return rows.run(row)


def _repeat_of(tx: Tx, admission: Admission) -> Admitted | None:
    if admission.order is not None:
        child = spawns.repeat_of(tx, admission.order)
        row = tx.one("first_run", session=child.id) if child else None
        return Admitted(run=rows.run(row), session=child, is_repeat=True) if child and row else None
    receipt = admission.receipt
    found = receipt and tx.one("receipt", scope=receipt.scope, key=receipt.key, now=tx.now)
    if not receipt or not found:
        return None
    if bytes(found[1]) != receipt.body_hash:
        raise KeyReused(hint="use a new key for a new message")
    row = tx.one("run_by_id", id=found[0])
    if row is None and receipt.while_open:
        return None
    if row is None:
        raise AlreadyDone
    run = rows.run(row)
    if receipt.while_open and run.state is RunState.DONE:
        return None
    return Admitted(run=run, session=sessions.by_id(tx, run.session), is_repeat=True)


def _keep_receipt(tx: Tx, admission: Admission, run: Run) -> None:
    receipt = admission.receipt
    if receipt is None:
        return
    held = tx.one("receipts_held")
    if held and held[0] >= MAX_RECEIPTS:
        if receipt.while_open:
            return
        raise ReceiptsFull(retry_after_s=3600)
    tx.run(
        "receipt_kept",
        scope=receipt.scope,
        key=receipt.key,
        body_hash=receipt.body_hash,
        run=run.id,
        expires_at=tx.now + RECEIPT_MS,
    )


def _session_for(tx: Tx, admission: Admission) -> Session:
    row = tx.one("session_by_key", key=admission.key) if admission.key else None
    if admission.only is not None and (row is None or row[0] != admission.only):
        raise SessionNotFound
    if admission.excerpt is not None:
        return conversations.branch(tx, admission.key, admission.excerpt)
    if row is None:
        sessions.check_room(tx, admission.birth.policy)
        snapshot = snapshots.adopt(tx, admission.skills) if admission.skills else None
        return sessions.create(tx, admission.key, admission.birth, _title(admission), snapshot)
    session = rows.session(row)
    if admission.agent_is_named and session.agent != admission.birth.agent:
        raise AgentMismatch(f"session {session.key!r} belongs to agent {session.agent!r}")
    if not session.policy.is_conversation and not session.is_live:
        raise SessionFinished(f"session {session.key!r} is finished; it takes no more messages")
    if admission.is_fresh and session.policy.is_conversation and conversations.is_used(session):
        return conversations.begin_afresh(tx, session).session
    if admission.interrupts and session.policy.is_conversation:
        session = turns.end_conversation_turn(tx, session, Outcome.INTERRUPTED, "interrupted")
    if len(tx.all("open_runs", session=session.id)) >= admission.max_open:
        raise SessionBusy(f"session {session.key!r} has {admission.max_open} messages waiting")
    if session.state is State.ARCHIVED:
        sessions.check_room(tx, session.policy)
    session = sessions.entitle(tx, _with_skills(tx, session, admission), _title(admission))
    return queue.reopen(tx, session)


def _with_skills(tx: Tx, session: Session, admission: Admission) -> Session:
    """Give a conversation the present skills of its agent, between two turns: a turn keeps those it began with."""
    offer = admission.skills
    if offer is None or offer.agent != session.agent or session.turn_at is not None:
        return session
    if not session.policy.is_conversation or offer.snapshot.name == session.snapshot:
        return session
    return sessions.adopt(tx, session, snapshots.adopt(tx, offer))


def _title(admission: Admission) -> str:
    said = (body.text for body in reversed(admission.bodies) if isinstance(body, User))
    start = (admission.birth.title or next(said, ""))[:400]
    if not start.isprintable():
        start = "".join(mark if mark.isprintable() else " " for mark in start)
    return " ".join(start.split())[:TITLE_CHARS]


def _reply_seq(entries: list[Entry]) -> int | None:
    """Return the place of the answer, if the step is one: an assistant's whole text without a call."""
    if any(isinstance(entry.body, Call) for entry in entries):
        return None
    bodies = ((entry.seq, entry.body) for entry in reversed(entries))
    return next((seq for seq, body in bodies if isinstance(body, Assistant) and not body.is_partial), None)
