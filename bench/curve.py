"""Curves of memory as gateways draw them, made of parts: noise, teeth of a collector, spikes, steps, a warm-up, a leak.

Values are bytes, one every ten seconds; each curve is decided by its seed.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from tidegate.domain.trend import Window

MB = 1 << 20
STEP_S = 10
WINDOW_SAMPLES = 60
SAMPLES = 6 * 3_600 // STEP_S

Part = Callable[[random.Random], list[float]]


def noise(chance: random.Random) -> list[float]:
    """Return what every process has: jitter of 0.3 MB, and a drift of 0.5 MB that forgets within ten minutes."""
    drift, forget, values = 0.0, math.exp(-STEP_S / 600), []
    for _ in range(SAMPLES):
        drift = drift * forget + chance.gauss(0, 0.5 * math.sqrt(1 - forget**2))
        values.append(drift + abs(chance.gauss(0, 0.3)))
    return values


def teeth(chance: random.Random) -> list[float]:
    """Return rises of 1 to 10 MB that a collector takes away, every half a minute to every hour."""
    period = math.exp(chance.uniform(math.log(30), math.log(3_600)))
    height, value, values = chance.uniform(1, 10), 0.0, []
    for _ in range(SAMPLES):
        value += height * STEP_S / period * chance.uniform(0.5, 1.5)
        if value > height:
            value = 0.0
        values.append(value)
    return values


def spikes(chance: random.Random) -> list[float]:
    """Return about five requests an hour that take 10 to 100 MB, for ten seconds to twenty minutes."""
    values = [0.0] * SAMPLES
    for _ in range(30):
        start = chance.randrange(SAMPLES)
        length = int(math.exp(chance.uniform(0, math.log(120))))
        height = chance.uniform(10, 100)
        for index in range(start, min(SAMPLES, start + length)):
            values[index] += height
    return values


def steps(chance: random.Random) -> list[float]:
    """Return one or two libraries of 5 to 60 MB, loaded at some time for good."""
    values = [0.0] * SAMPLES
    for _ in range(chance.randint(1, 2)):
        start, height = chance.randrange(SAMPLES), chance.uniform(5, 60)
        for index in range(start, SAMPLES):
            values[index] += height
    return values


def warm_up(chance: random.Random) -> list[float]:
    """Return caches of 5 to 60 MB that fill from the start on, to a third within 2 to 18 minutes."""
    height, tau_s = chance.uniform(5, 60), chance.uniform(300, 2_700)
    return [height * (1 - math.exp(-index * STEP_S / tau_s)) for index in range(SAMPLES)]


def slow(_: random.Random) -> list[float]:
    """Return 80 MB of caches that fill for hours: to a third in 24 minutes, to 95 % in three hours."""
    return [80 * (1 - math.exp(-index * STEP_S / 3_600)) for index in range(SAMPLES)]


def usual(chance: random.Random) -> list[float]:
    """Return a bit of everything: teeth of 3 MB, spikes up to 50 MB, a step of 20 MB, 20 MB of caches that fill."""
    values = [0.0] * SAMPLES
    step_at, period = chance.randrange(SAMPLES), chance.uniform(30, 900)
    bursts = {chance.randrange(SAMPLES): chance.uniform(5, 50) for _ in range(30)}
    burst, left = 0.0, 0
    for index in range(SAMPLES):
        if index in bursts:
            burst, left = bursts[index], chance.randint(1, 18)
        left -= 1
        teeth_mb = 3 * (index * STEP_S % period) / period
        warm_mb = 20 * (1 - math.exp(-index * STEP_S / 600))
        values[index] = teeth_mb + warm_mb + (20 if index >= step_at else 0) + (burst if left >= 0 else 0)
    return values


#: ways in which memory moves without a leak
CASES: Mapping[str, Sequence[Part]] = MappingProxyType(
    {
        "noise": (),
        "teeth": (teeth,),
        "spikes": (spikes,),
        "steps": (steps,),
        "warm_up": (warm_up,),
        "usual": (usual,),
    }
)
#: too much for six hours: told, not judged
HARD: Mapping[str, Sequence[Part]] = MappingProxyType(
    {"slow": (slow,), "storm": (teeth, spikes, steps, warm_up)}
)


def curve(case: str, seed: int, leak_mb_h: float = 0.0) -> list[float]:
    """Return six hours of one case (or a hard one), with a leak of so many MB an hour on top."""
    chance = random.Random(f"{case} {seed}")
    parts = [noise(chance), *(part(chance) for part in {**CASES, **HARD}[case])]
    leak = leak_mb_h * STEP_S / 3_600
    return [MB * (60 + leak * index + sum(values)) for index, values in enumerate(zip(*parts, strict=True))]


def windows(values: Sequence[float]) -> list[Window]:
    """Return the least value of every ten minutes."""
    starts = range(0, len(values), WINDOW_SAMPLES)
    return [
        Window(number, min(values[start : start + WINDOW_SAMPLES])) for number, start in enumerate(starts)
    ]
