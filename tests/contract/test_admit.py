import msgspec
import pytest

from house import House
from tidegate.domain.entry import User
from tidegate.domain.policy import DEFAULTS, Policies
from tidegate.domain.run import Lane, Origin, RunState
from tidegate.domain.session import DueTo, Kind, Outcome, PolicyName, State
from tidegate.errors import (
    AgentMismatch,
    FenceLost,
    QueueFull,
    SessionBusy,
    SessionFinished,
    TooManySessions,
)
from tidegate.store.admission import Admission, Birth
from work import LANES, archive, claim, counts, fresh, head, offer, say, start, texts, work

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("policy", PolicyName)
async def test_an_unknown_key_becomes_a_session(house: House, policy: PolicyName) -> None:
    """A session of any kind is born with its date, and its message waits in a queued run."""
    admitted = await house.store.admit(offer(policy, key="k"))
    session, run = admitted.session, admitted.run
    assert house.store.session("k") is session
    assert (session.key, session.policy, session.state, session.entries) == ("k", policy, State.CREATED, 0)
    assert (session.due_at is None) == (
        policy is PolicyName.CHAT and DEFAULTS[policy].archive_after_ms is None
    )
    assert (run.session, run.state, run.lane, run.fence) == (session.id, RunState.QUEUED, LANES[policy], 0)
    assert not admitted.is_repeat


async def test_no_key_is_a_session_of_its_own(house: House) -> None:
    """Work without a key gets a session with a generated one, each time another."""
    one = (await house.store.admit(offer(PolicyName.API))).session
    other = (await house.store.admit(offer(PolicyName.API))).session
    assert [one.key, other.key] == [f"api:{one.id}", f"api:{other.id}"]
    assert one.id != other.id
    assert one.kind is Kind.API


async def test_a_known_key_is_the_same_session(house: House) -> None:
    """A second message to a key queues behind the first, in the session that is there."""
    first = await house.store.admit(offer(key="k", text="one"))
    second = await house.store.admit(offer(key="k", text="two"))
    assert second.session.id == first.session.id
    assert [run.id for run in house.store.open_runs(first.session.id)] == [first.run.id, second.run.id]


async def test_a_run_remembers_its_origin(house: House) -> None:
    """What a run is for stays with it."""
    admission = offer(PolicyName.CRON, key="job")
    admitted = await house.store.admit(admission)
    assert fresh(house.store, admitted.run).origin is Origin.FIRING


async def test_the_title_is_the_first_message(house: House) -> None:
    """A session is titled by its first message: one line, 80 characters, nothing unprintable."""
    admitted = await house.store.admit(offer(key="k", text="  Grüße\n\x07 an\talle " + "x" * 200))
    assert admitted.session.title == ("Grüße an alle " + "x" * 200)[:80]


async def test_an_archived_conversation_is_restored(house: House) -> None:
    """A message to an archived chat brings it back, and its transcript goes on where it was."""
    session = await archive(house.store, await work(house.store, offer(key="k", text="one")))
    assert session.state is State.ARCHIVED
    house.clock.advance(1_000)
    claimed = await start(house.store, offer(key="k", text="two"))
    assert claimed.session.state is State.ACTIVE
    assert claimed.session.id == session.id
    assert await texts(house.store, session) == ["one", "done", "two"]


@pytest.mark.parametrize("policy", [PolicyName.SUBAGENT, PolicyName.CRON, PolicyName.HOOK, PolicyName.API])
async def test_a_finished_session_takes_nothing(house: House, policy: PolicyName) -> None:
    """An ephemeral session that is completed or archived refuses work, and nothing is written."""
    session = await work(house.store, offer(policy, key="k"))
    with pytest.raises(SessionFinished):
        await house.store.admit(offer(policy, key="k"))
    await archive(house.store, session)
    with pytest.raises(SessionFinished):
        await house.store.admit(offer(policy, key="k"))
    assert sum(house.store.tallies().runs.values()) == 1


async def test_another_agent_is_refused_if_named(house: House) -> None:
    """Naming another agent than the session's is refused; not naming any is no naming."""
    await house.store.admit(offer(key="k"))
    other = msgspec.structs.replace(offer(key="k"), birth=Birth(policy=PolicyName.CHAT, agent="other"))
    with pytest.raises(AgentMismatch):
        await house.store.admit(msgspec.structs.replace(other, agent_is_named=True))
    assert (await house.store.admit(other)).session.agent == "main"


async def test_a_lane_holds_so_many(house: House) -> None:
    """A full lane refuses, whatever other lanes hold, and no session is left behind."""
    bounded = msgspec.structs.replace(offer(key="a"), max_queued=1)
    await house.store.admit(offer(PolicyName.CRON, key="job"))
    await house.store.admit(bounded)
    with pytest.raises(QueueFull):
        await house.store.admit(msgspec.structs.replace(bounded, key="b"))
    assert house.store.session("b") is None
    await claim(house.store)
    await house.store.admit(msgspec.structs.replace(bounded, key="b"))


