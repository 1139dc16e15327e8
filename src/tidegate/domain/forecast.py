"""What a configuration comes to: how many sessions there will be, what they take, which budget breaks first and when.

Little's law: as many sessions are in a state as come in the time that one stays there. Everything follows from rates,
policies and the size of a session; a gateway that has run tells rates and sizes, otherwise they are assumed. Pure;
`math.inf` inside is `None` outside, which is never.

Source: J. D. C. Little, A Proof for the Queuing Formula L = λW, 1961.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from tidegate.clock import DAY_MS, SECOND_MS
from tidegate.domain import filling
from tidegate.domain.arrival import Basis, Rate, Rates
from tidegate.domain.filling import Pool
from tidegate.domain.policy import Policies
from tidegate.domain.residence import UNKNOWN, Finished, Life, littles_law
from tidegate.domain.session import PolicyName, State
from tidegate.domain.survey import Size
from tidegate.domain.tide import Tide, tide_of
from tidegate.units import print_size, print_span

MOST_SCALE = 1_000_000.0
YEAR_MS = 365 * DAY_MS
CENTURY_MS = 100 * YEAR_MS  # what comes later never comes
NOTHING = Rate(per_day=0.0, basis=Basis.ASSUMED)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What was set, or holds by default."""

    disk_bytes: int
    memory_bytes: int


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a forecast rests on."""

    policies: Policies
    rates: Rates
    #: how many sessions a day each job makes
    jobs: Sequence[float] = ()
    finished: Mapping[PolicyName, Finished] = MappingProxyType({})
    sizes: Mapping[PolicyName, Size]
    #: how many there are
    stored: Mapping[tuple[PolicyName, State], int] = MappingProxyType({})
    #: on disk, whatever comes
    base_bytes: float
    #: on disk; None where there is no store
    disk_bytes: int | None = None
    #: in memory, by what it is for: always, and at worst beside that; and what a run takes
    memory: Mapping[str, int]
    spare: Mapping[str, int] = MappingProxyType({})
    run_bytes: int
    #: how many runs there may be at once
    slots: int
    #: of the gateway that runs
    memory_bytes: int | None = None
    limits: Limits
    #: how long a gateway was watched
    observed_ms: int = 0


class KindOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the sessions of one policy."""

    per_day: float
    basis: Basis
    #: on the average; None is for ever
    stays_s: float | None
    now: int
    #: None: it never levels off
    live: float | None
    states: Mapping[str, float | None]
    #: if every one runs to its deadline, fails, and is kept for that
    worst: float | None
    disk_bytes: float | None
    size: Size
    max_running: int | None
    #: at work, if all were let in
    needs_running: float | None


class DiskOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """What the store will take, free pages left out."""

    now_bytes: int | None
    base_bytes: float
    #: None: it never levels off
    bytes: float | None
    #: in a day, once everything else has come of age
    grows_bytes: float
    worst_bytes: float | None
    limit_bytes: int
    #: None is never
    passes_in_s: float | None
    passes_by: str


class MemoryOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """What the process will take; sessions that rest take nothing."""

    now_bytes: int | None
    bytes: float
    worst_bytes: int
    limit_bytes: int
    #: of the worst case
    parts: Mapping[str, int]


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """A budget that will be met."""

    budget: str
    kind: str | None
    in_s: float
    says: str


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast, if so many times as much comes."""

    scale: float
    observed_s: int
    kinds: Mapping[str, KindOutlook]
    disk: DiskOutlook
    memory: MemoryOutlook
    #: the first one first
    breaks: Sequence[Break]
    #: the limits that hold on the average, and that the worst case breaks
    breaks_at_worst: Sequence[Break]


def outlook(ground: Ground, scale: float = 1.0) -> Outlook:
    """Return what comes of *scale* times as much: as many more clients and jobs, not the same ones more often."""
    life = Life(ground.policies, ground.finished, ground.jobs)
    tides = [tide_of(name, ground.rates.get(name, NOTHING), life, scale) for name in PolicyName]
    pools = [pool for tide in tides for pool in _pools(ground, tide)]
    disk, memory = _disk(ground, tides, pools), _memory(ground, tides)
    breaks = [*_passed(disk), *_filled(memory), *(one for tide in tides for one in _of_kind(ground, tide))]
    return Outlook(
        scale=scale,
        observed_s=ground.observed_ms // SECOND_MS,
        kinds={tide.name.value: _kind(ground, tide, pools) for tide in tides},
        disk=disk,
        memory=memory,
        breaks=sorted(breaks, key=lambda one: one.in_s),
        breaks_at_worst=[
            one
            for one in _at_worst(disk, memory, ground.slots)
            if one.budget not in {known.budget for known in breaks}
        ],
    )


def _pools(ground: Ground, tide: Tide) -> Iterator[Pool]:
    """Yield the pools of a policy; what is there is divided among them as it would be in the end."""
    size = ground.sizes[tide.name]
    hot_shares = _shares([flow.per_day * _finite(flow.stay.hot_ms) for flow in tide.flows])
    archived_shares = _shares([flow.per_day * _finite(flow.stay.archived_ms) for flow in tide.flows])
    archived_now = ground.stored.get((tide.name, State.ARCHIVED), 0)
    hot_now = _stored(ground, tide.name) - archived_now
    for flow, hot, archived in zip(tide.flows, hot_shares, archived_shares, strict=True):
        yield Pool(
            label=tide.name.value,
            per_ms=flow.per_day / DAY_MS,
            hot_ms=flow.stay.hot_ms,
            archived_ms=flow.stay.archived_ms,
            hot_bytes=size.hot,
            archived_bytes=size.archived,
            hot_now=hot_now * hot,
            archived_now=archived_now * archived,
        )


def _kind(ground: Ground, tide: Tide, pools: Sequence[Pool]) -> KindOutlook:
    states = {"running": tide.running, "finished": tide.finished, "archived": tide.archived}
    return KindOutlook(
        per_day=tide.rate.per_day,
        basis=tide.rate.basis,
        stays_s=_out(tide.stays_ms / SECOND_MS),
        now=_stored(ground, tide.name),
        live=_out(tide.live),
        states={part: _out(count) for part, count in states.items()},
        worst=_out(tide.most),
        disk_bytes=_out(filling.settled([pool for pool in pools if pool.label == tide.name])),
        size=ground.sizes[tide.name],
        max_running=tide.max_running,
        needs_running=_out(tide.needs_running),
    )


def _disk(ground: Ground, tides: Sequence[Tide], pools: Sequence[Pool]) -> DiskOutlook:
    base, limit = ground.base_bytes, ground.limits.disk_bytes
    passes = filling.passing(pools, limit - base)
    passes = None if passes is None or passes.in_ms > CENTURY_MS else passes
    form = "archived" if passes and passes.is_archived else "not archived yet"
    worst = math.fsum(_most_bytes(tide, ground.sizes[tide.name]) for tide in tides)
    return DiskOutlook(
        now_bytes=ground.disk_bytes,
        base_bytes=base,
        bytes=_out(base + filling.settled(pools)),
        grows_bytes=filling.slope(pools) * DAY_MS,
        worst_bytes=_out(base + worst),
        limit_bytes=limit,
        passes_in_s=passes and passes.in_ms / SECOND_MS,
        passes_by=f"{passes.label}, {form}" if passes and passes.label else "",
    )


def _most_bytes(tide: Tide, size: Size) -> float:
    return tide.most_running * size.hot + math.fsum(
        littles_law(flow.per_day, flow.stay.finished_ms) * size.hot
        + littles_law(flow.per_day, flow.stay.archived_ms) * size.archived
        for flow in tide.worst
    )


def _memory(ground: Ground, tides: Sequence[Tide]) -> MemoryOutlook:
    """Return what runs take beside what is always there; conversations rest most of the time that they are active."""
    at_work = math.fsum(littles_law(tide.rate.per_day, _work_ms(ground, tide.name)) for tide in tides)
    fixed = sum(ground.memory.values())
    parts = {
        **ground.memory,
        f"{ground.slots} runs at once": ground.slots * ground.run_bytes,
        **ground.spare,
    }
    return MemoryOutlook(
        now_bytes=ground.memory_bytes,
        bytes=fixed + min(ground.slots, at_work) * ground.run_bytes,
        worst_bytes=sum(parts.values()),
        limit_bytes=ground.limits.memory_bytes,
        parts=parts,
    )


def _work_ms(ground: Ground, name: PolicyName) -> float:
    return ground.finished.get(name, UNKNOWN).mean_span_ms(name)


# Breaks ---------------------------------------------------------------------------------------------------------------


def _passed(disk: DiskOutlook) -> Iterator[Break]:
    if disk.passes_in_s is None:
        return
    when = "is above" if disk.passes_in_s == 0 else "passes"
    span = f" in {_span(disk.passes_in_s * SECOND_MS)}" if disk.passes_in_s else " now"
    by = f" ({disk.passes_by})" if disk.passes_by else ""
    says = f"disk {when} {print_size(disk.limit_bytes)}{span}{by}"
    yield Break(budget="disk", kind=None, in_s=disk.passes_in_s, says=says)


def _filled(memory: MemoryOutlook) -> Iterator[Break]:
    if memory.bytes > memory.limit_bytes:
        says = f"memory needs {print_size(memory.bytes)}, its limit is {print_size(memory.limit_bytes)}"
        yield Break(budget="memory", kind=None, in_s=0.0, says=says)


def _at_worst(disk: DiskOutlook, memory: MemoryOutlook, slots: int) -> Iterator[Break]:
    if disk.worst_bytes is not None and disk.worst_bytes > disk.limit_bytes:
        says = (
            f"at worst disk comes to {print_size(disk.worst_bytes)}, above [limits] disk of"
            f" {print_size(disk.limit_bytes)}: then what is oldest is deleted early, chats never"
        )
        yield Break(budget="disk", kind=None, in_s=0.0, says=says)
    if memory.worst_bytes > memory.limit_bytes:
        says = (
            f"at worst memory comes to {print_size(memory.worst_bytes)}, above [limits] memory of"
            f" {print_size(memory.limit_bytes)}: then runs wait; there are {slots:,} slots in [runs]"
        )
        yield Break(budget="memory", kind=None, in_s=0.0, says=says)


def _of_kind(ground: Ground, tide: Tide) -> Iterator[Break]:
    most, needs = tide.max_running, tide.needs_running
    if most is not None and needs > most:
        full_in_s = most / (tide.rate.per_day / DAY_MS) / SECOND_MS
        says = (
            f"{tide.name} is archived early above {most:,} active ones: needs {needs:,.0f}"
            if tide.name.is_conversation
            else f"{tide.name} is refused above {most:,} running: needs {needs:,.0f}"
        )
        yield Break(budget="max_running", kind=tide.name.value, in_s=full_in_s, says=says)
    capped = [flow.stay.whole_ms for flow in tide.flows if flow.is_capped]
    if capped:
        first_ms, keep = min(capped), ground.policies[tide.name].keep
        says = f"{tide.name} keeps {keep:,} of a job and outcome: the oldest go after {_span(first_ms)}"
        yield Break(budget="keep", kind=tide.name.value, in_s=first_ms / SECOND_MS, says=says)


# Inside ---------------------------------------------------------------------------------------------------------------


def _stored(ground: Ground, name: PolicyName) -> int:
    return sum(ground.stored.get((name, state), 0) for state in State)


def _shares(weights: Sequence[float]) -> list[float]:
    """Return which part of a whole falls to each; equal ones where nothing has a weight."""
    whole = math.fsum(weights)
    return [weight / whole if whole else 1 / len(weights) for weight in weights]


def _finite(span_ms: float) -> float:
    """Return a span that can be weighed: for ever counts as a century."""
    return min(span_ms, float(CENTURY_MS))


def _span(ms: float) -> str:
    return print_span(round(ms)) if ms < 3 * YEAR_MS else f"{ms / YEAR_MS:.0f} years"


def _out(value: float) -> float | None:
    return None if value == math.inf else value
