"""Cron expressions against two other libraries, and against a walk over real minutes where clocks change."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cron_converter import Cron as Converter
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from extent import share
from tidegate import cron
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.domain import schedule
from tidegate.domain.schedule import Cron, Every, Schedule

EXAMPLES = share(100)
some = settings(max_examples=EXAMPLES, deadline=None)

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Santiago",
]
FIRST = 1_577_836_800_000  # 2020
LAST = 2_208_988_800_000  # 2040


def field(first: int, last: int) -> st.SearchStrategy[str]:
    """Return fields of a cron expression."""
    number = st.integers(first, last)
    # croniter reads "0-0" as everything
    ends = st.lists(number, min_size=2, max_size=2, unique=True).map(sorted)
    span = ends.map(lambda both: f"{both[0]}-{both[1]}")
    step = st.integers(1, last).map(lambda size: f"*/{size}")
    few = st.lists(number, min_size=1, max_size=4, unique=True).map(
        lambda found: ",".join(map(str, sorted(found)))
    )
    return st.one_of(st.just("*"), number.map(str), span, step, few)


def fixed(first: int, last: int) -> st.SearchStrategy[str]:
    """Return fields that do not begin with a star."""
    return field(first, last).filter(lambda text: not text.startswith("*"))


TIMES = st.tuples(field(0, 59), field(0, 23))
ONE_KIND_OF_DAY = st.one_of(st.tuples(field(1, 28), st.just("*")), st.tuples(st.just("*"), field(0, 6)))
#: how the day of the month and that of the week are meant together differs where one begins with a star
DAYS = st.one_of(ONE_KIND_OF_DAY, st.tuples(fixed(1, 28), fixed(0, 6)))


def expressions(days: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[str]:
    """Return cron expressions."""
    return st.builds(
        lambda time, day, month: f"{time[0]} {time[1]} {day[0]} {month} {day[1]}", TIMES, days, field(1, 12)
    )


EXPRESSIONS = expressions(DAYS)
INSTANTS = st.integers(FIRST, LAST)


def first_instants(expression: str, zone: str, after: int, count: int = 4) -> list[int]:
    """Return the first instants after another one."""
    found = cron.instants(expression, zone, after)
    return [at for at, _ in zip(found, range(count), strict=False)]


@some
@given(EXPRESSIONS, INSTANTS)
def test_as_croniter_says(expression: str, after: int) -> None:
    """In UTC, croniter finds the same instants."""
    start = datetime.fromtimestamp(after // 1_000, UTC)
    theirs = croniter(expression, start, ret_type=datetime)
    expected = [int(theirs.get_next().timestamp()) * 1_000 for _ in range(4)]
    assert expected == first_instants(expression, "UTC", after)


# it wants both kinds of day to fit, where cron wants one of them
@some
@given(expressions(ONE_KIND_OF_DAY), INSTANTS, st.sampled_from(ZONES))
def test_as_cron_converter_says(expression: str, after: int, zone: str) -> None:
    """cron-converter finds the same wall times, where no clock changes nearby."""
    start = datetime.fromtimestamp(after // 1_000, ZoneInfo(zone))
    theirs = Converter(expression).schedule(start.replace(tzinfo=None))
    wall = [theirs.next() for _ in range(3)]
    while wall[0] <= start.replace(tzinfo=None):  # it counts the instant itself
        wall = [*wall[1:], theirs.next()]
    if any(changes(zone, at) for at in wall) or changes(zone, start.replace(tzinfo=None)):
        return
    expected = [int(at.replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1_000 for at in wall]
    assert expected == first_instants(expression, zone, after, 3)


def changes(zone: str, wall: datetime) -> bool:
    """Whether the clocks of a zone change within two days of a wall time."""
    ends = [(wall + timedelta(days=days)).replace(tzinfo=ZoneInfo(zone)).utcoffset() for days in (-2, 0, 2)]
    return len(set(ends)) > 1


@pytest.mark.parametrize(
    ("expression", "zone", "after", "wall"),
    [
        # put forward at 02:00: what is skipped comes at 03:00, once
        ("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00+01:00", ["03-28T03:00+02:00", "03-29T02:30+02:00"]),
        ("0 3 * * *", "Europe/Berlin", "2027-03-27T12:00+01:00", ["03-28T03:00+02:00", "03-29T03:00+02:00"]),
        # put back at 03:00: what is repeated comes the first time
        ("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00+02:00", ["10-31T02:30+02:00", "11-01T02:30+01:00"]),
        ("30 2 * * *", "Europe/Berlin", "2027-10-31T02:15+01:00", ["11-01T02:30+01:00", "11-02T02:30+01:00"]),
        # a star follows real time
        ("30 * * * *", "Europe/Berlin", "2027-03-28T01:00+01:00", ["03-28T01:30+01:00", "03-28T03:30+02:00"]),
        ("30 * * * *", "Europe/Berlin", "2027-10-31T02:00+02:00", ["10-31T02:30+02:00", "10-31T02:30+01:00"]),
        # half an hour, in the south
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2027-10-02T12:00+10:30",
            ["10-03T02:30+11:00", "10-04T02:15+11:00"],
        ),
        # at midnight
        (
            "0 0 * * *",
            "America/Santiago",
            "2027-09-04T12:00-04:00",
            ["09-05T01:00-03:00", "09-06T00:00-03:00"],
        ),
    ],
)
def test_clocks_change(expression: str, zone: str, after: str, wall: list[str]) -> None:
    """What is skipped comes right after the gap, what is repeated once; with a star, real time counts."""
    found = first_instants(expression, zone, int(datetime.fromisoformat(after).timestamp()) * 1_000, 2)
    shown = [datetime.fromtimestamp(at / 1_000, ZoneInfo(zone)) for at in found]
    assert [f"2027-{text}" for text in wall] == [at.isoformat(timespec="minutes") for at in shown]


@some
@given(EXPRESSIONS, st.sampled_from(ZONES), INSTANTS, st.integers(0, 3 * HOUR_MS))
def test_next_agrees_with_itself(expression: str, zone: str, after: int, step: int) -> None:
    """Wherever one stands between two instants, also where clocks change, the next one is the same."""
    at = schedule.next_after(Cron(expression=expression, timezone=zone), after)
    if at is not None and after + step < at:
        assert at == schedule.next_after(Cron(expression=expression, timezone=zone), after + step)


@some
@given(fixed(0, 59), fixed(0, 23), st.sampled_from(ZONES), st.integers(FIRST // DAY_MS, LAST // DAY_MS))
def test_every_day_has_its_instants_once(minute: str, hour: str, zone: str, day: int) -> None:
    """At fixed times, each wall time comes at most once, and none is lost over any change of clocks."""
    start = day * DAY_MS
    found = list(
        islice_until(Cron(expression=f"{minute} {hour} * * *", timezone=zone), start, start + 3 * DAY_MS)
    )
    assert sorted(set(found)) == found
    walls = [datetime.fromtimestamp(at / 1_000, ZoneInfo(zone)).replace(tzinfo=None) for at in found]
    assert len(set(walls)) == len(walls)


def islice_until(plan: Schedule, after: int, until: int) -> list[int]:
    """Return every instant up to another one."""
    found: list[int] = []
    while (at := schedule.next_after(plan, found[-1] if found else after)) is not None and at <= until:
        found.append(at)
    return found


SCHEDULES: st.SearchStrategy[Schedule] = st.one_of(
    st.builds(Cron, expression=EXPRESSIONS, timezone=st.sampled_from(ZONES)),
    st.builds(Every, every_ms=st.integers(MINUTE_MS, 40 * DAY_MS), anchor=INSTANTS),
)


@some
@given(SCHEDULES, INSTANTS, st.integers(0, 3 * HOUR_MS))
def test_jumping_is_walking(plan: Schedule, after: int, span: int) -> None:
    """The last instant of a stretch, and how many there are, are what walking through all of them finds."""
    walked = islice_until(plan, after, after + span)
    assert (walked[-1] if walked else None) == schedule.last_through(plan, after, after + span)
    inner = [at for at in walked if at < after + span]
    assert min(len(inner), schedule.MAX_COUNTED) == schedule.count_between(plan, after, after + span)


@some
@given(st.text(max_size=40), st.text(max_size=20))
def test_nonsense_is_refused(expression: str, zone: str) -> None:
    """Whatever is written, it is a schedule or a clear refusal."""
    for checked in ((expression, "UTC"), ("@daily", zone)):
        with suppress(ValueError):
            cron.check(*checked)
