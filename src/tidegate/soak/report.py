"""What a soak tells: a verdict in words for people, the same with every figure as JSON for programs."""

import os
import platform
from collections.abc import Iterator, Sequence

import apsw

from tidegate import __version__
from tidegate.clock import DAY_MS
from tidegate.domain.session import PolicyName
from tidegate.domain.slope import Z_95, Slope, slope
from tidegate.soak.course import Facts, Now
from tidegate.soak.floor import BLOCKS
from tidegate.soak.plan import Plan, all_policies
from tidegate.soak.verdict import Check, Verdict, needed, verdict, what_grew
from tidegate.soak.watch import Reading
from tidegate.units import print_duration, print_size, print_span

NOT_COVERED = (
    "sockets and HTTP: sessions come through the intake, as the HTTP API hands them on",
    "real models and tools: the offline model answers, so that no client library is loaded",
    "real time: dates are virtual, and a run that waits costs nothing",
    "uvloop: virtual time needs asyncio's own loop",
    "hooks, the outbox, people's approvals, and changes of skills",
    "other machines, file systems and allocators than this one",
)
REAL_NOT_COVERED = (
    "a real model and its faults: a scripted one on loopback answers, in OpenAI's dialect",
    "months: what takes longer than the wall time is not seen, and sessions are kept for less than they would be",
    "leaks below what is told above as noticed, and what grows by something else than sessions and time",
    "hooks, the outbox, people's approvals, and changes of skills",
    "other machines, file systems and allocators than this one",
)
_MARKS = {True: "ok  ", False: "GREW"}


def document(plan: Plan, facts: Facts, checks: Sequence[Check]) -> dict[str, object]:
    """Return everything as JSON has it."""
    return {
        "verdict": verdict(facts, checks).value,
        "grew": what_grew(checks),
        "checks": [
            {
                "name": check.name,
                "says": check.says,
                "measured": check.measured,
                "bound": check.bound,
                "unit": check.unit,
                "ok": check.is_ok,
            }
            for check in checks
        ],
        "conditions": _conditions(plan, facts),
        "memory": _memory(facts),
        "disk": {
            "main_bytes": facts.seen.disk.main,
            "live_bytes": facts.seen.disk.live,
            "log_bytes": facts.seen.log_bytes,
        },
        "readings": [_reading(reading, facts) for reading in facts.readings],
        "took": _took(facts),
        "machine": _machine(),
        "not_covered": list(_not_covered(facts)),
    }


def words(plan: Plan, facts: Facts, checks: Sequence[Check]) -> Iterator[str]:
    """Yield the lines that people read."""
    for check in checks:
        figure = f"{_value(check, check.measured)} of {_value(check, check.bound)}"
        yield f"{_MARKS[check.is_ok]} {check.name}: {figure}, {check.says}"
    yield ""
    entries = f" {_entries(facts)} entries each," if facts.entries is not None else ""
    yield (
        f"{facts.done:,} sessions ({plan.name}) in {span(facts)}, {facts.done / facts.wall_s:.0f} a second;{entries}"
        f" {plan.clients} side by side, durability FULL, seed {plan.seed}"
    )
    yield ", ".join(f"{name} {count:,}" for name, count in facts.born.items())
    yield _told_slope(facts)
    yield from _noticed(facts, checks)
    if not facts.is_virtual:
        load, *_ = os.getloadavg()
        yield f"machine: load {load:.1f} on {os.cpu_count()} cores; dates are kept late where it has too much to do"
    yield from plan.replaced
    yield "not covered:"
    yield from (f"  {line}" for line in _not_covered(facts))
    yield ""
    yield sentence(facts, checks)


def sentence(facts: Facts, checks: Sequence[Check]) -> str:
    """Return the verdict in a sentence."""
    match verdict(facts, checks):
        case Verdict.FLAT:
            return "Flat."
        case Verdict.GREW:
            return f"It grew: {', '.join(what_grew(checks))}."
        case Verdict.TOO_SHORT:
            more = f"{facts.done:,} sessions came, and {needed(facts):,} are needed"
            return f"Too short to judge: {more} to notice a leak of 1 KiB a session. Nothing else grew."


def status(now: Now) -> str:
    """Say in one line how far a soak is."""
    if now.is_virtual:
        done, time = f"{now.done:,} of {now.sessions:,}", f"{now.passed_ms / DAY_MS:.1f} virtual days"
    else:
        done, time = f"{now.done:,}", f"{now.share:.0%} of the time"
    return (
        f"{done} sessions, {now.stored:,} stored, RSS {print_size(now.rss_bytes)},"
        f" disk {print_size(now.disk_bytes)}, {time}, {now.per_second:.0f} a second"
    )


