import msgspec
import pytest

from house import House
from jobbing import job as definition
from tidegate.clock import DAY_MS, day
from tidegate.domain.entry import Assistant, Summary
from tidegate.domain.job import JobOrigin
from tidegate.domain.run import Lane, Step, Usage
from tidegate.domain.session import Outcome, PolicyName
from tidegate.errors import FenceLost
from tidegate.store import usage as counted
from tidegate.store.admission import Claimed
from tidegate.store.context import Replacement
from tidegate.store.facts import Flushed
from work import EVERYTHING, claim, head, offer, order, start

pytestmark = pytest.mark.anyio

COST = Usage(input_tokens=10, output_tokens=5, micros=1_500)


def step(usage: Usage = COST, model: str = "m") -> Step:
    """Return an answer that has cost something."""
    return Step(bodies=[Assistant(text="a")], usage=usage, model=model)


async def spent(house: House) -> dict[tuple[str, str], tuple[int, int]]:
    """Return what this day has cost."""
    return dict((await house.store.spending.of_day(day(house.clock.now()))).models)


async def of_job(house: House, name: str = "daily", *, limit: bool = True) -> Claimed:
    """Start a session of a job that has a limit of two dollars."""
    if house.store.job(name) is None:
        made = definition(name=name, spend_micros=2_000_000) if limit else definition(name=name)
        await house.store.put_job(made, JobOrigin.API)
    return await start(house.store, offer(PolicyName.CRON, group=f"job:{name}"))


async def jobs(house: House) -> dict[str, tuple[int, int]]:
    """Return what jobs with a limit have cost on this day, and their limits."""
    found = await house.store.spending.of_day(day(house.clock.now()))
    return {one.job: (one.micros, one.limit_micros) for one in found.jobs}


async def test_a_cost_comes_with_its_answer(house: House) -> None:
    """The cost of each answer is counted in its transaction, by agent and model, and told with its sums."""
    working = await start(house.store, offer())
    await house.store.append(working.run.lease, step())
    await house.store.finish(
        working.run.lease, Outcome.OK, step=step(Usage(input_tokens=1, unpriced=1), model="other")
    )
    told = [one for effects in house.heard for one in effects.spent]

    assert {("main", "m"): (1_500, 0), ("main", "other"): (0, 1)} == await spent(house)
    assert [(1_500, 0), (0, 1)] == [one.cost for one in told]
    assert (1_500, 1) == await house.store.spending.since(day(house.clock.now()))


async def test_what_is_refused_costs_nothing(house: House) -> None:
    """An answer under a fence that is lost is not counted: it is counted once, by whoever holds the run."""
    working = await start(house.store, offer())
    await house.store.append(working.run.lease, step())
    await house.crash()
    await house.store.recover()
    again = await claim(house.store)
    with pytest.raises(FenceLost):
        await house.store.append(working.run.lease, step())
    await house.store.append(again.run.lease, step())

    assert {("main", "m"): (3_000, 0)} == await spent(house)


async def test_what_else_a_model_is_asked_for(house: House) -> None:
    """The costs of a compaction and of facts count for the day as those of answers do, each once."""
    working = await start(house.store, offer(key="c"))
    await house.store.append(working.run.lease, step(Usage(input_tokens=1)))
    through = head(house.store, working).entries
    replacement = Replacement(
        summary=Summary(text="so far", through=through),
        before=None,
        segments=await house.store.pack(working.session.id, EVERYTHING, through),
        usage=COST,
        model="m",
    )
    await house.store.compact(working.run.lease, replacement)
    flushed = Flushed(session=working.session.id, through=1, agent="main", notes=[], model="m", usage=COST)
    for _ in range(2):
        await house.store.facts.flush(flushed)

    assert {("main", "m"): (3_000, 0)} == await spent(house)
    assert [1_500, 3_000] == [one.total[0] for effects in house.heard for one in effects.spent]


async def test_free_answers_are_no_news(house: House) -> None:
    """An answer that costs nothing is counted as one, and told to nobody."""
    working = await start(house.store, offer())
    await house.store.append(working.run.lease, step(Usage(input_tokens=3)))

    assert {("main", "m"): (0, 0)} == await spent(house)
    assert not [one for effects in house.heard for one in effects.spent]


async def test_a_job_pays_for_its_tree(house: House) -> None:
    """What a job's session and its sub-agents cost counts for the job; a person's session for none."""
    working = await of_job(house)
    await house.store.append(working.run.lease, step())
    await house.store.admit(order(working.run.lease, "one"))
    child = await claim(house.store, Lane.SUBAGENT)
    await house.store.append(child.run.lease, step())
    person = await start(house.store, offer(PolicyName.CHAT))
    await house.store.append(person.run.lease, step())
    await of_job(house, "free", limit=False)

    assert {"daily": (3_000, 2_000_000)} == await jobs(house)
    told = [(one.job, one.job_micros) for effects in house.heard for one in effects.spent]
    assert [("daily", 1_500), ("daily", 3_000), (None, 0)] == told


async def test_a_new_day(house: House) -> None:
    """Costs belong to the day on which they were counted, in UTC; those of jobs are forgotten after a week."""
    working = await of_job(house)
    await house.store.append(working.run.lease, step())
    before = day(house.clock.now())
    house.clock.advance(DAY_MS)
    assert ({}, {}) == (await spent(house), await jobs(house))
    assert (await house.store.spending.of_day(before)).jobs
    assert (1_500, 0) == await house.store.spending.since(before)
    assert house.store.tallies().job_spends == 1
    house.clock.advance(8 * DAY_MS)
    while await house.store.tidy():
        pass

    assert house.store.tallies().job_spends == 0
    assert (await house.store.spending.of_day(before)).models


async def test_what_is_old_is_folded(house: House) -> None:
    """After 90 days a day is part of its month, after two years a month part of its year; nothing is ever lost."""
    for _ in range(3):
        working = await start(house.store, offer())
        await house.store.append(working.run.lease, step())
        house.clock.advance(DAY_MS)
    start_day = day(house.clock.now() - 3 * DAY_MS)
    for advance, period in ((100 * DAY_MS, start_day[:7]), (3 * 366 * DAY_MS, start_day[:4])):
        house.clock.advance(advance)
        while await house.store.tidy():
            pass
        folded = await house.store.spending.of_day(period)
        assert {("main", "m"): (4_500, 0)} == folded.models


async def test_jobs_have_a_bound(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for another job's costs they are kept together; those that are kept go on."""
    monkeypatch.setattr(counted, "MAX_JOB_ROWS", 3)
    for name in ("a", "b", "c", "d", "e", "a"):
        working = await of_job(house, name)
        await house.store.append(working.run.lease, step())

    assert {"a": (3_000, 2_000_000), "b": (1_500, 2_000_000), "c": (1_500, 2_000_000)} == await jobs(house)
    assert house.store.tallies().job_spends == 4


async def test_a_limit_is_read_as_it_is(house: House) -> None:
    """The limit of a job is what it is now."""
    working = await of_job(house)
    await house.store.append(working.run.lease, step())
    await house.store.alter_job("daily", lambda one: msgspec.structs.replace(one, spend_micros=9_000_000))

    assert {"daily": (1_500, 9_000_000)} == await jobs(house)
