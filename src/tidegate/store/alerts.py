"""Tells the owner: what is told, and that it was, are one transaction, so a crash tells nothing twice."""

from collections.abc import Sequence
from functools import partial

import msgspec

from tidegate.domain.alert import Alert, Owner, Record
from tidegate.domain.entry import Notice
from tidegate.domain.session import PolicyName, State
from tidegate.errors import Busy
from tidegate.ids import RunId
from tidegate.store import outbox, rows, sessions, transcript
from tidegate.store.admission import Birth
from tidegate.store.tx import Read, Reads, Tx, Write

#: under this key the store remembers what was told
MEMORY = "alerts"
KIND = "alert"
NO_RUN = RunId("")

_record = msgspec.json.Decoder(Record)


class ToldAlerts:
    """What the owner of a store is told, for those who stand outside of a transaction."""

    def __init__(self, write: Write, read: Read) -> None:
        self._write = write
        self._read = read

    async def tell(self, owner: Owner, alerts: Sequence[Alert], record: Record) -> None:
        """Tell the owner, by webhook, in a chat or both, and remember what was told, in one transaction.

        Raises:
            Busy: One of them would have reached nobody; nothing was written.
        """
        await self._write(partial(tell, owner=owner, alerts=alerts, record=record))

    async def record(self) -> Record | None:
        """Return what the owner was told, as far as that matters; None where nothing was."""
        return await self._read(told)


def tell(tx: Tx, owner: Owner, alerts: Sequence[Alert], record: Record) -> None:
    """Tell alerts, and remember what was told.

    Raises:
        Busy: Nobody can be told now; nothing was written.
    """
    reached = [_told(tx, owner, alert) for alert in alerts]
    if not all(reached):
        raise Busy("the outbox has no room, or the chat for alerts is no conversation")
    tx.run("meta_kept", key=MEMORY, value=msgspec.json.encode(record).decode())


def told(reads: Reads) -> Record | None:
    """Return what was told so far; None where nothing was, or it cannot be read."""
    row = reads.one("meta", key=MEMORY)
    try:
        return _record.decode(row[0]) if row else None
    except msgspec.DecodeError:
        return None


def _told(tx: Tx, owner: Owner, alert: Alert) -> bool:
    """Whether anybody has been reached."""
    reached = False
    if owner.webhook:
        body = {
            "event": alert.event,
            "level": alert.level,
            "subject": alert.subject,
            "text": alert.text,
            "setting": alert.setting,
        }
        reached |= outbox.put(tx, owner.webhook, KIND, body) is not None
    if owner.chat:
        reached |= _say(tx, owner, alert)
    return reached


def _say(tx: Tx, owner: Owner, alert: Alert) -> bool:
    """Put a notice into the chat, whatever goes on there: models do not see it."""
    row = tx.one("session_by_key", key=owner.chat)
    if row is None:
        birth = Birth(policy=PolicyName.CHAT, agent=owner.agent)
        chat = sessions.create(tx, owner.chat, birth, "alerts")
    else:
        chat = rows.session(row)
    if not chat.policy.is_conversation:
        return False
    setting = f" ({alert.setting})" if alert.setting else ""
    notice = Notice(text=f"[{alert.event} {alert.level}] {alert.text}{setting}")
    state, chat = chat.state, transcript.append(tx, chat, NO_RUN, [notice]).session
    if row is None:
        sessions.change(tx, chat, "finished", state=State.ACTIVE, turn_at=None)
    elif state is State.ARCHIVED:
        sessions.change(tx, chat, "continued", state=State.ACTIVE, since_at=tx.now)
    return True