async def test_a_session_holds_so_many(house: House) -> None:
    """A session with too many open runs refuses more, and says nothing of it afterwards."""
    bounded = msgspec.structs.replace(offer(key="k"), max_open=2)
    await start(house.store, bounded)
    await house.store.admit(bounded)
    before = house.store.session("k")
    with pytest.raises(SessionBusy):
        await house.store.admit(bounded)
    assert house.store.session("k") is before


def only(limit: int) -> Policies:
    """Return the default policies with a lower `max_running` everywhere."""
    return {name: msgspec.structs.replace(policy, max_running=limit) for name, policy in DEFAULTS.items()}


@pytest.mark.parametrize("policy", PolicyName)
async def test_max_running_is_hard(house: House, policy: PolicyName) -> None:
    """As many sessions are created or active as the policy allows; one that has ended makes room."""
    await house.reopen(only(2))
    first = await house.store.admit(offer(policy, key="a"))
    await house.store.admit(offer(policy, key="b"))
    with pytest.raises(TooManySessions):
        await house.store.admit(offer(policy, key="c"))
    assert house.store.session("c") is None
    await house.store.cancel_session(first.session.id)
    if policy.is_conversation:
        await archive(house.store, first.session)
    await house.store.admit(offer(policy, key="c"))
    assert sum(counts(house.store, policy).values()) == 3


async def test_a_restored_conversation_counts(house: House) -> None:
    """A message that would bring an archived conversation back above `max_running` is refused."""
    await house.reopen(only(1))
    session = await archive(house.store, await work(house.store, offer(PolicyName.API_NAMED, key="a")))
    await house.store.admit(offer(PolicyName.API_NAMED, key="b"))
    with pytest.raises(TooManySessions):
        await house.store.admit(offer(PolicyName.API_NAMED, key="a"))
    assert head(house.store, session).state is State.ARCHIVED


async def test_a_message_is_acknowledged_for_good(house: House) -> None:
    """What was admitted outlives a crash, with its message."""
    await house.store.admit(offer(key="k", text="important"))
    await house.crash()
    claimed = await claim(house.store)
    assert await texts(house.store, claimed) == ["important"]


async def test_a_turn_starts_with_its_message(house: House) -> None:
    """A named api session has its turn's deadline from admission on, instead of its idle date."""
    session = await work(house.store, offer(PolicyName.API_NAMED, key="k"))
    assert session.due_to is DueTo.ARCHIVED
    house.clock.advance(60_000)
    session = (await house.store.admit(offer(PolicyName.API_NAMED, key="k"))).session
    assert (session.due_to, session.turn_at) == (DueTo.COMPLETED, house.clock.now())
    assert session.due_at == house.clock.now() + (DEFAULTS[PolicyName.API_NAMED].max_runtime_ms or 0)


async def test_several_messages_at_once(house: House) -> None:
    """A piece of work may bring several bodies; they stay together and in order."""
    admission = Admission(
        key="k",
        birth=Birth(policy=PolicyName.API, agent="main"),
        lane=Lane.INTERACTIVE,
        origin=Origin.MESSAGE,
        bodies=[User(text=text) for text in "abc"],
    )
    assert await texts(house.store, await start(house.store, admission)) == ["a", "b", "c"]


@pytest.mark.parametrize("policy", [PolicyName.CHAT, PolicyName.API_NAMED])
async def test_an_interrupting_message_goes_first(house: House, policy: PolicyName) -> None:
    """What is open in a conversation is closed as interrupted, said and unsaid alike kept; the message is next."""
    running = await start(house.store, offer(policy, key="k", text="one"))
    await say(house.store, running.run.lease, "half")
    queued = await house.store.admit(offer(policy, key="k", text="two"))
    admission = msgspec.structs.replace(offer(policy, key="k", text="three"), interrupts=True)
    admitted = await house.store.admit(admission)
    for run in (running.run, queued.run):
        assert fresh(house.store, run).outcome is Outcome.INTERRUPTED
    with pytest.raises(FenceLost):
        await say(house.store, running.run.lease, "more")
    assert (await claim(house.store)).run.id == admitted.run.id
    assert await texts(house.store, running) == ["one", "half", "two", "three"]


async def test_nothing_is_interrupted_in_an_ephemeral_session(house: House) -> None:
    """A piece of work in an ephemeral session waits, whatever it wants."""
    running = await start(house.store, offer(PolicyName.API, key="k"))
    await house.store.admit(msgspec.structs.replace(offer(PolicyName.API, key="k"), interrupts=True))
    assert fresh(house.store, running.run).state is RunState.RUNNING
