import asyncio
from pathlib import Path

import pytest

from inside import inside
from jobbing import history, job
from tidegate.clock import MINUTE_MS
from tidegate.domain.job import FiringOutcome, JobOrigin
from tidegate.domain.level import Level
from tidegate.domain.run import Lane
from tidegate.domain.session import PolicyName
from tidegate.errors import DiskBudget, MemoryShort, SpendShort, Unavailable
from tidegate.runtime.guard import Grip, Guard, Hold, Reason, Work

BIRTH = Work(agent="main", lane=Lane.INTERACTIVE, policy=PolicyName.API, is_birth=True)
CRON = Work(agent="main", lane=Lane.CRON, policy=PolicyName.CRON, job="daily", is_birth=True)
INTO_CHAT = Work(agent="main", lane=Lane.CRON, policy=PolicyName.CHAT)


def hold(grip: Grip, **changes: object) -> Hold:
    """Return a hold on everybody."""
    return Hold(grip=grip, message="it is short", retry_after_s=7, **changes)  # type: ignore[arg-type]  # of a test


@pytest.mark.parametrize("grip", [Grip.NOTHING, Grip.BIRTHS, Grip.BACKGROUND, Grip.BIRTHS | Grip.BACKGROUND])
@pytest.mark.parametrize("is_birth", [True, False])
def test_a_person_is_not_refused(grip: Grip, *, is_birth: bool) -> None:
    """Short of `WRITES`, nothing refuses or parks a message to a chat, be it new or not."""
    guard = Guard()
    guard.set(Reason.MEMORY, Level.CRITICAL, [hold(grip)])
    message = Work(agent="main", lane=Lane.INTERACTIVE, policy=PolicyName.CHAT, is_birth=is_birth)

    assert (None, False) == (guard.refusal(message), guard.parks(message))


@pytest.mark.parametrize(
    ("grip", "work", "error"),
    [
        (Grip.NOTHING, BIRTH, None),
        (Grip.BIRTHS, BIRTH, MemoryShort),
        (Grip.BIRTHS, BIRTH._replace(is_birth=False), None),
        (Grip.BIRTHS, CRON, MemoryShort),
        (Grip.BACKGROUND, CRON, None),
        (Grip.BACKGROUND, INTO_CHAT, MemoryShort),
        (Grip.BIRTHS, INTO_CHAT, None),
        (Grip.WRITES, BIRTH, DiskBudget),
        (Grip.WRITES, INTO_CHAT._replace(lane=Lane.INTERACTIVE), DiskBudget),
    ],
)
def test_what_is_refused(grip: Grip, work: Work, error: type[Unavailable] | None) -> None:
    """Each grip refuses what it says and nothing else, with the reason, the words and the time to come again."""
    guard = Guard()
    guard.set(Reason.MEMORY, Level.TIGHT, [hold(grip)])
    refusal = guard.refusal(work)

    assert error is (type(refusal) if refusal else None)
    if refusal is not None:
        assert ("it is short", 7) == (refusal.message, refusal.retry_after_s)


def test_one_job_can_be_held(tmp_path: Path) -> None:
    """What an instrument holds of one job leaves the others alone, and its instant is written down as refused."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            guard = here.intake.guard
            for name in ("dear", "cheap"):
                await here.store.put_job(job(name=name), JobOrigin.API)
            held = hold(Grip.BIRTHS, concerns=lambda work: work.job == "dear")
            guard.set(Reason.SPEND, Level.CRITICAL, [held])
            here.clock.advance(MINUTE_MS)
            await here.cron.fire_due()
            with pytest.raises(SpendShort):
                await here.intake.run_job("dear")

            dear, cheap = [await history(here.store, name) for name in ("dear", "cheap")]
            assert [(FiringOutcome.REFUSED, "it is short")] == [(row.outcome, row.note) for row in dear]
            assert [FiringOutcome.FIRED] == [row.outcome for row in cheap]
            assert 2 == guard.refused["spend_short"]

    asyncio.run(main())


def test_levels_are_counted_once() -> None:
    """A level that is said again is no change; letting go is one."""
    guard, heard = Guard(), []
    guard.listen(lambda: heard.append(guard.level(Reason.DISK)))
    for level in (Level.TIGHT, Level.TIGHT, Level.NORMAL):
        guard.set(Reason.DISK, level)

    assert {(Reason.DISK, Level.TIGHT): 1, (Reason.DISK, Level.NORMAL): 1} == guard.changes
    assert [Level.TIGHT, Level.NORMAL] == heard
