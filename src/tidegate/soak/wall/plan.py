"""What a soak in real time carries out: the talks of a plan for virtual time, evenly spread over the wall time.

Sessions are kept for so short that they come and go many times within it; whatever is said otherwise is as it was.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tidegate.clock import MINUTE_MS, SECOND_MS
from tidegate.config import LIFECYCLE_KEYS, Backup, Config, Gateway, Job, Lifecycle, Model, Provider, Sweep
from tidegate.domain.policy import OVERDUE_MS, Policy
from tidegate.domain.session import PolicyName
from tidegate.soak.everyday import NAMED_AGAIN, Everyday
from tidegate.soak.own import Own
from tidegate.soak.plan import Arrivals, all_policies, kept_ms, littles_law
from tidegate.soak.talk import Talk
from tidegate.units import print_duration

GAP_MS = 2 * SECOND_MS
SESSIONS_A_WAVE = 36  # about: talks, one firing by hand, and the sub-agents of both
CLIENTS = 32
PROVIDER = "scripted"
STAND_IN = "a scripted model over HTTP"
DRAIN_MS = 2 * SECOND_MS

LIVES = 16  # of a session, in a run
KEPT_MS = (SECOND_MS, 10 * MINUTE_MS)
ARCHIVED_PART = 4  # of the time that a session is kept, it is not archived yet for one in so many parts


class Wall(msgspec.Struct, frozen=True, kw_only=True):
    """A soak that takes so long."""

    said: Everyday | Own
    wall_ms: int
    #: where the scripted model is; known once it serves
    model_url: str = ""

    @property
    def name(self) -> str:
        """What is carried out."""
        return self.said.name

    @property
    def seed(self) -> int:
        """That of the talks."""
        return self.said.seed

    @property
    def sessions(self) -> int:
        """About how many come."""
        return self.waves * SESSIONS_A_WAVE

    @property
    def gap_ms(self) -> int:
        """Two seconds, over which the talks of a wave are spread."""
        return GAP_MS

    @property
    def waves(self) -> int:
        """How many there are, if the machine keeps up."""
        return max(1, self.wall_ms // GAP_MS)

    @property
    def clients(self) -> int:
        """How many talks are under way at a time."""
        return min(CLIENTS, self.said.clients)

    @property
    def config(self) -> Config:
        """The configuration, asking the scripted model, with every life shortened."""
        given = self.said.config
        return replace(
            given,
            gateway=Gateway(port=0, drain_ms=DRAIN_MS),
            model=Model(provider=PROVIDER, name=PROVIDER),
            providers={PROVIDER: Provider(base_url=self.model_url)},
            lifecycle={name.value: self._short(name, given) for name in PolicyName},
            jobs=[self._frequent(job) for job in given.jobs],
            sweep=Sweep(interval_ms=SECOND_MS),
            backup=Backup(enabled=False),
        )

    @property
    def replaced(self) -> Sequence[str]:
        """What is not as it was given, in words."""
        return list(self._replaced())

    @property
    def asked_for(self) -> Sequence[str]:
        """The jobs that are run by hand in turn, beside their schedules."""
        return [job.name for job in self.said.config.jobs]

    @property
    def stray_firings(self) -> float:
        """Which part of the firings fails on purpose."""
        jobs = self.said.config.jobs
        return sum(self.strays(job.agent or "main") for job in jobs) / max(1, len(jobs))

    @property
    def skill_sets(self) -> int:
        """How many different sets of skills there may be; agents of the built-in scenario share one."""
        return len(self.said.given.agents) if isinstance(self.said, Own) else 1

    def share(self, waves: int, born: int) -> float:  # noqa: ARG002 - time is what ends it
        """Return how much of the time is over after so many waves."""
        return waves / self.waves

    def talks(self, wave: int) -> Sequence[Talk]:
        """Return what is said in a wave."""
        return self.said.talks(wave)

    def strays(self, agent: str) -> bool:
        """Whether the firings of jobs of this agent fail on purpose."""
        return self.said.strays(agent)

    def residence_ms(self, name: PolicyName) -> int | None:
        """Return the longest that a session is kept; until it is overdue it may be late."""
        more = {PolicyName.CHAT: sum(pauses(self.wall_ms)), PolicyName.API_NAMED: NAMED_AGAIN}.get(name, 0)
        return (kept_ms(self.config, name) or 0) + more * GAP_MS + OVERDUE_MS

    def most_stored(self, name: PolicyName, arrivals: Arrivals) -> int:
        """Return how many sessions of a kind may be there at once; over HTTP those of the API are of one kind."""
        lives = (name, PolicyName.API_NAMED) if name is PolicyName.API else (name,)
        return littles_law(max(self.residence_ms(one) or 0 for one in lives), arrivals)

    def furnish(self, state: Path) -> None:
        """Put into a state folder what the plan for virtual time puts there."""
        self.said.furnish(state)

    def _short(self, name: PolicyName, given: Config) -> Lifecycle:
        policy, wanted = all_policies(given)[name], given.lifecycle.get(name.value, Lifecycle())
        kept = _kept_ms(self.wall_ms)
        archive = _least(policy.archive_after_ms, kept // ARCHIVED_PART)
        spans = {"idle_after" if "idle_after" in LIFECYCLE_KEYS[name.value] else "archive_after": archive}
        spans["delete_after"] = _least(policy.delete_after_ms, kept)
        if "delete_failed_after" in LIFECYCLE_KEYS[name.value]:
            spans["delete_failed_after"] = _least(_failed_ms(policy), 2 * kept)
        return replace(wanted, **{f"{key}_ms": value for key, value in spans.items()})

    def _frequent(self, job: Job) -> Job:
        """Return a job of the built-in scenario that fires each minute; one of somebody's own keeps its schedule."""
        if isinstance(self.said, Own):
            return job
        return replace(job, cron=None, every_ms=MINUTE_MS, jitter_ms=MINUTE_MS // 2)

    def _replaced(self) -> Iterator[str]:
        kept = _kept_ms(self.wall_ms)
        spans = (
            f"{print_duration(kept // ARCHIVED_PART)} until archived and {print_duration(kept)} until deleted"
        )
        yield f"lifecycle: at most {spans}, so that sessions go within the wall time"
        if isinstance(self.said, Own):
            short = replace(self.said.given, lifecycle=self.config.lifecycle)
            yield from replace(self.said, given=short, stand_in=STAND_IN).replaced
            yield "address, TLS and backups: replaced by a free port on loopback and none"


def pauses(wall_ms: int) -> tuple[int, int]:
    """Return after how many waves a chat goes on: while it is active, and once it must be archived."""
    return 1, 2 + -(-_kept_ms(wall_ms) // ARCHIVED_PART // GAP_MS)


def _kept_ms(wall_ms: int) -> int:
    least, most = KEPT_MS
    return math.floor(min(most, max(least, wall_ms / LIVES)))


def _failed_ms(policy: Policy) -> int | None:
    return policy.delete_failed_after_ms or policy.delete_after_ms


def _least(given: int | None, most: int) -> int:
    return most if given is None else min(given, most)
