"""Whether the wall clock can be trusted to delete by.

When the wall clock and the monotonic clock part by more than `STEP_MS`, somebody has moved the wall clock (or the
machine slept). Until the two have agreed for `CALM_MS`, or a person confirms the new time, nothing is deleted by date:
archiving can be undone, deleting cannot. A store that was just restored from a backup begins in the same doubt.
"""

from tidegate.clock import HOUR_MS, MINUTE_MS

STEP_MS = 5 * MINUTE_MS
CALM_MS = HOUR_MS


class ClockDoubt:
    """Watches two clocks for a step between two looks."""

    def __init__(self, wall: int, monotonic: int, *, is_doubted: bool = False) -> None:
        """Begin at an instant of both clocks (ms); *is_doubted* holds deleting from the start on."""
        self._offset = wall - monotonic
        self._doubted_at = monotonic if is_doubted else None

    def look(self, wall: int, monotonic: int) -> bool:
        """Compare the clocks (both in ms) and answer whether deleting is to be held."""
        drift = (wall - monotonic) - self._offset
        if abs(drift) > STEP_MS:
            self._offset += drift
            self._doubted_at = monotonic
        elif self._doubted_at is not None and monotonic - self._doubted_at >= CALM_MS:
            self._doubted_at = None
        return self._doubted_at is not None

    def confirm(self) -> None:
        """Trust the wall clock as it stands now."""
        self._doubted_at = None
