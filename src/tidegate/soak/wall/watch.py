"""What is seen of a gateway from outside: its process by the system, its state by its own API."""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from tidegate.domain.session import PolicyName
from tidegate.errors import Broken
from tidegate.runtime import process
from tidegate.soak.floor import Floors
from tidegate.soak.wall.line import LOST, Answer, Line
from tidegate.soak.wall.plan import Wall
from tidegate.soak.watch import Disk, Peak, Reading, Seen

DYING_S = 2.0  # in which it comes out that a gateway does not answer because it is dead
WARM_UP = 0.5  # libraries are loaded, and the allocator finds its size, in the first minute under load
Series = Mapping[tuple[str, ...], float]

_TAKEN = (
    "session_transitions_total",
    "run_seconds_count",
    "sweep_seconds_count",
    "blobs",
    "snapshots",
    "tasks",
    "cache_bytes",
)


class Watch:
    """Reads a gateway while it works."""

    def __init__(self, line: Line, plan: Wall, pid: int, slack: Mapping[str, int]) -> None:
        self.seen = Seen()
        self.floors = Floors(WARM_UP)
        #: one a look, see `course.LOOKS`
        self.readings: list[Reading] = []
        self.stored: Counter[PolicyName] = Counter()
        self.disk = Disk()
        self.metrics: dict[str, Series] = {}
        self.rss_bytes = 0
        self.cpu_s = 0.0
        #: which memory the floors are of
        self.memory = "resident"
        self._line = line
        self._pid = pid
        self._slack = slack
        self._snapshots = plan.skill_sets

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
    def _cache_bytes(self) -> int:
        """How much of the memory is in caches, whose bounds are judged by themselves, by the last look."""
        return round(sum(self.metrics.get("cache_bytes", {}).values()))

    def glance(self, share: float) -> None:
        """Take in how much memory there is; this share of the time is over."""
        with suppress(psutil.Error):  # that the process is gone is told by whoever waits for its end
            memory = process.memory(self._pid)
            self.rss_bytes = memory.rss
            self.seen.rss_bytes = max(self.seen.rss_bytes, memory.rss)
            self.floors.add(self.born, (memory.anonymous or memory.rss) - self._cache_bytes, share)
            self.memory = "anonymous" if memory.anonymous else "resident"

    async def look(self, share: float) -> None:
        """Take in everything else.

        Raises:
            Broken: The gateway does not answer.
        """
        status = (await self.ask("GET", "/api/status")).json
        self.metrics = _series((await self.ask("GET", "/metrics")).content.decode())
        self._take_status(status, share)
        with suppress(psutil.Error):
            self._take_process(share)

    def read(self, passed_ms: int) -> None:
        """Keep what was last seen, to be drawn."""
        self.readings.append(
            Reading(
                passed_ms=passed_ms,
                wall_s=passed_ms / 1_000,
                born=self.born,
                rss_bytes=self.rss_bytes,
                stored=self.stored.total(),
                disk_bytes=self.disk.main,
            )
        )

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Ask the gateway for something that it must answer.

        Raises:
            Broken: It does not.
        """
        try:
            answer = await self._line.ask(method, path, body)
        except (*LOST, TimeoutError) as error:
            await asyncio.sleep(DYING_S)
            raise Broken(f"the gateway does not answer at {path}: {error!r}") from error
        if answer.status != 200:
            raise Broken(f"the gateway answers {answer.status} at {path}: {answer.error}")
        return answer

    def _take_status(self, status: Any, share: float) -> None:
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
        seen.files.take(storage["main"] + storage["wal"], is_warm_up=share < WARM_UP)
        self.disk = Disk(main=storage["main"], live=storage["main"] - storage["free"])
        seen.offered_snapshots = self._snapshots
        seen.snapshots = max(seen.snapshots, round(self.metrics["snapshots"][()]))

    def _take_process(self, share: float) -> None:
        """Take in what the process holds open, and what it has worked."""
        one = psutil.Process(self._pid)
        self.cpu_s = sum(one.cpu_times()[:2])
        handles = {"fds": one.num_fds(), "threads": one.num_threads()}
        tasks = self.metrics["tasks"].get((), math.nan)
        if not math.isnan(tasks):  # until the first sample
            handles["tasks"] = round(tasks)
        self._take_handles(handles, is_warm_up=share < WARM_UP)

    def _take_handles(self, handles: Mapping[str, int], *, is_warm_up: bool) -> None:
        for name, count in handles.items():
            peak = self.seen.handles.setdefault(name, Peak(slack=self._slack[name]))
            peak.take(count, is_warm_up=is_warm_up)


def _series(text: str) -> dict[str, Series]:
    """Return the series that a soak needs, by name and values of labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in _TAKEN}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series = found.get(sample.name.removeprefix("tidegate_"))
            if series is not None:
                series[tuple(sample.labels.values())] = sample.value
    return dict(found)
