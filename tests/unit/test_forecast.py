import math

import pytest
from msgspec.structs import replace

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config import Lifecycle
from tidegate.domain.arrival import Basis, Rate
from tidegate.domain.forecast import Ground, Limits, Outlook, outlook
from tidegate.domain.policy import DEFAULTS, Policies, policies
from tidegate.domain.residence import Finished
from tidegate.domain.session import PolicyName, State
from tidegate.domain.survey import Size

SIZE = Size(hot=1_000.0, archived=100.0, is_measured=True)
LIMITS = Limits(disk_bytes=1 << 30, memory_bytes=1 << 30)
#: each is at work for a minute, and ends well
FINISHED = {name: Finished(count=10**9, span_ms=10**9 * MINUTE_MS) for name in PolicyName}


def ground(
    rates: dict[PolicyName, float],
    *,
    rules: Policies = DEFAULTS,
    jobs: tuple[float, ...] = (),
    stored: dict[tuple[PolicyName, State], int] | None = None,
    limits: Limits = LIMITS,
) -> Ground:
    """Return a ground of round figures."""
    return Ground(
        policies=rules,
        rates={name: Rate(per_day=rate, basis=Basis.ASKED) for name, rate in rates.items()},
        jobs=jobs,
        finished=FINISHED,
        sizes=dict.fromkeys(PolicyName, SIZE),
        stored=stored or {},
        base_bytes=1_000_000.0,
        memory={"idle": 40 << 20},
        spare={"streams": 10 << 20},
        run_bytes=1 << 20,
        slots=50,
        limits=limits,
    )


def set_policies(**kinds: Lifecycle) -> Policies:
    """Return the default policies with what is set."""
    return policies(kinds)


def said(found: Outlook) -> list[str]:
    """Return what breaks, in words."""
    return [one.says for one in found.breaks]


def test_littles_law_by_hand() -> None:
    """24 hooks a day: a sixtieth at work, one finished, 336 archived for two weeks."""
    hook = outlook(ground({PolicyName.HOOK: 24.0})).kinds["hook"]

    assert hook.states == pytest.approx({"running": 1 / 60, "finished": 1.0, "archived": 336.0}, abs=1e-6)
    assert hook.live == pytest.approx(337 + 1 / 60)
    assert hook.stays_s == pytest.approx((14 * DAY_MS + HOUR_MS + MINUTE_MS) / 1_000)
    assert hook.disk_bytes == pytest.approx(1_000 * (1 + 1 / 60) + 100 * 336)
    assert hook.worst == pytest.approx(0.5 + 1 + 336)


def test_nothing_comes() -> None:
    """Without arrivals there is nothing, and nothing breaks."""
    found = outlook(ground({}))

    assert {0.0} == {kind.live for kind in found.kinds.values()}
    assert (1_000_000.0, None, []) == (found.disk.bytes, found.disk.passes_in_s, list(found.breaks))


