import asyncio
from pathlib import Path

from inside import Inside, inside
from tidegate.clock import MINUTE_MS
from tidegate.config.job import Job as Definition
from tidegate.domain.job import Firing, FiringOutcome, JobOrigin
from tidegate.domain.run import Run


async def settled(here: Inside) -> list[Run]:
    """Fire what is due and wait for the ends of the runs."""
    await here.cron.fire_due()
    ended = []
    for run in await here.store.runs(state=None, session=None, before=1 << 60, limit=1_000):
        ended.append(await here.intake.outcome(run))
    return ended


async def history(here: Inside, name: str = "j") -> list[Firing]:
    """Return what became of a job's instants."""
    return await here.store.firings(name, 1 << 60, 1_000)


def job(**changes: object) -> Definition:
    """Return a job that runs every minute."""
    values: dict[str, object] = {"name": "j", "prompt": "/echo hi", "every_ms": MINUTE_MS, "agent": "main"}
    return Definition(**{**values, **changes})  # type: ignore[arg-type]  # keys of tests


def test_a_job_fires(tmp_path: Path) -> None:
    """X."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.store.put_job(job(deliver="chat:me"), JobOrigin.API)
            assert here.store.next_firing() == here.clock.now() + MINUTE_MS
            here.clock.advance(MINUTE_MS)
            (run,) = await settled(here)
            (firing,) = await history(here)
            assert firing.outcome is FiringOutcome.FIRED
            assert (firing.is_open, firing.result) == (False, "ok")
            session = here.store.session_by_id(run.session)
            assert session is not None
            assert [f"[job j, session {session.key}]\nhi"] == await here.texts("me")
            await here.say("me", "/echo go")
            assert "go" == (await here.texts("me"))[-1]
            assert {} == await here.store.orphans()

    asyncio.run(main())
