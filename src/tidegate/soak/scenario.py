"""What a soak carries out: how many sessions of which kind, when they come, and under which configuration.

Sessions come in waves, at equal distances, spread over thirty times the longest that one is kept, so that a run sees
each session go and its successors too, however few they are. The clients of a wave work side by side.
"""

from types import MappingProxyType

import msgspec

from tidegate.clock import DAY_MS, HOUR_MS, SECOND_MS
from tidegate.config import Config, Lifecycle, Sweep
from tidegate.domain.policy import Policy, policies
from tidegate.domain.session import PolicyName
from tidegate.soak.talk import AGENTS

KINDS = (PolicyName.API, PolicyName.API_NAMED, PolicyName.CHAT)
PERIODS = 30  # how many times over the longest life of a session
MAX_WAVE = 64
WAVES = 40  # or more, where they would become too large
CLIENTS = 16
MIN_GAP_MS = 60 * SECOND_MS  # a wave is over by then, whatever its talks wait for

# The default keeps conversations for a month or for ever; a soak has to see them go.
_SHORT = Lifecycle(idle_after_ms=HOUR_MS, delete_after_ms=DAY_MS)


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One soak's work."""

    kind: PolicyName
    sessions: int
    seed: int = 0

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
        return max(MIN_GAP_MS, PERIODS * self.residence_ms // self.waves)

    @property
    def policy(self) -> Policy:
        """What decides how long a session is kept."""
        return policies(self.config.lifecycle)[self.kind]

    @property
    def residence_ms(self) -> int:
        """How long a session is kept once its last run is done."""
        return (self.policy.archive_after_ms or 0) + (self.policy.delete_after_ms or 0)

    @property
    def most_stored(self) -> int:
        """How many sessions the policy lets be there at once: those of one residence, and two waves for the sweep."""
        return min(self.sessions, (self.residence_ms // self.gap_ms + 2) * self.wave)

    @property
    def config(self) -> Config:
        """The configuration of the gateway: the default but for its agents, and a retention for conversations."""
        is_kept = self.kind.is_conversation
        return Config(
            agents=AGENTS,
            lifecycle=MappingProxyType({self.kind.value: _SHORT} if is_kept else {}),
            sweep=Sweep(interval_ms=HOUR_MS),  # it wakes for each date anyway
        )
