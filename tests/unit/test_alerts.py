import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from inside import Inside, inside
from tidegate.bounded import Registry
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config import Backup
from tidegate.domain.alert import AlertEvent, Owner
from tidegate.domain.level import Level
from tidegate.domain.outbox import Attempt, Reply
from tidegate.domain.sample import Range
from tidegate.errors import DiskFull
from tidegate.faults import Faults
from tidegate.runtime.alarms import Alarms, Instruments
from tidegate.runtime.alerts import Alerts
from tidegate.runtime.growth import Growth
from tidegate.runtime.guard import Reason
from tidegate.runtime.nightly import Nightly
from tidegate.runtime.spend import Limits, Spend
from tidegate.store import outbox

OWNER = Owner(webhook="me")


class Wrong:
    """What the instruments that count find."""

    overdue = 0
    orphans = 0


@asynccontextmanager
async def alerting(
    folder: Path,
    registry: Registry,
    wrong: Wrong,
    owner: Owner = OWNER,
    weekly: Callable[[], Awaitable[str]] | None = None,
) -> AsyncIterator[tuple[Inside, Alerts, Growth]]:
    """Open the inside of a gateway that tells its owner."""

    async def overdue() -> int:
        return wrong.overdue

    async def orphans() -> dict[str, int]:
        return {"run": wrong.orphans}

    async with inside(folder) as here:
        growth = Growth(here.store, registry, here.clock, 1)
        instruments = Instruments(
            guard=here.intake.guard,
            spend=Spend(here.store, here.intake.guard, Limits(), here.clock, registry),
            growth=growth,
            nightly=Nightly(here.store, here.clock, Backup(folder=folder / "nowhere")),
            registry=registry,
            faults=Faults(here.clock),
            clock=here.clock,
            overdue=overdue,
            orphans=orphans,
        )
        alarms = Alarms(instruments)
        yield here, Alerts(here.store, alarms, owner, here.clock, registry, weekly=weekly), growth


async def bodies(here: Inside) -> list[tuple[str, str]]:
    """Take what is told out of the outbox: event and text."""
    found = []
    while (letter := await here.store.outbox.due("me", here.clock.now())) is not None:
        data = msgspec.json.decode(letter.body)["data"]
        found.append((data["event"], data["text"]))
        await here.store.outbox.settle(letter.delivery.id, Attempt(reply=Reply.TAKEN))
    return found


def test_all_is_well(tmp_path: Path) -> None:
    """Nobody is told anything of a gateway that is well."""

    async def main() -> None:
        async with alerting(tmp_path, Registry(), Wrong()) as (here, alerts, _):
            for _ in range(40):
                await alerts.look()
                here.clock.advance(MINUTE_MS)
            assert [] == await bodies(here)
            assert {"open": [], "told": 0, "failed": 0, "untold": 0} == alerts.report()

    asyncio.run(main())


@pytest.mark.parametrize("reason", [Reason.MEMORY, Reason.DISK])
@pytest.mark.parametrize("level", [Level.TIGHT, Level.CRITICAL])
def test_a_level_is_told_once(tmp_path: Path, reason: Reason, level: Level) -> None:
    """A level that is tight or critical is told with the setting that would change it, once, also after a start."""

    async def main() -> None:
        registry = Registry()
        async with alerting(tmp_path, registry, Wrong()) as (here, alerts, _):
            here.intake.guard.set(reason, level)
            for _ in range(3):
                await alerts.look()
                here.clock.advance(MINUTE_MS)
            assert [reason.value] == [event for event, _ in await bodies(here)]
        async with alerting(tmp_path, registry, Wrong()) as (here, alerts, _):
            here.intake.guard.set(reason, level)
            await alerts.look()
            assert [] == await bodies(here)

    asyncio.run(main())


def test_what_is_counted(tmp_path: Path) -> None:
    """Sessions that are overdue and things without an owner are told, with how many there are and no names."""

    async def main() -> None:
        wrong = Wrong()
        async with alerting(tmp_path, Registry(), wrong) as (here, alerts, _):
            wrong.overdue, wrong.orphans = 1_200, 3
            await alerts.look()
            assert [] == await bodies(here)  # the sweep makes up for the time before the start
            here.clock.advance(5 * MINUTE_MS)
            await alerts.look()
            found = dict(await bodies(here))
            assert {"overdue", "orphans"} == set(found)
            assert "1,200" in found["overdue"]

    asyncio.run(main())


