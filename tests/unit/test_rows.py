import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.entry import User, encode
from tidegate.domain.run import Failure, Lane, Origin, Run, RunState, Usage
from tidegate.domain.session import DueTo, Outcome, PolicyName, Session, State
from tidegate.errors import Corrupt
from tidegate.ids import RunId, SessionId
from tidegate.store import rows

SESSION = (
    *("S", "k", "cron", "archived", "timed_out", "P", "job:x:failed", "main", "title"),
    *(1, 2, 3, None, None, 6, "deleted", 7, 5, 99, 1, 12, 13, 14, 15, "R", 1, "snap", 6, "digest"),
)
RUN = (
    *(4, "R", "S", "cron", "firing", "done", "failed", "why", 3, 2, 10, 20, 5, 100, 101, 102),
    b'[{"t":"user"}]',
    *(15, 16, 17, 18, 4, "model_busy", 7, 9),
)
BODIES = st.binary(min_size=1, max_size=60)


def test_a_session() -> None:
    """A row of sessions is read column by column."""
    assert rows.session(SESSION) == Session(
        id=SessionId("S"),
        key="k",
        policy=PolicyName.CRON,
        state=State.ARCHIVED,
        outcome=Outcome.TIMED_OUT,
        parent=SessionId("P"),
        cap_group="job:x:failed",
        agent="main",
        title="title",
        created_at=1,
        updated_at=2,
        since_at=3,
        turn_at=None,
        running_at=None,
        due_at=6,
        due_to=DueTo.DELETED,
        entries=7,
        cold_through=5,
        bytes=99,
        pinned=True,
        version=12,
        waiting_at=13,
        waited_ms=14,
        max_runtime_ms=15,
        root=SessionId("R"),
        depth=1,
        snapshot="snap",
        summary_seq=6,
        instructions="digest",
    )


def test_a_run() -> None:
    """A row of runs is read column by column; its prompt is read apart."""
    assert rows.run(RUN) == Run(
        number=4,
        id=RunId("R"),
        session=SessionId("S"),
        lane=Lane.CRON,
        origin=Origin.FIRING,
        state=RunState.DONE,
        outcome=Outcome.FAILED,
        error="why",
        fence=3,
        steps=2,
        usage=Usage(input_tokens=10, output_tokens=20, cached_tokens=9),
        reply_seq=5,
        created_at=100,
        started_at=101,
        finished_at=102,
        waited_ms=15,
        max_tokens=16,
        children_tokens=17,
        parked_at=18,
        asked_seq=4,
        failure=Failure(code="model_busy", retry_after_s=7),
    )
    assert rows.prompt_of(RUN) == b'[{"t":"user"}]'


def test_columns_of_a_newer_release() -> None:
    """Columns that a newer release has added at the end are passed over."""
    assert rows.session((*SESSION, "new", 1)) == rows.session(SESSION)
    assert rows.run((*RUN, None)) == rows.run(RUN)


def test_an_entry() -> None:
    """A verified body at its place is an entry."""
    body = encode(User(text="hello"))
    row = (3, body, rows.checksum("S", 3, body))
    found = rows.entry(SessionId("S"), 3, rows.hot_body("S", row))
    assert (found.session, found.seq, found.body) == ("S", 3, User(text="hello"))


@given(BODIES, st.data())
def test_a_damaged_byte_is_noticed(body: bytes, data: st.DataObject) -> None:
    """A changed byte anywhere in a body does not match its checksum."""
    check = rows.checksum("S", 1, body)
    place = data.draw(st.integers(0, len(body) - 1))
    damaged = bytearray(body)
    damaged[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Corrupt):
        rows.hot_body("S", (1, bytes(damaged), check))


@given(BODIES, st.integers(1, 1 << 40), st.integers(1, 1 << 40))
def test_a_moved_row_is_noticed(body: bytes, seq: int, other: int) -> None:
    """A body at another place of its session, or in another session, does not match its checksum."""
    check = rows.checksum("S", seq, body)
    assert rows.hot_body("S", (seq, body, check)) == body
    with pytest.raises(Corrupt):
        rows.hot_body("T", (seq, body, check))
    if seq != other:
        with pytest.raises(Corrupt):
            rows.hot_body("S", (other, body, check))
