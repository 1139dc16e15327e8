"""Jobs for tests, and what became of them."""

from inside import Inside
from tidegate.clock import MINUTE_MS
from tidegate.config.job import Job as Definition
from tidegate.domain.job import Firing, FiringOutcome, Job
from tidegate.domain.run import Run, RunState
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
    """Let time pass, fire what is due, wait for the ends of the runs that are open, and return these."""
    here.clock.advance(ms)
    await here.cron.fire_due()
    return await ended(here)


async def ended(here: Inside) -> list[Run]:
    """Wait for the ends of the runs that are open, and return them."""
    found: list[Run] = []
    for state in (RunState.RUNNING, RunState.QUEUED, RunState.WAITING):
        found += await here.store.runs(state=state, session=None, before=EVERYTHING, limit=1_000)
    return [await here.intake.outcome(run) for run in {run.id: run for run in found}.values()]
