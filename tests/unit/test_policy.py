import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config import Lifecycle
from tidegate.domain.policy import DEFAULTS, NEVER, Due, Policy, next_step, policies
from tidegate.domain.session import DueTo, Kind, Outcome, PolicyName, Session, State
from tidegate.ids import SessionId

BORN = 1_000_000_000_000
INSTANT = st.integers(0, 1 << 43)
NEW = Session(
    id=SessionId("S"),
    key="k",
    policy=PolicyName.CHAT,
    state=State.CREATED,
    outcome=None,
    parent=None,
    cap_group=None,
    agent="main",
    title="",
    created_at=BORN,
    updated_at=BORN,
    since_at=BORN,
    turn_at=None,
    running_at=None,
    due_at=None,
    due_to=None,
    entries=0,
    cold_through=0,
    bytes=0,
    pinned=False,
    version=1,
)
SESSIONS = st.builds(
    lambda **changes: msgspec.structs.replace(NEW, **changes),
    policy=st.sampled_from(PolicyName),
    state=st.sampled_from(State),
    outcome=st.none() | st.sampled_from(Outcome),
    created_at=INSTANT,
    updated_at=INSTANT,
    since_at=INSTANT,
    turn_at=st.none() | INSTANT,
    running_at=st.none() | INSTANT,
    pinned=st.booleans(),
)


def session(policy: PolicyName, state: State, **changes: object) -> Session:
    """Return a session under one of the policies, by default just born."""
    return msgspec.structs.replace(NEW, policy=policy, state=state, **changes)


def step(found: Session) -> tuple[int | None, DueTo | None]:
    """Return how far the next step of a session lies from its birth, and where it goes."""
    due_at, due_to = next_step(found, DEFAULTS[found.policy])
    return (None if due_at is None else due_at - BORN, due_to)


@given(SESSIONS)
def test_an_ephemeral_session_always_has_a_date(found: Session) -> None:
    """I3: whatever its state, its times and its end, an ephemeral session that is not pinned has a next step."""
    due = next_step(found, DEFAULTS[found.policy])
    assert (due.due_at is None) == (due.due_to is None)
    if found.policy is not PolicyName.CHAT and not found.pinned:
        assert due != NEVER


@given(SESSIONS)
def test_a_pin_only_takes_dates_away(found: Session) -> None:
    """A pin stops archiving and deleting and leaves every deadline where it is."""
    policy = DEFAULTS[found.policy]
    free = next_step(msgspec.structs.replace(found, pinned=False), policy)
    pinned = next_step(msgspec.structs.replace(found, pinned=True), policy)
    assert pinned == (free if free.due_to is DueTo.COMPLETED else NEVER)


@given(SESSIONS)
def test_states_follow_each_other(found: Session) -> None:
    """A session goes from live to completed, on to archived, on to deleted; a conversation skips completed."""
    _, due_to = next_step(found, DEFAULTS[found.policy])
    ways = {
        State.COMPLETED: {DueTo.ARCHIVED, None},
        State.ARCHIVED: {DueTo.DELETED, None},
    }
    live = {DueTo.ARCHIVED, DueTo.COMPLETED, None} if found.policy.is_conversation else {DueTo.COMPLETED}
    assert due_to in ways.get(found.state, live)


@pytest.mark.parametrize(
    ("policy", "deadline", "archived", "deleted", "deleted_failed"),
    [
        (PolicyName.SUBAGENT, 2 * HOUR_MS, HOUR_MS, 30 * DAY_MS, 30 * DAY_MS),
        (PolicyName.CRON, 2 * HOUR_MS, HOUR_MS, 30 * DAY_MS, 90 * DAY_MS),
        (PolicyName.HOOK, 30 * MINUTE_MS, HOUR_MS, 14 * DAY_MS, 14 * DAY_MS),
        (PolicyName.API, 10 * MINUTE_MS, 0, DAY_MS, DAY_MS),
    ],
)
def test_the_table_of_ephemeral_kinds(
    policy: PolicyName, deadline: int, archived: int, deleted: int, deleted_failed: int
) -> None:
    """By default: a deadline from birth, then a while to read, then a retention, longer for a failed job."""
    assert step(session(policy, State.CREATED, turn_at=BORN)) == (deadline, DueTo.COMPLETED)
    assert step(session(policy, State.COMPLETED, outcome=Outcome.OK)) == (archived, DueTo.ARCHIVED)
    assert step(session(policy, State.ARCHIVED, outcome=Outcome.OK)) == (deleted, DueTo.DELETED)
    for outcome in set(Outcome) - {Outcome.OK}:
        assert step(session(policy, State.ARCHIVED, outcome=outcome)) == (deleted_failed, DueTo.DELETED)


