"""How often the trend is wrong: false alarms and misses over synthetic curves of six hours.

Each case is one way in which memory moves without a leak; each is judged alone and with leaks on top. `usual` is a bit
of all; `slow`, a warm-up of hours, and `storm`, all at their worst at once, are told but have no goal. The time of a
judgement is told, too: it runs in the gateway.

Run: python bench/trend.py [--seeds N]. To reach, in every case: at most 1 % false alarms, at least 99 % of the leaks of
2 MB/h (and of more) found with six hours of samples.
"""

import argparse
import statistics
import time
from typing import NamedTuple

from curve import CASES, HARD, curve, windows
from report import Goal, finish, say
from tidegate.domain.trend import Shape, judge
from tidegate.runtime.trends import BYTES_FLOOR

LEAKS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
CERTAIN = 2.0  # MB/h that has to be found


class Told(NamedTuple):
    """What was said about the curves of one case and leak."""

    case: str
    leak_mb_h: float
    growing: float
    shrinking: float
    #: median of what was told for those that grow
    slope_mb_h: float | None


def main() -> None:
    """Judge every curve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=500, help="curves for each case and leak")
    seeds = parser.parse_args().seeds
    took: list[float] = []
    told = []
    for case in (*CASES, *HARD):
        say(case)
        told += [_judge_all(case, leak, seeds, took) for leak in LEAKS]
    judged = [one for one in told if one.case in CASES]
    alarms = max(one.growing for one in judged if not one.leak_mb_h)
    falls = max(one.shrinking for one in judged)
    missed = max(1 - one.growing for one in judged if one.leak_mb_h >= CERTAIN)
    goals = [
        Goal("false alarms, worst case", alarms, 0.01),
        Goal("told to shrink, worst case", falls, 0.01),
        Goal("leaks of 2 MB/h and more missed, worst case", missed, 0.01),
    ]
    conditions = {"seeds": seeds, "hours": 6, "floor_mb_h": BYTES_FLOOR / (1 << 20)}
    figures = {
        "judgement_ms": round(1_000 * statistics.median(took), 3),
        "cases": [one._asdict() for one in told],
    }
    finish("trend", conditions, figures, goals)


def _judge_all(case: str, leak: float, seeds: int, took: list[float]) -> Told:
    verdicts = []
    for seed in range(seeds):
        points = windows(curve(case, seed, leak))
        started = time.perf_counter()
        verdicts.append(judge(points, BYTES_FLOOR))
        took.append(time.perf_counter() - started)
    growing = [one.slope for one in verdicts if one.shape is Shape.GROWING and one.slope is not None]
    shrinking = sum(one.shape is Shape.SHRINKING for one in verdicts)
    slope = round(statistics.median(growing) / (1 << 20), 2) if growing else None
    return Told(case, leak, len(growing) / seeds, shrinking / seeds, slope)


if __name__ == "__main__":
    main()
