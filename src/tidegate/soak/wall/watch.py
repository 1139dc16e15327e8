"""What is seen of a gateway from outside: its process by the system, its state by its own API."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psutil
from prometheus_client.parser import text_string_to_metric_families

from tidegate.domain.session import PolicyName
from tidegate.errors import Broken
from tidegate.runtime import process
from tidegate.soak.floor import WARM_UP, Floors
from tidegate.soak.wall.line import LOST, Line
from tidegate.soak.wall.plan import Wall
from tidegate.soak.watch import Disk, Peak, Reading, Seen

T = TypeVar("T")
Series = Mapping[tuple[str, ...], float]

_TAKEN = ("session_transitions_total", "run_seconds_count", "sweep_seconds_count", "blobs", "snapshots")


class Watch:
    """Reads a gateway while it works."""

    def __init__(self, line: Line, plan: Wall, pid: int, slack: Mapping[str, int]) -> None:
        self.seen = Seen()
        self.floors = Floors()
        #: one a look, see `course.LOOKS`
        self.readings: list[Reading] = []
        self.stored: Counter[PolicyName] = Counter()
        self.disk = Disk()
        self.metrics: dict[str, Series] = {}
        self._line = line
        self._pid = pid
        self._slack = slack
        self._snapshots = plan.skill_sets
        self._started_s = time.monotonic()

    @property
    def born(self) -> int:
        """How many sessions have come, by the last look."""
        moves = self.metrics.get("session_transitions_total", {})
        return round(sum(count for (before, *_), count in moves.items() if before == "none"))

    @property
    def ends(self) -> Mapping[tuple[str, str], int]:
        """How many runs have ended, by lane and outcome, by the last look."""
        counts = self.metrics.get("run_seconds_count", {})
        return {(lane, outcome): round(count) for (lane, outcome), count in counts.items() if count}

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        return _asked(lambda: process.memory(self._pid).rss)

    @property
    def cpu_s(self) -> float:
        """CPU time of the process so far."""
        times = _asked(lambda: psutil.Process(self._pid).cpu_times())
        return float(times.user + times.system)

    def glance(self, share: float) -> None:
        """Take in how much memory there is; this share of the time is over."""
        memory = _asked(lambda: process.memory(self._pid))
        self.seen.rss_bytes = max(self.seen.rss_bytes, memory.rss)
        self.floors.add(self.born, memory.rss if memory.anonymous is None else memory.anonymous, share)

    async def look(self, share: float) -> None:
        """Take in everything else.

        Raises:
            Broken: The gateway does not answer.
        """
        status = await self._read_api()
        self._take_status(status)
        self._take_handles(share)

    def read(self) -> None:
        """Keep what was last seen, to be drawn."""
        passed_s = time.monotonic() - self._started_s
        self.readings.append(
            Reading(
                passed_ms=round(1_000 * passed_s),
                wall_s=passed_s,
                born=self.born,
                rss_bytes=self.rss_bytes,
                stored=self.stored.total(),
                disk_bytes=self.disk.main,
            )
        )

    async def _read_api(self) -> Any:
        try:
            status = await self._line.ask("GET", "/api/status")
            metrics = await self._line.ask("GET", "/metrics")
        except (*LOST, TimeoutError) as error:
            raise Broken(f"the gateway does not answer: {error!r}") from error
        if not (status.status == metrics.status == 200):
            raise Broken(f"the gateway answers {status.status} and {metrics.status} when asked how it is")
        self.metrics = _series(metrics.content.decode())
        return status.json

    def _take_status(self, status: Any) -> None:
        seen = self.seen
        self.stored = Counter(
            {PolicyName(kind): sum(states.values()) for kind, states in status["sessions"].items()}
        )
        for name, count in self.stored.items():
            seen.stored[name] = max(seen.stored.get(name, 0), count)
        seen.overdue = max(seen.overdue, status["overdue"])
        seen.orphans = max(seen.orphans, sum(status["orphans"].values()))
        for name, gauge in status["containers"].items():
            fullest, _ = seen.containers.get(name, (0, 0))
            seen.containers[name] = (max(fullest, gauge["entries"]), gauge["limit"])
        storage = status["storage"]
        seen.log_bytes = max(seen.log_bytes, storage["wal"])
        self.disk = Disk(main=storage["main"], live=storage["main"] - storage["free"])
        seen.offered_snapshots = self._snapshots
        seen.snapshots = max(seen.snapshots, round(self.metrics["snapshots"][()]))

    def _take_handles(self, share: float) -> None:
        is_warm_up = share < WARM_UP or not self.seen.handles
        for name, count in _asked(lambda: _handles(self._pid)).items():
            peak = self.seen.handles.setdefault(name, Peak(slack=self._slack[name]))
            if is_warm_up:
                peak.warm_up = max(peak.warm_up, count)
            else:
                peak.after = max(peak.after, count)


def _handles(pid: int) -> Mapping[str, int]:
    """Count what the process holds open."""
    one = psutil.Process(pid)
    return {"fds": one.num_fds(), "threads": one.num_threads()}


def _asked(ask: Callable[[], T]) -> T:
    """Ask the system of a process.

    Raises:
        Broken: There is none.
    """
    try:
        return ask()
    except (psutil.Error, OSError) as error:
        raise Broken("the process of the gateway is gone") from error


def _series(text: str) -> dict[str, Series]:
    """Return the series that a soak needs, by name and values of labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in _TAKEN}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series = found.get(sample.name.removeprefix("tidegate_"))
            if series is not None:
                series[tuple(sample.labels.values())] = sample.value
    return dict(found)
