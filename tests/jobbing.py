"""Jobs for tests, and what became of them."""

from inside import Inside
from tidegate.clock import MINUTE_MS
from tidegate.config.job import Job as Definition
from tidegate.domain.job import Firing, FiringOutcome, Job
from tidegate.domain.run import Run
from tidegate.store.port import Store

EVERYTHING = 1 << 60


def job(**changes: object) -> Definition:
    """Return a job that says something every minute."""
    values: dict[str, object] = {"name": "j", "prompt": "/echo hi", "every_ms": MINUTE_MS, "agent": "main"}
    return Definition(**{**values, **changes})  # type: ignore[arg-type]  # the keys are those of a job


async def history(store: Store, name: str = "j") -> list[Firing]:
    """Return what became of a job's instants, newest first."""
    return await store.firings(name, EVERYTHING, 1_000)


async def outcomes(store: Store, name: str = "j") -> list[FiringOutcome]:
    """Return the outcomes of a job's instants, oldest first."""
    return [firing.outcome for firing in await history(store, name)][::-1]


def known(store: Store, name: str = "j") -> Job:
    """Return a job that is there."""
    found = store.job(name)
    assert found is not None
    return found


async def tick(here: Inside, ms: int = MINUTE_MS) -> list[Run]:
    """Let time pass, fire what is due, wait for the ends of the new runs, and return these, newest first."""
    before = {run.id for run in await runs(here)}
    here.clock.advance(ms)
    await here.cron.fire_due()
    return [await here.intake.outcome(run) for run in await runs(here) if run.id not in before]


async def calm(here: Inside) -> None:
    """Fire what is due, as far as there is room, until nothing is due and nothing runs any more."""
    while (wakes_at := here.store.next_firing()) is not None and wakes_at <= here.clock.now():
        await here.cron.fire_due()
        for run in await runs(here):
            await here.intake.outcome(run)


async def runs(here: Inside) -> list[Run]:
    """Return the newest runs."""
    return await here.store.runs(state=None, session=None, before=EVERYTHING, limit=100)
