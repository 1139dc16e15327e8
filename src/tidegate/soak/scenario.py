"""Sessions of one kind and nothing else: how many, when they come, and under which configuration.

Waves are spread over thirty times the longest that a session is kept, so that a run sees each session go and its
successors too, however few they are.
"""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec

from tidegate.clock import DAY_MS, HOUR_MS
from tidegate.config import Config, Lifecycle, Sweep
from tidegate.domain.session import PolicyName
from tidegate.soak.plan import CLIENTS, MIN_GAP_MS, Arrivals, kept_ms
from tidegate.soak.talk import AGENTS, Talk, talk

KINDS = (PolicyName.API, PolicyName.API_NAMED, PolicyName.CHAT)
PERIODS = 30  # how many times over the longest life of a session
MAX_WAVE = 64
WAVES = 40  # or more, where they would become too large

# The default keeps conversations for a month or for ever; a soak has to see them go.
_SHORT = Lifecycle(idle_after_ms=HOUR_MS, delete_after_ms=DAY_MS)


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One soak's work."""

    kind: PolicyName
    sessions: int
    seed: int = 0

    @property
    def name(self) -> str:
        """The kind."""
        return self.kind.value

    @property
    def wave(self) -> int:
        """How many sessions come at the same moment."""
        return min(MAX_WAVE, -(-self.sessions // WAVES))

    @property
    def waves(self) -> int:
        """How many waves there are."""
        return -(-self.sessions // self.wave)

    @property
    def clients(self) -> int:
        """How many clients of a wave work side by side."""
        return min(CLIENTS, self.wave)

    @property
    def gap_ms(self) -> int:
        """The virtual time from one wave to the next."""
        return max(MIN_GAP_MS, PERIODS * self._life_ms // self.waves)

    @property
    def config(self) -> Config:
        """The configuration of the gateway: the default but for its agents, and a retention for conversations."""
        is_kept = self.kind.is_conversation
        return Config(
            agents=AGENTS,
            lifecycle=MappingProxyType({self.kind.value: _SHORT} if is_kept else {}),
            sweep=Sweep(interval_ms=HOUR_MS),  # it wakes for each date anyway
        )

    @property
    def replaced(self) -> Sequence[str]:
        """Nothing was given."""
        return ()

    def share(self, waves: int, born: int) -> float:  # noqa: ARG002 - each wave has its number
        """Return how many of the sessions have come."""
        return born / self.sessions

    def talks(self, wave: int) -> Sequence[Talk]:
        """Return what is said in a wave, each in a session of its own."""
        first = wave * self.wave
        numbers = range(first, min(first + self.wave, self.sessions))
        is_named = self.kind.is_conversation
        return [
            talk(self.seed, number)._replace(
                kind=self.kind, key=f"{self.kind}:{number}" if is_named else None
            )
            for number in numbers
        ]

    def strays(self, agent: str) -> bool:  # noqa: ARG002 - whatever it is
        """Return False: there are no jobs."""
        return False

    def residence_ms(self, name: PolicyName) -> int | None:
        """Return how long a session is kept once its last run is done."""
        return kept_ms(self.config, name) if name is self.kind else 0

    def most_stored(self, name: PolicyName, arrivals: Arrivals) -> int:  # noqa: ARG002 - all are known before
        """Return how many sessions may be there at once: those of one residence, and two waves for the sweep."""
        if name is not self.kind:
            return 0
        return min(self.sessions, (self._life_ms // self.gap_ms + 2) * self.wave)

    def furnish(self, state: Path) -> None:
        """Put nothing there."""

    @property
    def _life_ms(self) -> int:
        return self.residence_ms(self.kind) or 0
