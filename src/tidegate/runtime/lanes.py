"""How many runs are carried out at once, and of whom."""

from collections.abc import Iterator
from contextlib import contextmanager

from tidegate.domain.session import Kind


class Lane:
    """The slots of one lane; api sessions take half of them at most, so that a person finds one free."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
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

    @contextmanager
    def kept(self, kind: Kind) -> Iterator[bool]:
        """Keep a slot free for a run at the door, if there is one for it now; say whether."""
        is_kept = self.is_open and (self.has_room_for_api if kind is Kind.API else self.has_room)
        with self.held(int(is_kept), for_api=kind is Kind.API):
            yield is_kept

    @contextmanager
    def held(self, slots: int, *, for_api: bool) -> Iterator[None]:
        """Hold slots for runs that are being claimed, and may be those of api sessions."""
        share = slots if for_api else 0
        self._kept += slots
        self._kept_for_api += share
        try:
            yield
        finally:
            self._kept -= slots
            self._kept_for_api -= share

    def take(self, kind: Kind) -> None:
        """Note that a run starts."""
        self._taken += 1
        self._taken_by_api += kind is Kind.API

    def give(self, kind: Kind) -> None:
        """Note that a run has ended."""
        self._taken -= 1
        self._taken_by_api -= kind is Kind.API
