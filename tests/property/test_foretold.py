"""What holds of every forecast, whatever comes and however long it is kept."""

import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tidegate.clock import DAY_MS, MINUTE_MS
from tidegate.config import Lifecycle
from tidegate.domain import filling
from tidegate.domain.arrival import Basis, Rate
from tidegate.domain.filling import Pool
from tidegate.domain.forecast import Ground, Limits, Outlook, outlook
from tidegate.domain.policy import policies
from tidegate.domain.residence import Finished, Life, flows
from tidegate.domain.session import PolicyName, State
from tidegate.domain.survey import Size

rates = st.floats(0, 1e6, allow_subnormal=False)
spans = st.integers(0, 400 * DAY_MS)
counts = st.integers(0, 10**6)


@st.composite
def grounds(draw: st.DrawFn) -> Ground:
    """Draw any ground."""
    lifecycle = {
        "chat": Lifecycle(idle_after_ms=draw(st.none() | spans), delete_after_ms=draw(st.none() | spans)),
        "cron": Lifecycle(delete_after_ms=draw(spans), keep=draw(st.integers(0, 1_000))),
        "api": Lifecycle(delete_after_ms=draw(spans), max_running=draw(st.integers(1, 1_000))),
    }
    size = Size(hot=draw(st.floats(1, 1e6)), archived=draw(st.floats(1, 1e6)), is_measured=True)
    count = draw(counts)
    return Ground(
        policies=policies(lifecycle),
        rates={name: Rate(per_day=draw(rates), basis=Basis.ASKED) for name in PolicyName},
        jobs=draw(st.lists(st.floats(0.01, 1_440), max_size=5)),
        finished={
            name: Finished(count=count, span_ms=count * MINUTE_MS, failed=draw(st.integers(0, count)))
            for name in PolicyName
        },
        sizes=dict.fromkeys(PolicyName, size),
        stored={(name, state): draw(counts) for name in PolicyName for state in State},
        base_bytes=0.0,
        memory={"idle": 1},
        run_bytes=1,
        slots=56,
        limits=Limits(disk_bytes=draw(st.integers(1, 1 << 44)), memory_bytes=1 << 30),
    )


def figures(found: Outlook) -> list[float]:
    """Return what may only grow with what comes; never is endless."""
    figures = [kind.live for kind in found.kinds.values()]
    figures += [found.disk.bytes, found.disk.worst_bytes, found.memory.bytes]
    return [math.inf if figure is None else figure for figure in figures]


def passes_in(found: Outlook) -> float:
    """Return when the disk is full."""
    return math.inf if found.disk.passes_in_s is None else found.disk.passes_in_s


def is_not_above(low: list[float], high: list[float]) -> bool:
    """Whether each figure is at most the other one, up to rounding."""
    return all(a <= b * (1 + 1e-9) + 1e-6 for a, b in zip(low, high, strict=True))


@given(grounds(), st.floats(0, 100), st.floats(0, 100))
def test_more_is_never_less(ground: Ground, one: float, other: float) -> None:
    """A larger scale has no fewer sessions and bytes, and fills the disk no later."""
    low, high = (outlook(ground, scale) for scale in sorted((one, other)))

    assert is_not_above(figures(low), figures(high))
    # conversations that are archived early take less for a while
    if all(one.kind != PolicyName.API_NAMED for one in high.breaks):
        assert passes_in(high) <= passes_in(low) * (1 + 1e-9) + 1e-3


@given(grounds(), st.sampled_from(PolicyName), st.floats(1, 100))
def test_a_higher_rate_is_never_less(ground: Ground, name: PolicyName, times: float) -> None:
    """Of its own kind; the others do not change."""
    before = outlook(ground)
    rate = ground.rates[name]
    raised = {**ground.rates, name: Rate(per_day=rate.per_day * times, basis=rate.basis)}
    after = outlook(replace(ground, rates=raised))

    assert is_not_above(figures(before), figures(after))
    assert all(before.kinds[other] == after.kinds[other] for other in PolicyName if other is not name)


@given(grounds(), spans)
def test_a_longer_retention_is_never_less(ground: Ground, more_ms: int) -> None:
    """What is kept longer is more."""
    api = ground.policies[PolicyName.API]
    longer = replace(api, delete_after_ms=(api.delete_after_ms or 0) + more_ms)
    after = outlook(replace(ground, policies={**ground.policies, PolicyName.API: longer}))

    assert is_not_above(figures(outlook(ground)), figures(after))


@given(grounds(), st.floats(0, 100))
def test_the_worst_case_is_the_worst(ground: Ground, scale: float) -> None:
    """It is at least what is expected, and every count is one."""
    found = outlook(ground, scale)

    for kind in found.kinds.values():
        assert kind.worst is None or (kind.live is not None and kind.worst >= kind.live * (1 - 1e-9) - 1e-6)
        assert all(count is None or 0 <= count < math.inf for count in (*kind.states.values(), kind.live))
    assert found.memory.worst_bytes >= found.memory.bytes


@given(grounds(), st.sampled_from(PolicyName), rates)
def test_flows_add_up_to_the_rate(ground: Ground, name: PolicyName, per_day: float) -> None:
    """However they are divided."""
    found = flows(name, per_day, Life(ground.policies, ground.finished, ground.jobs))

    assert math.isclose(per_day, math.fsum(flow.per_day for flow in found), rel_tol=1e-9, abs_tol=1e-12)


pools = st.lists(
    st.builds(
        Pool,
        label=st.sampled_from(["api", "cron"]),
        per_ms=st.just(0.0) | st.floats(1e-12, 1),
        hot_ms=st.floats(0, 1e10) | st.just(math.inf),
        archived_ms=st.floats(0, 1e10) | st.just(math.inf),
        hot_bytes=st.floats(1, 1e6),
        archived_bytes=st.floats(1, 1e6),
        hot_now=st.floats(0, 1e6),
        archived_now=st.floats(0, 1e6),
    ),
    max_size=4,
)


@given(pools, st.floats(0, 1e15))
def test_a_limit_is_passed_exactly_when_there_is_more(found: list[Pool], limit: float) -> None:
    """At that instant there is as much as the limit, before it nowhere more."""
    passing = filling.passing(found, limit)
    whole = filling.settled(found)
    if passing is None:
        assert whole == math.inf or whole <= limit * (1 + 1e-9) + 1
        return
    at = passing.in_ms
    assert filling.total(found, at) >= limit * (1 - 1e-6) - 1
    assert all(
        filling.total(found, at * part) <= limit * (1 + 1e-6) + 1 for part in (0.0, 0.3, 0.7, 0.99) if at
    )


@given(pools)
def test_nothing_is_lost_at_once(found: list[Pool]) -> None:
    """Now there is what is there, and never less than nothing."""
    there = math.fsum(
        pool.hot_now * pool.hot_bytes + pool.archived_now * pool.archived_bytes for pool in found
    )

    assert math.isclose(there, filling.total(found, 0.0), rel_tol=1e-9, abs_tol=1e-6)
    assert all(filling.total(found, at) >= -1e-6 for at in (1.0, 1e5, 1e8, 1e11))


@given(pools)
def test_what_goes_is_gone(found: list[Pool]) -> None:
    """When nothing comes any more, what has a date is gone once the last date is over."""
    going = [pool._replace(per_ms=0.0) for pool in found if math.inf not in {pool.hot_ms, pool.archived_ms}]

    rounding = 1e-6 * filling.total(going, 0.0) + 1e-3

    assert math.isclose(0.0, filling.settled(going), abs_tol=rounding)
    assert math.isclose(0.0, filling.total(going, 3e10), abs_tol=rounding)
