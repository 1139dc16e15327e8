"""The transaction of a compaction: a summary is appended, and what it takes the place of goes into segments."""

from tidegate.domain.entry import Entry
from tidegate.domain.run import Lease, Run
from tidegate.domain.session import Session
from tidegate.errors import WrongState
from tidegate.store import retention, rows, sessions, transcript
from tidegate.store import usage as counted
from tidegate.store.context import Replacement
from tidegate.store.lease import held
from tidegate.store.tx import Tx


def compact(tx: Tx, lease: Lease, replacement: Replacement) -> Entry:
    """Carry out a compaction under the fence of the run that has the turn."""
    run = rows.run(held(tx, lease))
    session = sessions.by_id(tx, lease.session)
    _check(session, replacement)
    session = retention.keep(tx, session, list(replacement.segments))
    appended = transcript.append(tx, session, lease.run, [replacement.summary])
    (entry,) = appended.entries
    sessions.summarise(tx, appended.session, entry.seq)
    _count(tx, run, session, replacement)
    return entry


def _check(session: Session, replacement: Replacement) -> None:
    through, segments = replacement.summary.through, replacement.segments
    first = segments[0].first_seq if segments else through + 1
    last = segments[-1].last_seq if segments else session.cold_through
    follows = not segments or first == session.cold_through + 1
    if session.summary_seq != replacement.before or not follows or not through <= last <= session.entries:
        raise WrongState(f"session {session.key!r} has changed meanwhile")


def _count(tx: Tx, run: Run, session: Session, replacement: Replacement) -> None:
    """Count what the summary took, for the run and for ever; it is no step of the run."""
    usage = replacement.usage
    tx.run(
        "run_grew",
        id=run.id,
        fence=run.fence,
        answers=0,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        reply_seq=None,
    )
    counted.count(tx, session, run, replacement.model, usage)
