import pytest
from msgspec.structs import replace

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config import Config, Hook, Subagents
from tidegate.config.job import Job
from tidegate.domain.arrival import (
    SERIES,
    Basis,
    Observed,
    assumed,
    measured,
    observed,
    read_rates,
    scheduled,
    series_of,
    told_rate,
)
from tidegate.domain.sample import COARSE, Range, Slot
from tidegate.domain.session import PolicyName

NOW = 1_800_000_000_000


def slot(number: int, at_ms: int, boot: int, **born: int) -> Slot:
    """Return a slot that ended at an instant, when so many had been born since the start of its boot."""
    values = {name: Range(0, 0, 0) for name in SERIES}
    values |= {f"born.{name}": Range(0, count, count) for name, count in born.items()}
    return Slot(step_ms=COARSE.step_ms, number=number, at=NOW + at_ms, boot=boot, values=values)


def job(**keys: object) -> Job:
    """Return a job."""
    return replace(Job(name="job", prompt="go"), **keys)


def test_what_came_between_slots() -> None:
    """Differences within a boot count, the gap between two boots does not, and counters start again at 0."""
    found = observed(
        [
            slot(0, 0, 1, api=5),
            slot(1, HOUR_MS, 1, api=65, cron=2),
            slot(2, 9 * HOUR_MS, 2, api=1),
            slot(3, 10 * HOUR_MS, 2, api=41),
        ]
    )

    assert (2 * HOUR_MS, 100, 2, 0) == (
        found.span_ms,
        found.born[PolicyName.API],
        found.born[PolicyName.CRON],
        found.born[PolicyName.CHAT],
    )
    assert 50 * 24 == pytest.approx(measured(found)[PolicyName.API].per_day)
    assert {Basis.MEASURED} == {rate.basis for rate in measured(found).values()}


def test_what_was_not_watched_is_not_counted() -> None:
    """Slots of a release that did not count, and a clock that was set back, tell nothing."""
    before = Slot(step_ms=COARSE.step_ms, number=0, at=NOW, boot=1, values={"rss_bytes": Range(1, 1, 1)})
    set_back = [slot(1, HOUR_MS, 1, api=5), slot(2, HOUR_MS, 1, api=9), slot(3, 2 * HOUR_MS, 1, api=19)]
    found = observed([before, *set_back])

    assert (HOUR_MS, 10) == (found.span_ms, found.born[PolicyName.API])


def test_an_hour_is_needed() -> None:
    """Less tells no rate."""
    assert {} == measured(Observed(span_ms=HOUR_MS - 1, born={PolicyName.API: 7}))
    assert {} == measured(observed([]))
    assert len(PolicyName) == len(measured(Observed(span_ms=HOUR_MS, born=dict.fromkeys(PolicyName, 0))))


@pytest.mark.parametrize(
    ("keys", "per_day"),
    [
        ({"every_ms": 30 * MINUTE_MS}, 48.0),
        ({"every_ms": 7 * DAY_MS}, 1 / 7),
        ({"cron": "* * * * *"}, 1_440.0),
        ({"cron": "@hourly"}, 24.0),
        ({"cron": "@daily", "timezone": "Europe/Berlin"}, 1.0),
        ({"cron": "*/5 9-17 * * 1-5"}, 12 * 9 * 5 / 7),
        ({"cron": "@weekly"}, 1 / 7),
        ({"cron": "0 0 1 * *"}, 12 / 364),
        ({"cron": "0 12 29 2 *"}, 0.0),
        ({"cron": "@hourly", "paused": True}, 0.0),
        ({"cron": "@hourly", "session": "notes"}, 0.0),
        ({"at": "2027-06-01T09:00:00+00:00"}, 0.0),
    ],
)
def test_schedules(keys: dict[str, object], per_day: float) -> None:
    """A job makes as many sessions as its schedule has instants; none paused, once, or in a chat."""
    assert scheduled(job(**keys), NOW) == pytest.approx(per_day)


def test_days_and_times_of_an_expression_are_counted_apart() -> None:
    """Each minute of half of each month is 1,440 times as often as midnight of it."""
    midnights = scheduled(job(cron="0 0 1-15 * *"), NOW)

    assert 12 * 14 / 364 < midnights < 12 * 16 / 364
    assert 1_440 * midnights == pytest.approx(scheduled(job(cron="* * 1-15 * *"), NOW))


def test_assumptions_follow_the_configuration() -> None:
    """Hooks come where there are some that have sessions of their own, sub-agents where there may be any."""
    plain = assumed(Config())
    hooks = {"a": Hook(), "b": Hook(), "c": Hook(session="chat:notes")}
    other = assumed(Config(hooks=hooks, subagents=Subagents(depth=0)))

    assert (0, 480) == (plain[PolicyName.HOOK].per_day, other[PolicyName.HOOK].per_day)
    assert (240, 0) == (plain[PolicyName.SUBAGENT].per_day, other[PolicyName.SUBAGENT].per_day)
    assert {Basis.ASSUMED} == {rate.basis for rate in plain.values()}


@pytest.mark.parametrize(
    ("text", "per_day"),
    [("api=100/h", 2_400), ("api=5/d", 5), ("api=0.5/min", 720), ("api=1/s", 86_400), ("api=0/h", 0)],
)
def test_rates_are_read(text: str, per_day: float) -> None:
    """A number and a unit of time."""
    assert {PolicyName.API: (per_day, Basis.ASKED)} == {
        name: (rate.per_day, rate.basis) for name, rate in read_rates(text).items()
    }


def test_several_rates_are_read() -> None:
    """With commas; the last one of a kind counts."""
    assert ["api", "chat"] == sorted(read_rates("api=1/h, chat=2/d,api=3/h"))
    assert 72 == read_rates("api=1/h,api=3/h")[PolicyName.API].per_day
    assert {} == read_rates("")


@pytest.mark.parametrize(
    "text",
    [
        "api",
        "api=",
        "api=1",
        "api=-1/h",
        "api=1/w",
        "robot=1/h",
        "api=1e9/h",
        "api=999999999/s",
        "api=\u0661/h",
        ",",
    ],
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValueError, match=r"; (write|use) "):
        read_rates(text)


@pytest.mark.parametrize(
    ("per_day", "text"),
    [
        (0, "0"),
        (3, "3/d"),
        (0.25, "0.25/d"),
        (24, "1/h"),
        (301, "12.5/h"),
        (14_400, "10/min"),
        (1_440_000, "1,000/min"),
    ],
)
def test_rates_are_told(per_day: float, text: str) -> None:
    """In the unit that fits."""
    assert text == told_rate(per_day)


def test_each_policy_has_a_series() -> None:
    """Named after it."""
    assert "born.api_named" == series_of(PolicyName.API_NAMED)
    assert len(PolicyName) == len(set(SERIES))