@pytest.mark.parametrize("state", [State.CREATED, State.ACTIVE])
def test_a_chat(state: State) -> None:
    """A chat has no deadline, is archived 30 days after its last activity, and is never deleted."""
    assert step(session(PolicyName.CHAT, state, turn_at=BORN)) == (30 * DAY_MS, DueTo.ARCHIVED)
    assert step(session(PolicyName.CHAT, state, updated_at=BORN + 5)) == (30 * DAY_MS + 5, DueTo.ARCHIVED)
    assert step(session(PolicyName.CHAT, State.ARCHIVED)) == NEVER


def test_a_chat_that_is_kept() -> None:
    """Where chats are never archived, an idle one has no next step."""
    policy = msgspec.structs.replace(DEFAULTS[PolicyName.CHAT], archive_after_ms=None)
    assert next_step(session(PolicyName.CHAT, State.ACTIVE), policy) == NEVER


def test_a_named_api_session() -> None:
    """Its turn has a deadline from its start; between turns it is archived an hour after its last activity."""
    turn = session(PolicyName.API_NAMED, State.ACTIVE, turn_at=BORN + 7)
    assert step(turn) == (10 * MINUTE_MS + 7, DueTo.COMPLETED)
    assert step(session(PolicyName.API_NAMED, State.ACTIVE)) == (HOUR_MS, DueTo.ARCHIVED)
    assert step(session(PolicyName.API_NAMED, State.ARCHIVED)) == (30 * DAY_MS, DueTo.DELETED)


def test_without_progress() -> None:
    """A sub-agent whose run says nothing for ten minutes is due earlier; while none runs, waiting does not count."""
    running = session(PolicyName.SUBAGENT, State.ACTIVE, turn_at=BORN, running_at=BORN + 5)
    assert step(running) == (10 * MINUTE_MS + 5, DueTo.COMPLETED)
    later = msgspec.structs.replace(running, updated_at=BORN + HOUR_MS)
    assert step(later) == (HOUR_MS + 10 * MINUTE_MS, DueTo.COMPLETED)
    last = msgspec.structs.replace(running, updated_at=BORN + 2 * HOUR_MS - 1)
    assert step(last) == (2 * HOUR_MS, DueTo.COMPLETED)
    assert step(msgspec.structs.replace(running, running_at=None)) == (2 * HOUR_MS, DueTo.COMPLETED)


def test_an_unpin_counts_as_activity() -> None:
    """A conversation's idle time counts from the later of its last activity and its unpin or restore."""
    found = session(PolicyName.CHAT, State.ACTIVE, updated_at=BORN, since_at=BORN + DAY_MS)
    assert step(found) == (31 * DAY_MS, DueTo.ARCHIVED)


def test_caps_and_bounds() -> None:
    """By default so many of a group are kept and so many of a kind may run; chats have neither."""
    expected = {
        PolicyName.SUBAGENT: (500, 200),
        PolicyName.CRON: (500, 100),
        PolicyName.HOOK: (None, 200),
        PolicyName.API: (None, 1_000),
        PolicyName.API_NAMED: (None, 1_000),
        PolicyName.CHAT: (None, None),
    }
    assert {name: (policy.keep, policy.max_running) for name, policy in DEFAULTS.items()} == expected


def test_configuration_changes_what_it_names() -> None:
    """A configured kind changes by what is set and keeps the rest; the other kinds keep their defaults."""
    found = policies({"cron": Lifecycle(keep=3, delete_after_ms=5), "chat": Lifecycle(idle_after_ms=None)})
    expected = dict(DEFAULTS)
    expected[PolicyName.CRON] = msgspec.structs.replace(DEFAULTS[PolicyName.CRON], keep=3, delete_after_ms=5)
    expected[PolicyName.CHAT] = Policy()
    assert dict(found) == expected


def test_fingerprints() -> None:
    """A policy's fingerprint changes with each of its values, and only then."""
    policy = DEFAULTS[PolicyName.CRON]
    changed = [msgspec.structs.replace(policy, **{name: 12_345}) for name in Policy.__struct_fields__]
    prints = {one.fingerprint() for one in changed} | {policy.fingerprint()}
    assert len(prints) == len(Policy.__struct_fields__) + 1
    assert msgspec.structs.replace(policy).fingerprint() == policy.fingerprint()


def test_kinds() -> None:
    """Every policy has its kind, and the two of api share one."""
    assert {name.kind for name in PolicyName} == set(Kind)
    assert PolicyName.API_NAMED.kind is PolicyName.API.kind
    assert [name for name in PolicyName if name.is_conversation] == [PolicyName.CHAT, PolicyName.API_NAMED]


def test_due_is_a_pair() -> None:
    """Nothing to do is neither a date nor an end."""
    assert Due(None, None) == NEVER
