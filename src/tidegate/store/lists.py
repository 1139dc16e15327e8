"""Pages and counts: what reader threads answer, always from an index and always read to the end.

What cannot be read is left out of a page, and *damaged* is told of it.
"""

import heapq
from collections.abc import Callable
from itertools import islice, product
from typing import TypeVar

from tidegate.domain.approval import Approval, ApprovalState
from tidegate.domain.job import Firing, FiringOutcome, Job, JobOrigin
from tidegate.domain.outbox import DeliveryState
from tidegate.domain.run import Lane, Run, RunState
from tidegate.domain.session import Kind, PolicyName, Session, State
from tidegate.errors import Corrupt
from tidegate.ids import SessionId
from tidegate.store import rows
from tidegate.store.port import Page
from tidegate.store.rows import Row
from tidegate.store.tally import Tallies
from tidegate.store.tx import Reads

T = TypeVar("T")
C = TypeVar("C", int, str)

Damaged = Callable[[Corrupt], None]

HIGHEST = "~"  # sorts after every id
FIND_ROWS = 500  # rows looked at in one step of a search


def sessions(reads: Reads, page: Page, damaged: Damaged) -> list[Session]:
    """Return one page of sessions, newest first, whichever filters it has."""
    found: list[Session] = []
    before = page.before or HIGHEST
    is_search = page.text is not None or page.agent is not None
    step = FIND_ROWS if is_search else page.limit
    while len(found) < page.limit:
        slice_ = _slice(reads, page, before, step)
        readable = (session for row in slice_ if (session := _read(row, rows.session, damaged)))
        found += [session for session in readable if _matches(session, page)]
        if len(slice_) < step:
            break
        before = str(slice_[-1][0])
    return found[: page.limit]


def _page(
    fetch: Callable[[C, int], list[Row]], before: C, limit: int, read: Callable[[Row], T], damaged: Damaged
) -> list[T]:
    """Return a page of what can be read, whole as long as there is more; *fetch* goes on behind its first column."""
    found: list[T] = []
    while (wanted := limit - len(found)) > 0:
        slice_ = fetch(before, wanted)
        found += [item for row in slice_ if (item := _read(row, read, damaged)) is not None]
        if len(slice_) < wanted:
            break
        before = slice_[-1][0]
    return found


def _read(row: Row, read: Callable[[Row], T], damaged: Damaged) -> T | None:
    try:
        return read(row)
    except Corrupt as error:
        damaged(error)
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


def runs(  # noqa: PLR0913, PLR0917 - the filters, and who is told
    reads: Reads,
    state: RunState | None,
    session: SessionId | None,
    before: int,
    limit: int,
    damaged: Damaged,
) -> list[Run]:
    """Return one page of runs, newest first."""

    def fetch(before: int, limit: int) -> list[Row]:
        if session is not None:
            return reads.all("runs_page_of_session", session=session, state=state, before=before, limit=limit)
        if state is not None:
            return reads.all("runs_page_of_state", state=state, before=before, limit=limit)
        return reads.all("runs_page", before=before, limit=limit)

    return _page(fetch, before, limit, rows.run, damaged)


def approvals(  # noqa: PLR0913, PLR0917 - the same
    reads: Reads,
    state: ApprovalState | None,
    session: SessionId | None,
    before: str | None,
    limit: int,
    damaged: Damaged,
) -> list[Approval]:
    """Return one page of approvals, newest first."""

    def fetch(before: str, limit: int) -> list[Row]:
        query: dict[str, rows.Value] = {"before": before, "limit": limit}
        if session is not None:
            return reads.all("approvals_page_of_session", session=session, state=state, **query)
        if state is not None:
            return reads.all("approvals_page_of_state", state=state, **query)
        return reads.all("approvals_page", **query)

    return _page(fetch, before or HIGHEST, limit, rows.approval, damaged)


def jobs(reads: Reads, after: str, limit: int, damaged: Damaged) -> list[Job]:
    """Return one page of jobs, by name."""

    def fetch(after: str, limit: int) -> list[Row]:
        return reads.all("jobs_page", after=after, limit=limit)

    return _page(fetch, after, limit, rows.job, damaged)


def firings(reads: Reads, job: str, before: int, limit: int, damaged: Damaged) -> list[Firing]:
    """Return one page of a job's history, newest first."""

    def fetch(before: int, limit: int) -> list[Row]:
        return reads.all("firings_page", job=job, before=before, limit=limit)

    return _page(fetch, before, limit, rows.firing, damaged)


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
