import pytest

from jobbing import job
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain import job as rules
from tidegate.domain.job import Job, JobOrigin, Plan

BORN = 1_800_000_000_000


def born(**changes: object) -> Job:
    """Return a job that was just made."""
    definition = job(**changes)
    return Job(
        definition=definition,
        origin=JobOrigin.API,
        creator="",
        paused=False,
        created_at=BORN,
        fired_through=BORN,
        next_at=rules.next_due(definition, BORN, BORN),
        held_until=None,
        failures=0,
        revision=1,
    )


@pytest.mark.parametrize(
    ("late", "missed", "attended", "fires", "passed_over"),
    [
        (0, "once", True, True, 0),
        (0, "skip", True, True, 0),
        # within a minute nothing is missed
        (MINUTE_MS, "skip", False, True, 0),
        # nobody was there
        (30 * MINUTE_MS, "skip", False, False, 1),
        (30 * MINUTE_MS, "once", False, True, 0),
        # somebody was there, but there was no room
        (30 * MINUTE_MS, "skip", True, True, 0),
        # several were missed, one is made up for
        (3 * HOUR_MS, "once", False, True, 3),
        (3 * HOUR_MS + 2 * MINUTE_MS, "skip", False, False, 4),
        # the last one of a day's downtime is on time by chance
        (24 * HOUR_MS, "skip", False, True, 24),
        # a year is not walked through
        (366 * DAY_MS, "once", False, True, 100),
    ],
)
def test_what_becomes_of_instants(
    *, late: int, missed: str, attended: bool, fires: bool, passed_over: int
) -> None:
    """At most the last instant fires; the ones before it are missed, and so is it where nobody was there."""
    now = BORN + HOUR_MS + late
    found = rules.plan(born(every_ms=HOUR_MS, missed=missed), now, BORN if attended else now)
    through = BORN + HOUR_MS + late // HOUR_MS * HOUR_MS
    before = through if not fires or not passed_over else through - HOUR_MS
    expected = Plan(through, fires, passed_over, before, through + HOUR_MS)
    assert expected == found


def test_what_is_too_late() -> None:
    """An instant later than the most that is allowed is missed, whatever is made up for."""
    made = born(at="2027-01-15T10:00:00+00:00", every_ms=None, max_lateness_ms=HOUR_MS)
    assert made.next_at is not None
    assert rules.plan(made, made.next_at + HOUR_MS, BORN).fires
    late = rules.plan(made, made.next_at + HOUR_MS + 1, BORN)
    assert (late.fires, late.missed, late.missed_at, late.next_at) == (False, 1, made.next_at, None)


def test_nothing_is_due() -> None:
    """Before its date nothing becomes of a job, and its date stays."""
    made = born()
    expected = Plan(through=BORN, fires=False, missed=0, missed_at=0, next_at=made.next_at)
    assert expected == rules.plan(made, BORN + MINUTE_MS - 1, BORN)


def test_jitter() -> None:
    """Each instant has its own delay, the same whenever it is computed, and none is lost to it."""
    made = born(jitter_ms=HOUR_MS, every_ms=MINUTE_MS)
    delays = [rules.jitter_ms(made.definition, BORN + at * MINUTE_MS) for at in range(100)]
    assert delays == [rules.jitter_ms(made.definition, BORN + at * MINUTE_MS) for at in range(100)]
    assert 0 <= min(delays) < HOUR_MS / 10
    assert HOUR_MS * 9 / 10 < max(delays) <= HOUR_MS
    assert made.next_at is not None
    early = rules.plan(made, made.next_at - 1, BORN)
    assert not early.fires or early.through != BORN + MINUTE_MS
    assert rules.plan(made, made.next_at, BORN).fires


@pytest.mark.parametrize(
    ("failures", "rest_s"), [(0, 0), (1, 30), (2, 60), (7, 1_920), (8, 3_600), (500, 3_600)]
)
def test_backoff(failures: int, rest_s: int) -> None:
    """A job that fails rests twice as long each time, up to an hour."""
    assert rest_s * 1_000 == rules.backoff_ms(failures)
