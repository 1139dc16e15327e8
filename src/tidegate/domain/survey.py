"""What a store holds, as a forecast sees it: how many sessions, what one of them takes. Pure.

The bytes of a head are those of its rows' bodies and segments. What else a session takes (its rows, their indexes, its
runs, its large texts) is what is left of the file once everything that belongs to no session is taken out, divided by
all sessions.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from types import MappingProxyType

import msgspec

from tidegate.config.job import Job
from tidegate.domain.residence import LEAST_SAMPLE, Finished
from tidegate.domain.session import PolicyName, State

ENOUGH_SESSIONS = 100  # to divide the rest of the file among

# Where nothing is stored yet. 31 KB of talk in 72 entries, as in store-bench: rows of it, and the segment.
HOT_BYTES = 43 << 10
ARCHIVED_BYTES = 14 << 10
EXTRA_BYTES = 2 << 10
EMPTY_BYTES = 272 << 10
FULL_RINGS_BYTES = 4_500_000  # bench/growth.py


_ARCHIVED = frozenset({State.ARCHIVED})
_HOT = frozenset(State) - _ARCHIVED


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What one session takes on disk, everything that belongs to it included."""

    hot: float
    archived: float
    is_measured: bool


ASSUMED = Size(hot=HOT_BYTES, archived=ARCHIVED_BYTES, is_measured=False)


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    #: by policy and state: count and bytes of heads
    sessions: Mapping[tuple[PolicyName, State], tuple[int, int]] = MappingProxyType({})
    finished: Mapping[PolicyName, Finished] = MappingProxyType({})
    #: of the file, free pages left out; None where there is none
    live_bytes: int | None = None
    skill_bytes: int = 0
    ring_bytes: int = 0
    #: that run and are not of the configuration
    jobs: Sequence[Job] = ()

    @property
    def stored(self) -> Mapping[tuple[PolicyName, State], int]:
        """How many sessions there are."""
        return {place: count for place, (count, _) in self.sessions.items()}

    @property
    def base_bytes(self) -> float:
        """What the file has that belongs to no session."""
        if self.live_bytes is None:
            return EMPTY_BYTES + FULL_RINGS_BYTES
        sizes = {name: self.size(name) for name in PolicyName}
        theirs = sum(
            count * (sizes[name].archived if state is State.ARCHIVED else sizes[name].hot)
            for (name, state), count in self.stored.items()
        )
        return max(float(EMPTY_BYTES), self.live_bytes - theirs)

    def size(self, name: PolicyName) -> Size:
        """Return what one session of a policy takes: as its like, else as all others, else as is assumed."""
        hot, archived = (self._mean({name}, states) for states in (_HOT, _ARCHIVED))
        if hot is None and archived is None:
            hot, archived = (self._mean(set(PolicyName), states) for states in (_HOT, _ARCHIVED))
        if hot is None and archived is None:
            return ASSUMED
        # one form that was not seen follows from the other one
        shrinks = ARCHIVED_BYTES / HOT_BYTES
        return Size(
            hot=self._extra + (hot if hot is not None else (archived or 0) / shrinks),
            archived=self._extra + (archived if archived is not None else (hot or 0) * shrinks),
            is_measured=True,
        )

    def _mean(self, names: set[PolicyName], states: frozenset[State]) -> float | None:
        found = [self.sessions.get(place, (0, 0)) for place in product(names, states)]
        count = sum(many for many, _ in found)
        return sum(size for _, size in found) / count if count >= LEAST_SAMPLE else None

    @property
    def _extra(self) -> float:
        """Return what a session takes beside the bytes of its head."""
        count = sum(self.stored.values())
        if count < ENOUGH_SESSIONS or self.live_bytes is None:
            return EXTRA_BYTES
        heads = sum(size for _, size in self.sessions.values())
        return max(0, self.live_bytes - EMPTY_BYTES - self.ring_bytes - self.skill_bytes - heads) / count
