"""How many runs are carried out at once, and of whom."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from tidegate.domain.session import Kind


class Lane:
    """The slots of one lane; api sessions take half of them at most, so that a person finds one free.

    The runs of one provider take three quarters, where agents have several (*providers*, by the agent): one that hangs
    leaves the others some.
    """

    def __init__(self, slots: int, providers: Mapping[str, str] = MappingProxyType({})) -> None:
        self.slots = slots
        self._providers = providers
        self._share = max(1, slots - max(1, slots // 4)) if len(set(providers.values())) > 1 else slots
        self._taken_of: Counter[str] = Counter()
        self._kept_of: Counter[str] = Counter()
        #: for runs that are being claimed, whose provider is not known yet
        self._kept_of_any = 0
        #: told when a slot that was kept is free again: a run that came meanwhile found none
        self.on_room: Callable[[], None] = _nobody
        #: nothing begins for now
        self.is_parked = False
        #: api sessions take an eighth for now
        self.is_tight = False
        #: somebody carries out its runs
        self.is_open = False
        self._taken = 0
        self._taken_by_api = 0
        self._kept = 0
        self._kept_for_api = 0

    @property
    def taken(self) -> int:
        """How many runs are being carried out."""
        return self._taken

    @property
    def has_room(self) -> bool:
        """Whether another run may start."""
        return not self.is_parked and self._taken + self._kept < self.slots

    @property
    def room_for_api(self) -> int:
        """How many runs of api sessions may start."""
        free = 0 if self.is_parked else self.slots - self._taken - self._kept
        share = max(1, self.slots // (8 if self.is_tight else 2))
        return min(free, share - self._taken_by_api - self._kept_for_api)

    @property
    def has_room_for_api(self) -> bool:
        """Whether a run of an api session may start."""
        return self.room_for_api > 0

    @property
    def full(self) -> Collection[str]:
        """The agents of which no run may start, since their provider has its share."""
        return [agent for agent, provider in self._providers.items() if self._room_of(provider) <= 0]

    @property
    def least_room(self) -> int:
        """How many runs may start whatever their agents are, of those that are not full."""
        rooms = map(self._room_of, self._providers.values())
        return min((room for room in rooms if room > 0), default=self.slots)

    @contextmanager
    def kept(self, kind: Kind, agent: str = "") -> Iterator[bool]:
        """Keep a slot free for a run at the door, if there is one for it now; say whether."""
        has_room = self.has_room_for_api if kind is Kind.API else self.has_room
        is_kept = self.is_open and has_room and agent not in self.full
        provider, share = self._providers.get(agent, ""), int(is_kept and kind is Kind.API)
        self._kept += is_kept
        self._kept_for_api += share
        self._kept_of[provider] += is_kept
        try:
            yield is_kept
        finally:
            self._kept -= is_kept
            self._kept_for_api -= share
            self._kept_of[provider] -= is_kept
            if is_kept:
                self.on_room()

    @contextmanager
    def held(self, slots: int, *, for_api: bool) -> Iterator[None]:
        """Hold slots for runs that are being claimed, and may be those of api sessions."""
        share = slots if for_api else 0
        self._kept += slots
        self._kept_for_api += share
        self._kept_of_any += slots
        try:
            yield
        finally:
            self._kept -= slots
            self._kept_for_api -= share
            self._kept_of_any -= slots

    def take(self, kind: Kind, agent: str = "") -> None:
        """Note that a run starts."""
        self._taken += 1
        self._taken_by_api += kind is Kind.API
        self._taken_of[self._providers.get(agent, "")] += 1

    def give(self, kind: Kind, agent: str = "") -> None:
        """Note that a run has ended."""
        self._taken -= 1
        self._taken_by_api -= kind is Kind.API
        self._taken_of[self._providers.get(agent, "")] -= 1

    def _room_of(self, provider: str) -> int:
        return self._share - self._taken_of[provider] - self._kept_of[provider] - self._kept_of_any


def _nobody() -> None:
    """Tell nobody."""
