"""How many runs are carried out at once, and of whom."""

from tidegate.domain.session import Kind


class Lane:
    """The slots of one lane; api sessions take half of them at most, so that a person finds one free."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._taken = 0
        self._taken_by_api = 0

    @property
    def taken(self) -> int:
        """How many runs are being carried out."""
        return self._taken

    @property
    def has_room(self) -> bool:
        """Whether another run may start."""
        return self._taken < self.slots

    @property
    def room_for_api(self) -> int:
        """How many runs of api sessions may start."""
        return min(self.slots - self._taken, max(1, self.slots // 2) - self._taken_by_api)

    @property
    def has_room_for_api(self) -> bool:
        """Whether a run of an api session may start."""
        return self.room_for_api > 0

    def take(self, kind: Kind) -> None:
        """Note that a run starts."""
        self._taken += 1
        self._taken_by_api += kind is Kind.API

    def give(self, kind: Kind) -> None:
        """Note that a run has ended."""
        self._taken -= 1
        self._taken_by_api -= kind is Kind.API
