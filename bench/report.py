"""What every script of this folder tells: progress on stderr, one JSON object on stdout, exit 1 if a goal is missed.

Ratios hold on any machine; absolute figures belong to the machine that is named beside them.
"""

import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import apsw

MIB = 1 << 20


class Goal(NamedTuple):
    """A figure and the most that it may be."""

    name: str
    value: float
    limit: float

    @property
    def is_met(self) -> bool:
        """Whether the figure is there and within its limit."""
        return self.value <= self.limit


def say(text: str) -> None:
    """Tell the person who waits how far it is."""
    print(text, file=sys.stderr, flush=True)


def finish(name: str, conditions: Mapping[str, object], figures: object, goals: Sequence[Goal]) -> NoReturn:
    """Print the result and exit: 1 if a goal is missed."""
    told = [
        {"name": goal.name, "value": goal.value, "limit": goal.limit, "met": goal.is_met} for goal in goals
    ]
    result = {
        "bench": name,
        "conditions": conditions,
        "machine": machine(),
        "figures": figures,
        "goals": told,
        "met": all(goal.is_met for goal in goals),
    }
    print(json.dumps(_finite(result), indent=2))
    for goal in goals:
        say(
            f"{'met   ' if goal.is_met else 'MISSED'} {goal.name}: {goal.value:.4g} (at most {goal.limit:.4g})"
        )
    sys.exit(0 if result["met"] else 1)


def machine() -> dict[str, object]:
    """Describe where the figures come from; the load tells how much else was going on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
    }


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and the largest of samples in ms, rounded."""
    ordered = sorted(samples)
    if not ordered:
        return {}
    return {
        "p50": round(1_000 * ordered[len(ordered) // 2], 3),
        "p99": round(1_000 * ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 3),
        "max": round(1_000 * ordered[-1], 3),
    }


def fsync_ms(folder: Path, count: int = 100) -> dict[str, float]:
    """Return how long the disk takes to confirm a page, which is what synchronous=FULL waits for."""
    samples = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(count):
            file.write(b"\0" * 4_096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            samples.append(time.perf_counter() - started)
    return percentiles(samples)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median of values and their range."""
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _finite(value: object) -> object:
    """Put null in the place of numbers that JSON does not have."""
    match value:
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
