import pytest
from msgspec.structs import replace

from house import House
from tidegate.domain.entry import EntryType, System, type_of
from tidegate.domain.run import Lane, RunState
from tidegate.domain.session import Outcome, PolicyName, State
from tidegate.errors import FenceLost
from tidegate.store.admission import Admission
from tidegate.store.tx import Effects
from work import bodies, claim, fresh, head, offer, say, start, texts, work

pytestmark = pytest.mark.anyio


def instructed(text: str) -> Admission:
    """Return the message of a client that instructs its named session with it."""
    admission = offer(PolicyName.API_NAMED, key="k")
    return replace(admission, bodies=[System(text=text), *admission.bodies])


async def test_nothing_to_claim(house: House) -> None:
    """An empty lane gives nothing, whatever waits in others."""
    await house.store.admit(offer(PolicyName.CRON))
    assert await house.store.claim(Lane.INTERACTIVE) is None


async def test_the_oldest_first(house: House) -> None:
    """Runs of a lane are claimed in the order in which they were accepted."""
    admitted = [await house.store.admit(offer(key=key)) for key in "abc"]
    claimed = [await claim(house.store) for _ in admitted]
    assert [found.run.id for found in claimed] == [run.run.id for run in admitted]


async def test_one_run_of_a_session_at_a_time(house: House) -> None:
    """While a session has a run running, its next one waits and another session's is taken."""
    first = await start(house.store, offer(key="a"))
    await house.store.admit(offer(key="a"))
    other = await start(house.store, offer(key="b"))
    assert other.session.key == "b"
    assert await house.store.claim(Lane.INTERACTIVE) is None
    await house.store.finish(first.run.lease, Outcome.OK)
    assert (await claim(house.store)).session.key == "a"


@pytest.mark.parametrize("policy", [PolicyName.API, PolicyName.API_NAMED])
async def test_without_api(house: House, policy: PolicyName) -> None:
    """A claim that leaves api sessions out passes over them, named or not."""
    await house.store.admit(offer(policy, key="api"))
    await house.store.admit(offer(key="chat"))
    claimed = await house.store.claim(Lane.INTERACTIVE, with_api=False)
    assert claimed is not None
    assert claimed.session.key == "chat"
    assert await house.store.claim(Lane.INTERACTIVE, with_api=False) is None
    assert (await claim(house.store)).session.key == "api"


async def test_without_an_agent(house: House) -> None:
    """A claim that leaves agents out passes over their sessions, however long those have waited."""
    await house.store.admit(offer(key="slow"))
    assert await house.store.claim(Lane.INTERACTIVE, without=["other", "main"]) is None
    found = await house.store.claim(Lane.INTERACTIVE, without=["other"])
    assert found is not None
    assert found.session.key == "slow"


async def test_a_claim_appends_the_message(house: House) -> None:
    """The message enters the transcript with the claim, stamped with its run and the instant."""
    admitted = await house.store.admit(offer(text="question"))
    assert await bodies(house.store, admitted) == []
    house.clock.advance(5_000)
    claimed = await claim(house.store)
    (body,) = await bodies(house.store, admitted)
    assert (body.text, body.run, body.at) == ("question", claimed.run.id, house.clock.now())
    assert type_of(body) is EntryType.MESSAGE
    assert claimed.session.entries == 1


async def test_a_run_may_be_claimed_as_it_is_admitted(house: House) -> None:
    """Its message enters the transcript with it; somebody else is told that it runs, and finds nothing to claim."""
    effects: list[Effects] = []
    house.store.listen(effects.append)
    admitted = await house.store.admit(replace(offer(text="question"), claims=True))
    assert (RunState.RUNNING, State.ACTIVE) == (admitted.run.state, admitted.session.state)
    assert [admitted.run.id] == [one.run.id for told in effects for one in told.claimed]
    assert ["question"] == await texts(house.store, admitted)
    assert await house.store.claim(Lane.INTERACTIVE) is None
    await house.store.finish(admitted.run.lease, Outcome.OK)