def span(facts: Facts) -> str:
    """Say how long a soak took, on the clock that its gateway lived by and by the wall."""
    if facts.is_virtual:
        return f"{facts.passed_ms / DAY_MS:.1f} virtual days, {facts.wall_s:.0f} s"
    return f"{print_span(facts.passed_ms)} of real time"


def _not_covered(facts: Facts) -> Sequence[str]:
    return NOT_COVERED if facts.is_virtual else REAL_NOT_COVERED


def _entries(facts: Facts) -> float | None:
    return None if facts.entries is None else round(facts.entries / max(1, facts.done), 2)


def _reading(reading: Reading, facts: Facts) -> dict[str, float]:
    fields = reading._asdict()
    passed_ms = fields.pop("passed_ms")
    return {"virtual_ms": passed_ms, **fields} if facts.is_virtual else fields


def _noticed(facts: Facts, checks: Sequence[Check]) -> Iterator[str]:
    """Say what a leak must have been to be noticed."""
    bound = next((check.bound for check in checks if check.name == f"{facts.memory} memory"), None)
    if bound is not None and (sessions := facts.floors[-1][0] - facts.floors[0][0] if facts.floors else 0):
        yield f"noticed: a leak of {print_size(bound / sessions)} a session or more, over {sessions:,} of them"


def _value(check: Check, number: float) -> str:
    return print_size(number) if check.unit == "bytes" else f"{number:,.0f}"


def _slope(facts: Facts) -> Slope | None:
    """Return the slope of the floors in bytes a session; of less than four nothing can be told."""
    return slope(facts.floors, Z_95) if len(facts.floors) >= 4 else None


def _told_slope(facts: Facts) -> str:
    found = _slope(facts)
    if found is None:
        return "memory: too few blocks for a slope"
    kib = [f"{1_000 * value / 1024:+.2f}" for value in found]
    first, last = (print_size(facts.floors[at][1]) for at in (0, -1))
    return (
        f"{facts.memory} memory: floors {first} to {last}; slope {kib[0]} KiB a thousand sessions"
        f" (19 times out of 20 between {kib[1]} and {kib[2]}), told and not judged"
    )


def _conditions(plan: Plan, facts: Facts) -> dict[str, object]:
    return {
        "scenario": plan.name,
        "replaced": list(plan.replaced),
        "sessions": facts.done,
        "by_kind": {name.value: count for name, count in facts.born.items()},
        "seed": plan.seed,
        "concurrency": plan.clients,
        "every_s": plan.gap_ms / 1_000,
        **_clock(facts),
        "policies": {name.value: _policy(plan, name) for name in facts.born},
        "durability": "FULL",
        "entries_per_session": _entries(facts),
        "talks": facts.shapes,
        "runs": facts.ends,
        "sweeps": facts.sweeps,
    }


def _clock(facts: Facts) -> dict[str, object]:
    """Return what time it was."""
    if facts.is_virtual:
        return {"virtual_days": round(facts.passed_ms / DAY_MS, 2), "loop": "asyncio on virtual time"}
    model = "a scripted one over HTTP, in OpenAI's dialect"
    return {"wall_s": round(facts.wall_s, 1), "loop": "uvloop, in a process of its own", "model": model}


def _policy(plan: Plan, name: PolicyName) -> dict[str, str]:
    """Return how long a kind is kept."""
    policy = all_policies(plan.config)[name]
    spans = {
        "archive_after": policy.archive_after_ms,
        "delete_after": policy.delete_after_ms,
        "delete_failed_after": policy.delete_failed_after_ms or policy.delete_after_ms,
    }
    return {key: "never" if span is None else print_duration(span) for key, span in spans.items()}


def _memory(facts: Facts) -> dict[str, object]:
    found = _slope(facts)
    name = "rss_bytes" if facts.memory == "resident" else f"{facts.memory}_bytes"
    return {
        "growth_bytes": facts.growth_bytes,
        "peak_rss_bytes": facts.seen.rss_bytes,
        "warm_up": facts.warm_up,
        "blocks": BLOCKS,
        "floors": [{"sessions": done, name: size} for done, size in facts.floors],
        "slope_bytes_per_session": found
        and {
            "median": round(found.value, 3),
            "low": round(found.low, 3),
            "high": round(found.high, 3),
        },
    }


def _took(facts: Facts) -> dict[str, object]:
    return {
        "wall_s": round(facts.wall_s, 2),
        "cpu_s": round(facts.cpu_s, 2),
        "sessions_per_second": round(facts.done / facts.wall_s, 1),
        "cpu_ms_per_session": round(1_000 * facts.cpu_s / max(1, facts.done), 2),
    }


def _machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "tidegate": __version__,
    }
