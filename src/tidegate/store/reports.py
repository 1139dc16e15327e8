"""How a job's run has ended, and where its answer goes: written in the transaction that ends the run, so exactly once.

An answer in a chat is an assistant's entry there: whoever talks on in that chat talks with the answer in context. It
is no instruction to anybody. If a turn of the chat is open, the answer waits behind it as a run that needs no model.
"""

from typing import NamedTuple

import msgspec

from tidegate.config.job import chat_key
from tidegate.domain import job as rules
from tidegate.domain.entry import Assistant
from tidegate.domain.job import Job
from tidegate.domain.run import Lane, Origin, Run
from tidegate.domain.session import Outcome, PolicyName, Session, State
from tidegate.ids import RunId
from tidegate.store import jobs, outbox, queue, rows, sessions, spawns, transcript
from tidegate.store.admission import Birth
from tidegate.store.rows import Row
from tidegate.store.tx import Tx


class _Report(NamedTuple):
    """What is told of a session that has ended."""

    session: Session
    run: RunId
    outcome: Outcome
    text: str


def session_ended(tx: Tx, session: Session, outcome: Outcome) -> None:
    """Note the end of an isolated session, and deliver what came of it."""
    row = tx.one("firing_of_run", session=session.id, run=None)
    if row is None:
        return
    text, _ = spawns.answer(tx, session, outcome)
    run, job = rows.firing(row).run, _end(tx, row, outcome)
    said = spawns.told(text)
    if outcome in {Outcome.FAILED, Outcome.TIMED_OUT}:
        said = f"has failed {job.failures} times in a row; {said}"
    is_news = outcome is Outcome.OK or job.failures == job.definition.alert_after
    if run is None or not is_news or outcome in {Outcome.CANCELLED, Outcome.INTERRUPTED}:
        return
    problem = _deliver(tx, job, _Report(session, run, outcome, said))
    if problem:
        tx.run("firing_noted", number=row[0], note=problem)


def run_ended(tx: Tx, session: Session, run: Run, outcome: Outcome) -> None:
    """Note the end of a run in a conversation, if a job has fired it."""
    row = tx.one("firing_of_run", session=session.id, run=run.id)
    if row is not None:
        _end(tx, row, outcome)


def _end(tx: Tx, row: Row, outcome: Outcome) -> Job:
    """Close a firing; failures in a row hold the job back, longer and longer."""
    tx.run("firing_ended", number=row[0], result=outcome, now=tx.now, note="")
    job = jobs.find(tx, rows.firing(row).job)
    match outcome:
        case Outcome.OK:
            failures, held_until = 0, None
        case Outcome.CANCELLED | Outcome.INTERRUPTED:  # a person did that
            return job
        case _:
            failures = job.failures + 1
            held_until = tx.now + rules.backoff_ms(failures)
    if (failures, held_until) == (job.failures, job.held_until):
        return job
    return jobs.write(tx, msgspec.structs.replace(job, failures=failures, held_until=held_until))


def _deliver(tx: Tx, job: Job, report: _Report) -> str:
    """Send a report to where the job wants it, and say what stood in the way."""
    way, _, name = job.definition.deliver.partition(":")
    match way:
        case "chat":
            return _tell(tx, job, chat_key(name), report)
        case "webhook":
            told = {
                "job": job.name,
                "session": report.session.key,
                "outcome": report.outcome,
                "text": report.text,
            }
            is_posted = outbox.put(tx, name, "job.finished", told) is not None
            return "" if is_posted else "not delivered: the outbox has no room for it"
        case _:
            return ""


def _tell(tx: Tx, job: Job, key: str, report: _Report) -> str:
    row = tx.one("session_by_key", key=key)
    if row is None:
        birth = Birth(policy=PolicyName.CHAT, agent=job.definition.agent or "")
        chat = sessions.create(tx, key, birth, job.name)
    else:
        chat = rows.session(row)
    if not chat.policy.is_conversation:
        return f"not delivered: the session {key!r} is no conversation"
    said = Assistant(text=f"[job {job.name}, session {report.session.key}]\n{report.text}")
    if tx.one("open_runs", session=chat.id) is not None:
        queue.enqueue(tx, chat, Lane.CRON, Origin.FIRING, [said])
        return ""
    reason = "continued" if chat.state is State.ARCHIVED else "finished"
    chat = transcript.append(tx, chat, report.run, [said]).session
    since_at = tx.now if chat.state is State.ARCHIVED else chat.since_at
    sessions.change(tx, chat, reason, state=State.ACTIVE, turn_at=None, since_at=since_at)
    return ""