async def test_nothing_is_overtaken_at_the_door(house: House) -> None:
    """A run that is not the next one waits its turn, behind its own session's and behind its lane's."""
    first = await house.store.admit(offer(key="a", text="one"))
    second = await house.store.admit(replace(offer(key="b"), claims=True))
    third = await house.store.admit(replace(offer(key="a", text="two"), claims=True))
    assert [RunState.QUEUED] * 3 == [found.run.state for found in (first, second, third)]
    assert ["one"] == await texts(house.store, await claim(house.store))
    assert second.run.id == (await claim(house.store)).run.id


async def test_nothing_lands_between_a_call_and_its_result(house: House) -> None:
    """A message that is accepted while a run works enters the transcript after all that the run says."""
    first = await start(house.store, offer(key="k", text="one"))
    await house.store.admit(offer(key="k", text="two"))
    await say(house.store, first.run.lease, "answer one")
    await house.store.finish(first.run.lease, Outcome.OK)
    await claim(house.store)
    assert await texts(house.store, first) == ["one", "answer one", "two"]


async def test_a_claimed_run_runs(house: House) -> None:
    """A claim makes the run running, its session active, and both heads say so."""
    admitted = await house.store.admit(offer(key="k"))
    house.clock.advance(1_000)
    claimed = await claim(house.store)
    now = house.clock.now()
    assert claimed.run == fresh(house.store, admitted.run)
    assert claimed.session == head(house.store, admitted)
    assert (claimed.run.state, claimed.run.started_at) == (RunState.RUNNING, now)
    session = claimed.session
    assert (session.state, session.turn_at, session.running_at) == (State.ACTIVE, now, now)


async def test_a_claim_raises_the_fence(house: House) -> None:
    """Whoever held a run before it was queued again may not write to it once it is claimed anew."""
    first = await start(house.store, offer(text="question"))
    await house.store.recover()
    second = await claim(house.store)
    assert (second.run.id, second.run.fence) == (first.run.id, first.run.fence + 1)
    with pytest.raises(FenceLost):
        await say(house.store, first.run.lease, "late")
    await say(house.store, second.run.lease, "answer")
    assert await texts(house.store, second) == ["question", "answer"]


async def test_recover_queues_what_ran(house: House) -> None:
    """After a crash every running run is queued again, once, and starts its turn where it was."""
    first = await start(house.store, offer(key="a"))
    await start(house.store, offer(key="b"))
    await house.store.admit(offer(key="c"))
    await house.crash()
    house.clock.advance(1_000)
    assert await house.store.recover() == 2
    assert await house.store.recover() == 0
    assert fresh(house.store, first.run).state is RunState.QUEUED
    again = await claim(house.store)
    assert again.run.id == first.run.id
    assert (again.run.started_at, again.session.turn_at) == (first.run.started_at, first.session.turn_at)
    assert again.session.running_at == house.clock.now()


async def test_recover_shows_in_the_heads(house: House) -> None:
    """A head that was read before says after a recovery that nothing runs."""
    claimed = await start(house.store, offer(key="k"))
    assert head(house.store, claimed).running_at is not None
    await house.store.recover()
    assert head(house.store, claimed).running_at is None


async def test_where_a_run_begins(house: House) -> None:
    """A claimed run knows where its own words begin, also where its message was claimed before."""
    claimed = await start(house.store, instructed("be kind"))
    assert claimed.run.asked_seq == 2
    await say(house.store, claimed.run.lease, "hi")
    await house.crash()
    await house.store.recover()
    assert (await claim(house.store)).run.asked_seq == 2


async def test_instructions_are_kept_once(house: House) -> None:
    """A client of a named session that instructs it alike again adds nothing; other instructions are kept."""
    for text in ("be kind", "be kind", "be brief"):
        session = await work(house.store, instructed(text))
    kept = [entry.body.text for entry in await house.store.entries(session.id, 0, 100)]
    said = ["hello", "done"]
    assert kept == ["be kind", *said, *said, "be brief", *said]


async def test_what_is_running(house: House) -> None:
    """What is running is known, whoever carries it out; what is queued or done is not among it."""
    done = await start(house.store, offer(key="done"))
    await house.store.finish(done.run.lease, Outcome.OK)
    running = [await start(house.store, offer(key=key)) for key in "ab"]
    await house.store.admit(offer(key="queued"))
    assert sorted(house.store.running()) == sorted(one.run.id for one in running)