def test_failed_firings_stay_longer() -> None:
    """Those that failed are kept for 90 days, the others for 30."""
    finished = FINISHED | {PolicyName.CRON: Finished(count=10**9, span_ms=0, failed=10**9 // 4)}
    rests = replace(ground({PolicyName.CRON: 8.0}), finished=finished)

    assert outlook(rests).kinds["cron"].live == pytest.approx(8 / 24 + 6 * 30 + 2 * 90)


def test_a_job_keeps_so_many() -> None:
    """Of a job that fires each minute 500 are kept, of one every other hour all; that is a budget that breaks."""
    found = outlook(ground({PolicyName.CRON: 1_452.0}, jobs=(1_440.0, 12.0)))
    cron = found.kinds["cron"]

    assert cron.live == pytest.approx(500 + 1 + 12 * (30 + 1 / 24 + 1 / 1_440))
    assert ["cron keeps 500 of a job and outcome: the oldest go after 8 h"] == said(found)


def test_more_jobs_are_not_the_same_more_often() -> None:
    """Ten times as much comes from ten times as many jobs, each of which keeps its 500."""
    rests = ground({PolicyName.CRON: 1_440.0}, jobs=(1_440.0,))

    assert outlook(rests, 10).kinds["cron"].live == pytest.approx(
        10 * (outlook(rests).kinds["cron"].live or 0)
    )


def test_sub_agents_go_with_those_they_work_for() -> None:
    """What works for an api session is gone with it after a day, what works for a chat stays for its month."""
    roots = {PolicyName.API: 15, PolicyName.CHAT: 5}
    finished = FINISHED | {PolicyName.SUBAGENT: Finished(count=20, span_ms=20 * MINUTE_MS, roots=roots)}
    rests = replace(ground({PolicyName.SUBAGENT: 4.0}), finished=finished)
    api_day = (DAY_MS + MINUTE_MS) / DAY_MS

    assert outlook(rests).kinds["subagent"].live == pytest.approx(
        3 * api_day + 30 + (HOUR_MS + MINUTE_MS) / DAY_MS
    )


def test_max_running_is_hard() -> None:
    """Above it work is refused, so that no more of it is kept."""
    rules = set_policies(api=Lifecycle(max_running=100))
    found = outlook(ground({PolicyName.API: 14_000 * 1_440.0}, rules=rules))
    api = found.kinds["api"]

    assert (14_000, 100) == (round(api.needs_running or 0), round(api.states["running"] or 0))
    assert ["api is refused above 100 running: needs 14,000"] == [
        words for words in said(found) if "api" in words
    ][:1]
    assert api.live == pytest.approx(100 * (1 + 1_440), rel=1e-6)


@pytest.mark.parametrize(("per_day", "count"), [(199.0 * 1_440, 0), (201.0 * 1_440, 1)])
def test_max_running_begins_to_matter_where_it_is(per_day: float, count: int) -> None:
    """200 hooks may be at work: that many are let in, one more is not."""
    found = outlook(
        ground({PolicyName.HOOK: per_day}, limits=Limits(disk_bytes=1 << 50, memory_bytes=1 << 40))
    )

    assert count == len(found.breaks)
    assert min(200.0, per_day / 1_440) == pytest.approx(found.kinds["hook"].states["running"])


def test_named_sessions_make_room() -> None:
    """Above it conversations are not refused: the idle ones are archived early."""
    rules = set_policies(api_named=Lifecycle(max_running=10))
    found = outlook(ground({PolicyName.API_NAMED: 24 * 60.0}, rules=rules))
    named = found.kinds["api_named"]

    assert (10, 61) == (round(named.states["running"] or 0), round(named.needs_running or 0))
    assert 24 * 60 * 30 == pytest.approx(named.states["archived"])
    assert ["api_named is archived early above 10 active ones: needs 61"] == said(found)


def test_what_is_kept_for_ever_never_levels_off() -> None:
    """Chats grow by what comes: never is `None`, and the disk passes its limit by and by."""
    found = outlook(
        ground({PolicyName.CHAT: 10.0}, limits=Limits(disk_bytes=2_000_000, memory_bytes=1 << 30))
    )
    chat = found.kinds["chat"]
    hot_days = 30 + MINUTE_MS / DAY_MS

    assert [None] * 4 == [chat.live, chat.disk_bytes, chat.stays_s, found.disk.bytes]
    assert 10 * 100 == pytest.approx(found.disk.grows_bytes)
    days = hot_days + (1_000_000 - 10 * 1_000 * hot_days) / 1_000
    assert days * DAY_MS / 1_000 == pytest.approx(found.disk.passes_in_s)
    assert ["disk passes 1.9 MB in 730 d (chat, archived)"] == said(found)


def test_the_disk_passes_while_it_fills() -> None:
    """A limit below where it levels off is passed on the way: 100,000 bytes are a minute's rows and 50 more minutes."""
    limits = Limits(disk_bytes=1_000_000 + 100 * 1_000, memory_bytes=1 << 30)
    found = outlook(ground({PolicyName.API: 24_000.0}, limits=limits))

    rows = 1_000 * 1_000 / 60
    assert found.disk.passes_in_s == pytest.approx(60 + 3_600 * (100_000 - rows) / 100 / 1_000)
    assert ["disk passes 1.0 MB in 51 min (api, archived)"] == said(found)


def test_the_disk_is_above_its_limit_already() -> None:
    """What is there counts."""
    stored = {(PolicyName.API, State.ARCHIVED): 10_000}
    limits = Limits(disk_bytes=1_500_000, memory_bytes=1 << 30)

    assert ["disk is above 1.4 MB now (api, archived)"] == said(
        outlook(ground({}, stored=stored, limits=limits))
    )


def test_a_limit_is_never_passed() -> None:
    """Neither one that lies above everything, nor one that takes more than a century."""
    slow = outlook(ground({PolicyName.CHAT: 0.001}))

    assert (None, None, []) == (slow.disk.bytes, slow.disk.passes_in_s, list(slow.breaks))
    assert [] == list(outlook(ground({PolicyName.API: 10.0})).breaks)


def test_a_steady_state_stays() -> None:
    """A store that holds what is foretold neither grows nor shrinks on the way."""
    rates = {PolicyName.HOOK: 2_400.0, PolicyName.API: 24_000.0, PolicyName.CRON: 240.0}
    foretold = outlook(ground(rates))
    stored = {}
    for name, kind in foretold.kinds.items():
        stored[PolicyName(name), State.ARCHIVED] = round(kind.states["archived"] or 0)
        stored[PolicyName(name), State.COMPLETED] = round(
            (kind.states["finished"] or 0) + (kind.states["running"] or 0)
        )
    just_above = Limits(disk_bytes=round((foretold.disk.bytes or 0) * 1.01), memory_bytes=1 << 30)

    assert [] == said(outlook(ground(rates, stored=stored, limits=just_above)))


def test_memory_does_not_depend_on_what_is_stored() -> None:
    """It is what is always there and the runs at once, 50 at most; at worst everything that is bounded, full."""
    usual = outlook(ground({PolicyName.API: 1_440.0}))
    many = outlook(ground({PolicyName.API: 1_440.0}), 1_000)

    assert ((40 + 1) << 20, (40 + 50) << 20) == (round(usual.memory.bytes), round(many.memory.bytes))
    assert (40 + 50 + 10) << 20 == usual.memory.worst_bytes == many.memory.worst_bytes
    assert usual.memory.worst_bytes == sum(usual.memory.parts.values())


def test_memory_breaks_at_once() -> None:
    """A limit below what is needed is told."""
    found = outlook(ground({}, limits=Limits(disk_bytes=1 << 30, memory_bytes=30 << 20)))

    assert [("memory", 0.0)] == [(one.budget, one.in_s) for one in found.breaks]
    assert ["memory needs 40.0 MB, its limit is 30.0 MB"] == said(found)


def test_the_first_break_comes_first() -> None:
    """They are told in the order in which they come."""
    limits = Limits(disk_bytes=3_000_000, memory_bytes=30 << 20)
    found = outlook(ground({PolicyName.API: 10**7, PolicyName.CHAT: 50.0}, limits=limits), 3)

    assert sorted(one.in_s for one in found.breaks) == [one.in_s for one in found.breaks]
    assert {"disk", "memory", "max_running"} == {one.budget for one in found.breaks}
    assert all(math.isfinite(one.in_s) for one in found.breaks)


def test_the_worst_case_names_the_limits_that_it_breaks() -> None:
    """What holds on the average and not at worst is told with the limit's name, and only then."""
    few = Limits(disk_bytes=1_034_900, memory_bytes=80 << 20)
    found = outlook(ground({PolicyName.HOOK: 24.0}, limits=few))

    assert [] == found.breaks
    assert ["disk", "memory"] == [one.budget for one in found.breaks_at_worst]
    assert all(f"[limits] {one.budget}" in one.says for one in found.breaks_at_worst)
    assert [] == outlook(ground({PolicyName.HOOK: 24.0})).breaks_at_worst
