"""What a forecast is told of a store."""

import msgspec
import pytest

from house import House
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config import Lifecycle
from tidegate.config.job import Job
from tidegate.domain.entry import User
from tidegate.domain.job import JobOrigin
from tidegate.domain.policy import policies
from tidegate.domain.run import Lane, Origin
from tidegate.domain.session import DueTo, Outcome, PolicyName, State
from tidegate.store.admission import Admission, Birth
from tidegate.store.move import Move
from tidegate.store.sqlite import SqliteStore
from tidegate.store.visit import look

pytestmark = pytest.mark.anyio


async def carry_out(
    house: House, policy: PolicyName, took_ms: int, outcome: Outcome = Outcome.OK, text: str = "hello"
) -> str:
    """Let a session live until its run is done, and return its key."""
    lane = Lane.CRON if policy is PolicyName.CRON else Lane.INTERACTIVE
    admitted = await house.store.admit(
        Admission(
            key=None,
            birth=Birth(policy=policy, agent="main"),
            lane=lane,
            origin=Origin.MESSAGE,
            bodies=[User(text=text)],
        )
    )
    claimed = await house.store.claim(lane)
    assert claimed is not None
    house.clock.advance(took_ms)
    await house.store.finish(claimed.run.lease, outcome, notice="over")
    return admitted.session.key


async def archive(house: House, key: str) -> None:
    """Archive a session."""
    session = house.store.session(key)
    assert session is not None
    segments = await house.store.pack(session.id, 1 << 20)
    await house.store.settle([Move(session=session, to=DueTo.ARCHIVED, is_asked=True, segments=segments)])


async def test_births_are_counted(house: House) -> None:
    """Each session once, by its policy, and none for a message to one that is there."""
    for _ in range(2):
        await carry_out(house, PolicyName.API, 0)
    await carry_out(house, PolicyName.CRON, 0)

    assert {PolicyName.API: 2, PolicyName.CRON: 1} == dict(house.store.born)
    assert [{PolicyName.API: 1}, {PolicyName.API: 1}, {PolicyName.CRON: 1}] == [
        dict(effects.born) for effects in house.heard if effects.born
    ]
    await house.reopen()
    assert {} == dict(house.store.born)


async def test_finished_sessions(house: House) -> None:
    """How long they were at work and how many failed, completed and archived ones together."""
    key = await carry_out(house, PolicyName.CRON, 2 * MINUTE_MS)
    await archive(house, key)
    await carry_out(house, PolicyName.CRON, MINUTE_MS, Outcome.FAILED)
    cron = (await house.store.survey(house.clock.now())).finished[PolicyName.CRON]

    assert (2, 3 * MINUTE_MS, 1) == (cron.count, cron.span_ms, cron.failed)


async def test_none_counts_that_may_have_gone_before_its_like(house: House) -> None:
    """Where failed ones are kept for longer, those of an age at which the others are gone say nothing."""
    await house.reopen(
        policies({"cron": Lifecycle(delete_after_ms=DAY_MS, delete_failed_after_ms=9 * DAY_MS)})
    )
    await carry_out(house, PolicyName.CRON, 0, Outcome.FAILED)
    house.clock.advance(DAY_MS + 2 * HOUR_MS)
    await carry_out(house, PolicyName.CRON, 0)
    cron = (await house.store.survey(house.clock.now())).finished[PolicyName.CRON]

    assert (1, 0) == (cron.count, cron.failed)


async def test_what_is_stored(house: House) -> None:
    """Counts and bytes by policy and state, the file without its free pages, and nothing of an empty ring."""
    await archive(house, await carry_out(house, PolicyName.HOOK, 0))
    await carry_out(house, PolicyName.HOOK, 0)
    survey = await house.store.survey(house.clock.now())

    assert (1, 1) == tuple(
        survey.stored[PolicyName.HOOK, state] for state in (State.ARCHIVED, State.COMPLETED)
    )
    assert survey.sessions == house.store.tallies().sessions
    assert (survey.live_bytes or 0) > 200_000
    assert (0, 0) == (survey.skill_bytes, survey.ring_bytes)


async def test_free_pages_do_not_count(house: House) -> None:
    """What a deleted session leaves behind in the file is free for others."""
    before = (await house.store.survey(house.clock.now())).live_bytes or 0
    key = await carry_out(house, PolicyName.HOOK, 0, text="x" * 900_000)
    full = (await house.store.survey(house.clock.now())).live_bytes or 0
    session = house.store.session(key)
    assert session is not None
    await house.store.settle([Move(session=session, to=DueTo.DELETED, is_asked=True)])
    after = (await house.store.survey(house.clock.now())).live_bytes or 0

    assert full > before + 800_000
    assert before <= after < before + 50_000


async def test_jobs_that_are_not_of_the_configuration(house: House) -> None:
    """Those that run are told; those of the configuration are known already."""
    made = Job(name="made", every_ms=HOUR_MS, prompt="go")
    await house.store.reconcile_jobs([msgspec.structs.replace(made, name="config")])
    for name in ("made", "paused"):
        await house.store.put_job(msgspec.structs.replace(made, name=name), JobOrigin.API)
    await house.store.pause_job("paused", paused=True)

    assert [made] == (await house.store.survey(house.clock.now())).jobs


async def test_a_visit_from_outside_sees_the_same(house: House) -> None:
    """While the store is open, without writing; a folder without a store has nothing to tell."""
    await carry_out(house, PolicyName.API, MINUTE_MS)
    assert isinstance(house.store, SqliteStore)
    now = house.clock.now()
    seen = look(house.store.path.parent, policies({}), now)

    assert seen is not None
    assert (await house.store.survey(now), 0) == (seen.survey, seen.observed.span_ms)
    assert None is look(house.store.path.parent / "nowhere", policies({}), now)
