import json
from collections.abc import Mapping

import msgspec
import pytest

from house import House
from tidegate.clock import MINUTE_MS, iso
from tidegate.config.tree import EVENTS
from tidegate.domain.event import MAX_BYTES, Audience, Event, EventName, told
from tidegate.domain.outbox import Attempt, DeliveryState, Reply
from tidegate.domain.run import Lane
from tidegate.domain.session import DueTo, Outcome, PolicyName, State
from tidegate.errors import FenceLost
from tidegate.store import outbox
from work import archive, claim, delete, head, move, offer, order, say, start, work

pytestmark = pytest.mark.anyio

PLUGINS = Audience(plugins=frozenset(EventName))
WEBHOOKS = Audience(webhooks={name: ["pager"] for name in EventName})


def events(house: House) -> list[Event]:
    """Return what plugins were told."""
    return [event for effects in house.heard for event in effects.events]


def names(house: House) -> list[str]:
    """Return the names of what plugins were told, in order."""
    return [event.event.value for event in events(house)]


async def posted(house: House) -> list[Mapping[str, object]]:
    """Take everything that the webhook is told out of the outbox, the oldest first."""
    found = []
    while letter := await house.store.outbox.due("pager", house.clock.now()):
        found.append(json.loads(letter.body))
        await house.store.outbox.settle(letter.delivery.id, Attempt(reply=Reply.TAKEN))
    return found


def test_the_names_are_those_of_the_configuration() -> None:
    """What can be configured is what there is."""
    assert list(EVENTS) == [name.value for name in EventName]


async def test_a_whole_life_is_told(house: House) -> None:
    """Each step of a session and its run comes once, in order, with its ids, counts, cursors and times."""
    house.store.tell(PLUGINS)
    claimed = await start(house.store, offer(PolicyName.CRON, key="cron:job-1", text="find it"))
    await say(house.store, claimed.run.lease, "half")
    house.clock.advance(MINUTE_MS)
    await house.store.finish(claimed.run.lease, Outcome.OK)
    session = await archive(house.store, claimed.session)
    await delete(house.store, session)
    assert names(house) == [
        "session_created",
        "run_started",
        "run_finished",
        "session_completed",
        "session_archived",
        "session_deleted",
    ]
    born, started, finished, completed, archived, deleted = events(house)
    assert {event.session for event in events(house)} == {session.id}
    assert {event.key for event in events(house)} == {"cron:job-1"}
    assert (born.state, born.entries, born.first_seq, born.run) == (State.CREATED, 0, None, None)
    assert (started.run, started.first_seq, started.last_seq) == (claimed.run.id, 1, 1)
    assert (finished.outcome, finished.entries, finished.lane) == (Outcome.OK, 2, Lane.CRON)
    assert finished.started_at == started.at
    assert finished.finished_at == finished.at == started.at + MINUTE_MS
    assert (completed.outcome, completed.state, completed.last_seq) == (Outcome.OK, State.COMPLETED, 2)
    assert (archived.state, deleted.state) == (State.ARCHIVED, State.ARCHIVED)


async def test_nobody_is_told_without_asking(house: House) -> None:
    """Without an audience there are neither events nor deliveries; with one, only what it asks for."""
    await work(house.store, offer(PolicyName.CRON))
    assert (events(house), await posted(house)) == ([], [])
    house.store.tell(
        Audience(
            plugins=frozenset({EventName.RUN_STARTED}),
            webhooks={EventName.SESSION_COMPLETED: ["pager"]},
        )
    )
    await work(house.store, offer(PolicyName.CRON))
    assert names(house) == ["run_started"]
    assert [one["type"] for one in await posted(house)] == ["session_completed"]


async def test_a_webhook_is_told_in_the_transaction(house: House) -> None:
    """What is told is there after a crash, exactly if the thing has happened; a refused write tells nothing."""
    house.store.tell(WEBHOOKS)
    claimed = await start(house.store, offer(PolicyName.API, key="api:1"))
    await house.store.cancel_run(claimed.run.id)
    with pytest.raises(FenceLost):
        await house.store.finish(claimed.run.lease, Outcome.OK)
    session = head(house.store, claimed)
    await house.crash()
    found = await posted(house)
    assert [one["type"] for one in found] == [
        "session_created",
        "run_started",
        "run_finished",
        "session_completed",
    ]
    assert found[-1] == {
        "type": "session_completed",
        "timestamp": iso(house.clock.now()),
        "data": {
            "session": session.id,
            "key": "api:1",
            "kind": "api",
            "agent": "main",
            "state": "completed",
            "outcome": "cancelled",
            "entries": 1,
            "bytes": session.bytes,
            "first_seq": 1,
            "last_seq": 1,
            "created_at": iso(session.created_at),
        },
    }


async def test_a_run_starts_once(house: House) -> None:
    """A run that goes on after a crash is not started again; one that was never claimed has an end alone."""
    house.store.tell(PLUGINS)
    claimed = await start(house.store, offer(key="chat:1"))
    await house.crash()
    house.store.tell(PLUGINS)
    await house.store.recover()
    again = await claim(house.store)
    assert again.run.id == claimed.run.id
    admitted = await house.store.admit(offer(key="chat:1"))
    await house.store.cancel_run(admitted.run.id)
    assert names(house) == ["run_finished"]
    assert events(house)[0].started_at is None


async def test_a_tree_is_told_whole(house: House) -> None:
    """Children that end with their parent are told of, each with its parent."""
    house.store.tell(PLUGINS)
    claimed = await start(house.store, offer(PolicyName.CRON))
    await house.store.admit(order(claimed.run.lease, "a"))
    await house.store.cancel_session(claimed.session.id)
    ends = [event for event in events(house) if event.event is EventName.SESSION_COMPLETED]
    assert [event.parent for event in ends] == [claimed.session.id, None]
    assert [event.outcome for event in ends] == [Outcome.CANCELLED] * 2


async def test_bringing_back_is_no_second_end(house: House) -> None:
    """A restored session is not completed once more; archiving it again is told."""
    house.store.tell(PLUGINS)
    session = await archive(house.store, await work(house.store, offer(PolicyName.CRON)))
    await house.store.restore(session.id)
    await archive(house.store, session)
    assert names(house).count("session_completed") == 1
    assert names(house).count("session_archived") == 2


async def test_a_full_outbox_holds_nothing_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events take half of a target's room; what is above is counted, and sessions go on. The rest is for jobs."""
    monkeypatch.setattr(outbox, "MAX_OF_TARGET", 8)
    house.store.tell(WEBHOOKS)
    for _ in range(10):
        assert (await work(house.store, offer(PolicyName.CRON))).state is State.COMPLETED
    tallies = house.store.tallies()
    assert (tallies.outbox[DeliveryState.PENDING], tallies.outbox_refused) == (4, 36)
    assert await house.store.outbox.put("pager", "job.finished", {}) is not None


async def test_an_event_is_small(house: House) -> None:
    """Whatever a session holds and is called, what is told of it stays below 2 KiB, without a word of it."""
    house.store.tell(PLUGINS)
    key = "k" * 256
    claimed = await start(house.store, offer(PolicyName.API_NAMED, key=key, text="secret " * 100_000))
    await house.store.finish(claimed.run.lease, Outcome.FAILED, error="secret " * 1_000)
    assert await move(house.store, head(house.store, claimed), DueTo.DELETED, is_asked=True)
    sizes = [len(msgspec.json.encode(told(event))) for event in events(house)]
    assert len(sizes) == 4
    assert max(sizes) < MAX_BYTES
    assert b"secret" not in msgspec.json.encode(events(house))
