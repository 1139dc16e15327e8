"""What a soak carries out, whatever its kind: who comes in which wave, under which configuration, and what may be left.

Waves come at equal distances of virtual time; the clients of a wave work side by side. `Single` sessions of one kind,
the `Everyday` of a gateway and the `Own` configuration of somebody are such plans.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from tidegate.clock import SECOND_MS
from tidegate.config import Config
from tidegate.domain.policy import Policies, policies
from tidegate.domain.session import PolicyName
from tidegate.soak.talk import Talk

CLIENTS = 16
MIN_GAP_MS = 60 * SECOND_MS  # a wave is over by then, whatever its talks wait for
SLACK = 1.25  # arrivals are not as even as their average


class Arrivals(NamedTuple):
    """How many sessions of a kind came: in all, in one wave at most, and within which time."""

    born: int
    most_a_wave: int
    #: on the clock that the gateway lives by
    passed_ms: int


class Plan(Protocol):
    """One soak's work."""

    @property
    def name(self) -> str:
        """What it is called in the report."""

    @property
    def seed(self) -> int:
        """Another one is another mix of talks."""

    @property
    def sessions(self) -> int:
        """How many sessions come, sub-agents and firings of jobs among them; an estimate where days are asked for."""

    @property
    def gap_ms(self) -> int:
        """The virtual time from one wave to the next."""

    @property
    def waves(self) -> int:
        """About how many waves there are."""

    @property
    def clients(self) -> int:
        """How many clients of a wave work side by side."""

    @property
    def config(self) -> Config:
        """The configuration of the gateway."""

    @property
    def replaced(self) -> Sequence[str]:
        """What is not as it was given, in words."""

    def share(self, waves: int, born: int) -> float:
        """Return how much of the work is done after so many waves and sessions; 1 or more ends it."""

    def talks(self, wave: int) -> Sequence[Talk]:
        """Return what is said in a wave."""

    def strays(self, agent: str) -> bool:
        """Whether the firings of jobs of this agent fail on purpose."""

    def residence_ms(self, name: PolicyName) -> int | None:
        """Return the longest that a session of this kind is kept once its first turn is done; None is for ever."""

    def most_stored(self, name: PolicyName, arrivals: Arrivals) -> int:
        """Return how many sessions of this kind may be there at once, if so many came."""

    def furnish(self, state: Path) -> None:
        """Put into a state folder what the gateway is to find there."""


def kept_ms(config: Config, name: PolicyName) -> int | None:
    """Return how long a session is kept after its last run under a configuration; None is for ever."""
    policy = all_policies(config)[name]
    if policy.archive_after_ms is None or policy.delete_after_ms is None:
        return None
    return policy.archive_after_ms + max(policy.delete_after_ms, policy.delete_failed_after_ms or 0)


def all_policies(config: Config) -> Policies:
    """Return the policies of a configuration."""
    return policies(config.lifecycle, config.approvals.expire_after_ms)


def littles_law(residence_ms: int | None, arrivals: Arrivals) -> int:
    """Return how many of the sessions that came may be there at once.

    Their rate times their residence, with slack, and two waves that the sweep is about to take; never more than came.
    """
    born, most_a_wave, passed_ms = arrivals
    if residence_ms is None or not passed_ms:
        return born
    return min(born, math.ceil(SLACK * born * residence_ms / passed_ms) + 2 * most_a_wave)