def test_a_backup_that_is_missing(tmp_path: Path) -> None:
    """Two days without a nightly backup are told."""

    async def main() -> None:
        async with alerting(tmp_path, Registry(), Wrong()) as (here, alerts, _):
            here.clock.advance(2 * DAY_MS + HOUR_MS)
            await alerts.look()
            assert ["backup"] == [event for event, _ in await bodies(here)]

    asyncio.run(main())


def test_memory_that_grows(tmp_path: Path) -> None:
    """A trend that grows is told, once a day at most."""

    async def main() -> None:
        async with alerting(tmp_path, Registry(), Wrong()) as (here, alerts, growth):
            for stretch in range(40):
                low = (50 + stretch) << 20
                growth.trends.close(stretch, {"rss_bytes": Range(low, low, low)})
            for _ in range(5):
                await alerts.look()
                here.clock.advance(HOUR_MS)
            assert ["trend"] == [event for event, _ in await bodies(here)]

    asyncio.run(main())


def test_a_container_that_stays_full(tmp_path: Path) -> None:
    """A container that is full for a while is told by its name; one whose way it is to be full is not."""

    async def main() -> None:
        registry = Registry()
        registry.add("queue", lambda: 5, 5, when_full="the oldest goes away")
        registry.add("slots", lambda: 5, 5, when_full="runs wait")
        async with alerting(tmp_path, registry, Wrong()) as (here, alerts, _):
            for _ in range(5):
                await alerts.look()
                here.clock.advance(MINUTE_MS)
            assert [] == await bodies(here)
            await alerts.look()
            assert [("container", "queue is full (5): the oldest goes away")] == await bodies(here)

    asyncio.run(main())


def test_what_cannot_be_told_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the outbox takes nothing, tries are counted; the first one that succeeds tells it, once."""

    async def main() -> None:
        async with alerting(tmp_path, Registry(), Wrong()) as (here, alerts, _):
            here.intake.guard.set(Reason.DISK, Level.CRITICAL)
            rows = outbox.MAX_ROWS
            monkeypatch.setattr(outbox, "MAX_ROWS", 0)
            for _ in range(3):
                await alerts.look()
            assert (3, 0) == (alerts.failed, alerts.told[AlertEvent.DISK])
            monkeypatch.setattr(outbox, "MAX_ROWS", rows)
            for _ in range(3):
                await alerts.look()
            assert (3, 1) == (alerts.failed, alerts.told[AlertEvent.DISK])
            assert ["disk"] == [event for event, _ in await bodies(here)]

    asyncio.run(main())


def test_a_full_disk(tmp_path: Path) -> None:
    """On a disk that takes not a byte more nothing breaks; that it is full is told as soon as there is room."""

    async def main() -> None:
        async with alerting(tmp_path, Registry(), Wrong()) as (here, alerts, _):
            maintain = here.store.writer.maintain
            pages = await maintain(lambda connection: int(str(connection.pragma("page_count"))))
            await maintain(lambda connection: connection.pragma("max_page_count", pages))
            for size in (3_000, 100, 1):
                with suppress(DiskFull):
                    while True:
                        await here.store.outbox.put("other", "filler", "x" * size)
            here.intake.guard.set(Reason.DISK, Level.CRITICAL)
            await alerts.look()
            assert (1, []) == (alerts.failed, await bodies(here))
            await maintain(lambda connection: connection.pragma("max_page_count", pages + 1_000))
            await alerts.look()
            assert ["disk"] == [event for event, _ in await bodies(here)]

    asyncio.run(main())


def test_nobody_wants_to_know(tmp_path: Path) -> None:
    """Without an owner alerts are counted and logged, and nothing is written."""

    async def main() -> None:
        async with alerting(tmp_path, Registry(), Wrong(), Owner()) as (here, alerts, _):
            here.intake.guard.set(Reason.DISK, Level.CRITICAL)
            await alerts.look()
            assert (1, None) == (alerts.told[AlertEvent.DISK], await here.store.alerts.record())

    asyncio.run(main())


def test_once_a_week(tmp_path: Path) -> None:
    """The summary is told seven days after it was first asked for, and every seven days from then on."""

    async def main() -> None:
        async def line() -> str:
            return "all is flat"

        async with alerting(tmp_path, Registry(), Wrong(), weekly=line) as (here, alerts, _):
            days = []
            for number in range(22):
                await alerts.look()
                days += [
                    number
                    for event, text in await bodies(here)
                    if (event, text) == ("summary", "all is flat")
                ]
                here.clock.advance(DAY_MS)
            assert [7, 14, 21] == days

    asyncio.run(main())
