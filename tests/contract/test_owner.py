import msgspec
import pytest

from house import House
from tidegate.clock import DAY_MS
from tidegate.domain.alert import Alert, AlertEvent, Owner, Record, Told
from tidegate.domain.entry import Assistant, Call, Notice
from tidegate.domain.level import Level
from tidegate.domain.run import Step
from tidegate.domain.session import PolicyName, State
from tidegate.errors import Busy
from tidegate.store import outbox
from work import archive, bodies, head, offer, start

pytestmark = pytest.mark.anyio

ALERT = Alert(event=AlertEvent.DISK, level=Level.TIGHT, text="the disk is short", setting="[limits] disk")
RECORD = Record(open={"disk//": Told(event=AlertEvent.DISK, level=Level.TIGHT, at=1)}, count=1)
HOOK = Owner(webhook="me")
CHAT = Owner(chat="ops", agent="main")


async def sent(house: House) -> list[dict[str, object]]:
    """Return what the outbox holds for the owner."""
    letter = await house.store.outbox.due("me", house.clock.now())
    return [msgspec.json.decode(letter.body)["data"]] if letter else []


async def test_a_webhook_is_told(house: House) -> None:
    """An alert goes into the outbox with what is remembered of it, in one transaction."""
    assert await house.store.alerts.record() is None
    await house.store.alerts.tell(HOOK, [ALERT], RECORD)
    await house.crash()

    assert RECORD == await house.store.alerts.record()
    expected = {
        "event": "disk",
        "level": "tight",
        "subject": "",
        "text": ALERT.text,
        "setting": "[limits] disk",
    }
    assert [expected] == await sent(house)


async def test_nobody_is_reached(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the outbox has no room nothing is written, so that it is told later."""
    monkeypatch.setattr(outbox, "MAX_ROWS", 0)
    with pytest.raises(Busy):
        await house.store.alerts.tell(HOOK, [ALERT], RECORD)

    assert (None, []) == (await house.store.alerts.record(), await sent(house))


async def test_one_way_is_enough(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two ways to the owner, one that is closed holds nothing up."""
    monkeypatch.setattr(outbox, "MAX_ROWS", 0)
    await house.store.alerts.tell(Owner(webhook="me", chat="ops", agent="main"), [ALERT], RECORD)

    assert RECORD == await house.store.alerts.record()


async def test_a_chat_is_made(house: House) -> None:
    """A chat that is not there is made; it holds a notice that no model reads, and its life is that of a chat."""
    await house.store.alerts.tell(CHAT, [ALERT, ALERT], RECORD)
    chat = house.store.session("ops")
    assert chat is not None

    assert (PolicyName.CHAT, State.ACTIVE, "main", None) == (
        chat.policy,
        chat.state,
        chat.agent,
        chat.turn_at,
    )
    assert chat.due_at == house.clock.now() + 30 * DAY_MS
    notice = "[disk tight] the disk is short ([limits] disk)"
    assert [(Notice, notice)] * 2 == [(type(body), body.text) for body in await bodies(house.store, chat)]


async def test_a_chat_at_work(house: House) -> None:
    """Whoever has the turn in the chat goes on under its lease."""
    working = await start(house.store, offer(key="ops"))
    await house.store.append(working.run.lease, Step(bodies=[Call(tool="t", call_id="1", text="{}")]))
    await house.store.alerts.tell(CHAT, [ALERT], RECORD)
    await house.store.append(working.run.lease, Step(bodies=[Assistant(text="done")]))
    kinds = [type(body).__name__ for body in await bodies(house.store, working)]

    assert ["User", "Call", "Notice", "Assistant"] == kinds
    assert head(house.store, working).turn_at is not None


async def test_an_archived_chat(house: House) -> None:
    """A chat that was archived is taken up again, with all that it held."""
    await house.store.alerts.tell(CHAT, [ALERT], RECORD)
    chat = house.store.session("ops")
    assert chat is not None
    await archive(house.store, chat)
    await house.store.alerts.tell(CHAT, [ALERT], RECORD)

    assert State.ACTIVE is head(house.store, chat).state
    assert len(await bodies(house.store, chat)) == 2


async def test_no_conversation(house: House) -> None:
    """A session of another kind takes no alerts, and nothing is written."""
    await start(house.store, offer(PolicyName.CRON, key="ops"))
    with pytest.raises(Busy):
        await house.store.alerts.tell(CHAT, [ALERT], RECORD)

    assert await house.store.alerts.record() is None
