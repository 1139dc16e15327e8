"""Whether a soak was flat: each figure beside the most that it may be."""

import math
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from tidegate.soak.course import Facts
from tidegate.soak.leak import LEAK_BYTES
from tidegate.soak.plan import Arrivals, Plan
from tidegate.soak.watch import Seen
from tidegate.store.connection import WAL_CAP_BYTES

KIB = 1 << 10
MIB = 1 << 20
GROWTH_BYTES = 2 * MIB
# Fewer sessions come in real time, so that a leak has to be told from less; and only once a process has settled.
REAL_GROWTH_BYTES = 5 * MIB // 4
SETTLED_S = 60.0
UNSETTLED_BYTES = 8 * MIB
FILES_BYTES = 16 * MIB  # the log before a checkpoint
GROWTH_A_SESSION = 0.02 * KIB


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A figure, and the most that it may be."""

    name: str
    says: str
    measured: float
    bound: float
    unit: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the figure is within its bound."""
        return self.measured <= self.bound


class Verdict(StrEnum):
    """What a soak has shown."""

    FLAT = "flat"
    GREW = "grew"
    #: nothing grew, but so few sessions came that a leak would not have been seen either
    TOO_SHORT = "too short"


def verdict(facts: Facts, checks: Sequence[Check]) -> Verdict:
    """Return it; a soak that would not have seen a leak of `LEAK_BYTES` a session calls nothing flat."""
    if what_grew(checks):
        return Verdict.GREW
    return Verdict.FLAT if facts.done >= needed(facts) else Verdict.TOO_SHORT


def needed(facts: Facts) -> int:
    """Return how many sessions have to come for such a leak to be seen."""
    return math.ceil(_scatter(facts) / LEAK_BYTES / (1 - facts.warm_up))


def judge(plan: Plan, facts: Facts) -> list[Check]:
    """Return everything that was looked at, in the order in which it is told."""
    return [*_memory(facts), *_sessions(plan, facts), *_disk(facts), *_process(facts)]


def what_grew(checks: Sequence[Check]) -> list[str]:
    """Return the names of the figures above their bounds."""
    return [check.name for check in checks if not check.is_ok]


def _memory(facts: Facts) -> list[Check]:
    caches = "" if facts.is_virtual else ", what caches hold left out,"
    return [
        Check(
            name=f"{facts.memory} memory",
            says=f"growth of its floor{caches} from the {_mark(facts)} to the end",
            measured=facts.growth_bytes,
            bound=max(_scatter(facts), GROWTH_A_SESSION * facts.done),
            unit="bytes",
        )
    ]


def _scatter(facts: Facts) -> int:
    """Return how many bytes floors may differ by without a leak."""
    if facts.is_virtual:
        return GROWTH_BYTES
    return REAL_GROWTH_BYTES if facts.warm_up * facts.wall_s >= SETTLED_S else UNSETTLED_BYTES


def _mark(facts: Facts) -> str:
    return f"{100 * facts.warm_up:.0f} % mark"


def _sessions(plan: Plan, facts: Facts) -> list[Check]:
    seen = facts.seen
    return [
        *_stored(plan, facts),
        *_skills(facts),
        Check(name="left sessions", says="once all were due", measured=facts.left, bound=0),
        Check(name="left blobs", says="once all were due", measured=facts.left_blobs, bound=0),
        Check(name="overdue", says="due for more than 120 s and not held", measured=seen.overdue, bound=0),
        Check(name="orphans", says="rows without their owner", measured=seen.orphans, bound=0),
        Check(
            name="astray",
            says=f"runs that ended otherwise than they must{facts.first_astray and f' ({facts.first_astray})'}",
            measured=facts.astray,
            bound=0,
        ),
    ]


def _stored(plan: Plan, facts: Facts) -> list[Check]:
    return [
        Check(
            name=f"stored sessions {name}",
            says="the most at once; the policy's residence times their rate, and two waves",
            measured=facts.seen.stored.get(name, 0),
            bound=plan.most_stored(name, Arrivals(born, facts.most_a_wave.get(name, 0), facts.passed_ms)),
        )
        for name, born in facts.born.items()
    ]


def _skills(facts: Facts) -> list[Check]:
    """Return how often skills are stored, beside how many there are."""
    seen = facts.seen
    return [
        Check(
            name="snapshots of skills",
            says="sets of skills, however many sessions refer to them",
            measured=seen.snapshots,
            bound=seen.offered_snapshots,
        ),
        *_texts(seen),
    ]


def _texts(seen: Seen) -> list[Check]:
    """Return how many texts of skills are stored; from outside nobody can tell them from other blobs."""
    if not seen.offered_skills:
        return []
    return [
        Check(
            name="stored skills",
            says="texts of skills, each once",
            measured=seen.skills,
            bound=seen.offered_skills,
        )
    ]


def _disk(facts: Facts) -> list[Check]:
    disk, files = facts.seen.disk, facts.seen.files
    when = "after a checkpoint" if facts.is_virtual else "once all sessions are gone"
    work = Check(
        name="files at work",
        says=f"the most after the {_mark(facts)}, beside 1.5 x the most before it, or 16 MiB more than that",
        measured=files.after,
        bound=max(1.5 * files.warm_up, files.warm_up + FILES_BYTES),
        unit="bytes",
    )
    return [
        *([] if facts.is_virtual else [work]),
        Check(
            name="main file",
            says=f"{when}; 1.5 x what its pages in use hold, or 4 MiB more than that",
            measured=disk.main,
            bound=disk.bound,
            unit="bytes",
        ),
        Check(
            name="log",
            says="before a checkpoint",
            measured=facts.seen.log_bytes,
            bound=WAL_CAP_BYTES,
            unit="bytes",
        ),
    ]


def _process(facts: Facts) -> list[Check]:
    handles = [
        Check(
            name=name,
            says=f"the most after the {_mark(facts)}, beside the most before it",
            measured=peak.after,
            bound=peak.warm_up + peak.slack,
        )
        for name, peak in facts.seen.handles.items()
    ]
    containers = [
        Check(name=f"container {name}", says="how full it was at most", measured=fullest, bound=limit)
        for name, (fullest, limit) in facts.seen.containers.items()
    ]
    return handles + containers
