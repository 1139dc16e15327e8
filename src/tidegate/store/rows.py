"""Rows of the database and what they mean. Columns come in the order of the table, so `SELECT *` is enough.

A newer release may have added columns at the end; they are passed over.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar
from zlib import crc32

import msgspec

from tidegate.config.job import Job as Definition
from tidegate.domain.approval import Approval, ApprovalState, Question
from tidegate.domain.entry import Entry, decode
from tidegate.domain.fact import Fact, FactOrigin
from tidegate.domain.job import Firing, FiringOutcome, Job, JobOrigin, Rights
from tidegate.domain.outbox import Delivery, DeliveryState
from tidegate.domain.run import Failure, Lane, Origin, Run, RunState, Usage
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session, State
from tidegate.errors import Corrupt
from tidegate.ids import ApprovalId, DeliveryId, FactId, RunId, SessionId

T = TypeVar("T")

Row = Sequence[Any]
Value = int | float | str | bytes | None

_definition = msgspec.json.Decoder(Definition)
_names = msgspec.json.Decoder(list[str])
_POLICIES = {item.value: item for item in PolicyName}
_STATES = {item.value: item for item in State}
_OUTCOMES = {None: None} | {item.value: item for item in Outcome}
_DUE_TO = {None: None} | {item.value: item for item in DueTo}


def _reads(what: str, name: int) -> Callable[[Callable[[Row], T]], Callable[[Row], T]]:
    """Let what a row cannot mean be told as damage; a thing is known by its kind and by the column *name*."""

    def decorate(read: Callable[[Row], T]) -> Callable[[Row], T]:
        @wraps(read)
        def reading(row: Row) -> T:
            try:
                return read(row)
            except (LookupError, ValueError, TypeError, msgspec.MsgspecError) as error:
                raise Corrupt(
                    f"the row of the {what} {str(row[name])[:80]!r} cannot be read",
                    hint="restore a backup; `tidegate doctor --scrub` names what is damaged",
                ) from error

        return reading

    return decorate


@_reads("session", 1)
def session(row: Row) -> Session:
    """Read a row of ``sessions``."""
    return Session(
        id=row[0],
        key=row[1],
        policy=_POLICIES[row[2]],
        state=_STATES[row[3]],
        outcome=_OUTCOMES[row[4]],
        parent=row[5],
        cap_group=row[6],
        agent=row[7],
        title=row[8],
        created_at=row[9],
        updated_at=row[10],
        since_at=row[11],
        turn_at=row[12],
        running_at=row[13],
        due_at=row[14],
        due_to=_DUE_TO[row[15]],
        entries=row[16],
        cold_through=row[17],
        bytes=row[18],
        pinned=bool(row[19]),
        version=row[20],
        waiting_at=row[21],
        waited_ms=row[22],
        max_runtime_ms=row[23],
        root=row[24],
        depth=row[25],
        snapshot=row[26],
        summary_seq=row[27],
        instructions=row[28],
    )


@_reads("run", 1)
def run(row: Row) -> Run:
    """Read a row of ``runs``."""
    return Run(
        number=row[0],
        id=RunId(row[1]),
        session=SessionId(row[2]),
        lane=Lane(row[3]),
        origin=Origin(row[4]),
        state=RunState(row[5]),
        outcome=_OUTCOMES[row[6]],
        error=row[7],
        fence=row[8],
        steps=row[9],
        usage=Usage(input_tokens=row[10], output_tokens=row[11], cached_tokens=row[24]),
        reply_seq=row[12],
        created_at=row[13],
        started_at=row[14],
        finished_at=row[15],
        waited_ms=row[17],
        max_tokens=row[18],
        children_tokens=row[19],
        parked_at=row[20],
        asked_seq=row[21],
        failure=Failure(code=row[22], retry_after_s=row[23]) if row[22] else None,
    )


def prompt_of(row: Row) -> bytes | None:
    """Return the stored prompt of a row of ``runs``, a JSON list of bodies; None once it was appended."""
    prompt: bytes | None = row[16]
    return prompt


@_reads("approval", 0)
def approval(row: Row) -> Approval:
    """Read a row of ``approvals``."""
    return Approval(
        id=ApprovalId(row[0]),
        session=row[1],
        run=RunId(row[2]),
        agent=row[3],
        question=Question(call_id=row[4], tool=row[5], arguments=row[6]),
        state=ApprovalState(row[8]),
        is_used=bool(row[9]),
        created_at=row[10],
        expires_at=row[11],
        decided_at=row[12],
    )


@_reads("job", 0)
def job(row: Row) -> Job:
    """Read a row of ``jobs``."""
    return Job(
        definition=_definition.decode(row[1]),
        origin=JobOrigin(row[2]),
        creator=row[3],
        paused=bool(row[4]),
        created_at=row[5],
        fired_through=row[6],
        next_at=row[7],
        held_until=row[8],
        failures=row[9],
        revision=row[10],
    )


@_reads("firing of the job", 1)
def firing(row: Row) -> Firing:
    """Read a row of ``firings``."""
    return Firing(
        number=row[0],
        job=row[1],
        instant=row[2],
        outcome=FiringOutcome(row[3]),
        count=row[4],
        is_asked=bool(row[5]),
        run=row[6],
        session=row[7],
        is_open=bool(row[8]),
        result=_OUTCOMES[row[9]],
        note=row[10],
        created_at=row[11],
        ended_at=row[12],
    )


def rights(row: Row) -> Rights:
    """Read what a row of ``firings`` allows."""
    return Rights(_names.decode(row[13]), None if row[14] is None else _names.decode(row[14]))


@_reads("delivery", 1)
def delivery(row: Row) -> Delivery:
    """Read a row of ``outbox``, without what is sent."""
    return Delivery(
        id=DeliveryId(row[1]),
        target=row[2],
        kind=row[3],
        state=DeliveryState(row[4]),
        attempts=row[5],
        error=row[6],
        created_at=row[7],
        due_at=row[8],
        bytes=len(row[10]),
    )


@_reads("fact", 1)
def fact(row: Row) -> Fact:
    """Read a row of ``facts``."""
    return Fact(
        number=row[0],
        id=FactId(row[1]),
        agent=row[2],
        text=row[3],
        entity=row[4],
        key=row[5],
        value=row[6],
        category=row[7],
        importance=row[8],
        origin=FactOrigin(row[9]),
        source=row[10],
        created_at=row[11],
        updated_at=row[12],
        used_at=row[13],
        expires_at=row[14],
    )


def checksum(session_id: str, seq: int, body: bytes) -> int:
    """Return the CRC-32 over an entry's place and body: a row that was damaged or moved does not match it."""
    return crc32(body, crc32(f"{session_id}:{seq}:".encode()))


def hot_body(session_id: str, row: Row) -> bytes:
    """Return the verified body of a row (seq, body, checksum) of ``entries``.

    Raises:
        Corrupt: The body does not match its checksum.
    """
    seq, body, expected = row
    if checksum(session_id, seq, body) != expected:
        raise Corrupt(
            f"entry {seq} of session {session_id} is damaged",
            hint="restore a backup; `tidegate doctor --scrub` lists everything that is damaged",
        )
    return bytes(body)


def entry(session_id: SessionId, seq: int, body: bytes) -> Entry:
    """Read a stored body at its place."""
    return Entry(session=session_id, seq=seq, body=decode(body))
