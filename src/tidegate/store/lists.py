"""Pages and counts: what reader threads answer, always from an index and always read to the end."""

import heapq
from collections.abc import Callable
from itertools import islice, product

from tidegate.domain.approval import Approval, ApprovalState
from tidegate.domain.job import FiringOutcome, JobOrigin
from tidegate.domain.outbox import DeliveryState
from tidegate.domain.run import Lane, Run, RunState
from tidegate.domain.session import Kind, PolicyName, Session, State
from tidegate.ids import SessionId
from tidegate.store import rows
from tidegate.store.port import Page
from tidegate.store.rows import Row
from tidegate.store.tally import Tallies
from tidegate.store.tx import Reads

HIGHEST = "~"  # sorts after every id
FIND_ROWS = 500  # rows looked at in one step of a search


def sessions(reads: Reads, page: Page, damaged: Callable[[str], None]) -> list[Session]:
    """Return one page of sessions, newest first, whichever filters it has; *damaged* is told of what cannot be read."""
    found: list[Session] = []
    before = page.before or HIGHEST
    is_search = page.text is not None or page.agent is not None
    step = FIND_ROWS if is_search else page.limit
    while len(found) < page.limit:
        slice_ = _slice(reads, page, before, step)
        readable = (session for row in slice_ if (session := _read(row, damaged)))
        found += [session for session in readable if _matches(session, page)]
        if len(slice_) < step:
            break
        before = str(slice_[-1][0])
    return found[: page.limit]


def _read(row: Row, damaged: Callable[[str], None]) -> Session | None:
    try:
        return rows.session(row)
    except (KeyError, ValueError, TypeError):
        damaged(str(row[0]))
        return None


def _slice(reads: Reads, page: Page, before: str, limit: int) -> list[Row]:
    kinds = set(page.kinds or Kind)
    states = page.states or list(State)
    if page.parent is not None:
        return reads.all("children_page", parent=page.parent, before=before, limit=limit)
    policies = [name for name in PolicyName if name.kind in kinds]
    parts = (
        reads.all("sessions_page", policy=name, state=state, before=before, limit=limit)
        for name, state in product(policies, states)
    )
    merged = heapq.merge(*parts, key=lambda row: str(row[0]), reverse=True)
    return list(islice(merged, limit))


def _matches(session: Session, page: Page) -> bool:
    if page.parent is not None and page.kinds and session.kind not in page.kinds:
        return False
    if page.parent is not None and page.states and session.state not in page.states:
        return False
    if page.agent is not None and session.agent != page.agent:
        return False
    return page.text is None or page.text.casefold() in f"{session.key}\n{session.title}".casefold()


def runs(
    reads: Reads, state: RunState | None, session: SessionId | None, before: int, limit: int
) -> list[Run]:
    """Return one page of runs, newest first."""
    if session is not None:
        query = {"session": session, "state": state, "before": before, "limit": limit}
        return [rows.run(row) for row in reads.all("runs_page_of_session", **query)]
    if state is not None:
        return [
            rows.run(row) for row in reads.all("runs_page_of_state", state=state, before=before, limit=limit)
        ]
    return [rows.run(row) for row in reads.all("runs_page", before=before, limit=limit)]


def approvals(
    reads: Reads, state: ApprovalState | None, session: SessionId | None, before: str | None, limit: int
) -> list[Approval]:
    """Return one page of approvals, newest first."""
    query: dict[str, rows.Value] = {"before": before or HIGHEST, "limit": limit}
    if session is not None:
        found = reads.all("approvals_page_of_session", session=session, state=state, **query)
    elif state is not None:
        found = reads.all("approvals_page_of_state", state=state, **query)
    else:
        found = reads.all("approvals_page", **query)
    return [rows.approval(row) for row in found]


def tallies(reads: Reads) -> Tallies:
    """Return the counts that the triggers keep."""
    table = {(row[0], row[1], row[2]): (int(row[3]), int(row[4])) for row in reads.all("tallies")}
    return Tallies(
        sessions={(name, state): table["session", name, state] for name, state in product(PolicyName, State)},
        runs={(lane, state): table["run", lane, state][0] for lane, state in product(Lane, RunState)},
        blobs=table["blob", "", ""][0],
        blob_bytes=table["blob", "", ""][1],
        references=table["reference", "", ""][0],
        snapshots=table["snapshot", "", ""][0],
        segments=table["segment", "", ""][0],
        segment_bytes=table["segment", "", ""][1],
        receipts=table["receipt", "", ""][0],
        approvals={state: table["approval", "", state][0] for state in ApprovalState},
        jobs={origin: table["job", origin, "active"][0] for origin in JobOrigin},
        paused_jobs={origin: table["job", origin, "paused"][0] for origin in JobOrigin},
        firings={outcome: table["firing", "", outcome][0] for outcome in FiringOutcome},
        outbox={state: table["outbox", "", state][0] for state in DeliveryState},
        outbox_refused=table["outbox_refused", "", ""][0],
        job_spends=table["job_spend", "", ""][0],
        facts={label: found for (family, label, _), found in table.items() if family == "fact"},
    )
