"""What is worth a graph: observed while the gateway runs, told when somebody scrapes.

Observing needs nothing but a few counters of a fixed size; the library that writes them down is loaded with the first
scrape.
"""

import math
from collections.abc import Mapping
from itertools import product

from starlette.requests import Request
from starlette.responses import Response

from tidegate import stdio
from tidegate.bounded import Registry
from tidegate.domain.compaction import CompactionOutcome
from tidegate.domain.event import EventName
from tidegate.domain.job import FiringOutcome
from tidegate.domain.run import Lane
from tidegate.domain.session import Outcome
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.reading import Histogram, Reading
from tidegate.edge.status import Status
from tidegate.runtime.alerts import Alerts
from tidegate.runtime.growth import Growth
from tidegate.runtime.guard import Guard, Reason
from tidegate.runtime.hook_thread import CallOutcome
from tidegate.runtime.spend import Spend
from tidegate.runtime.sweeper import Sweeper
from tidegate.runtime.watch import SpanOutcome
from tidegate.store.port import Store
from tidegate.store.tx import Effects

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
RUN_SECONDS = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)

REFUSALS = (
    "queue_full",
    "session_busy",
    "max_running",
    "receipts_full",
    "approvals_full",
    "jobs_full",
    "busy",
    "disk_full",
    "disk_read_only",
    "stopping",
    "limit_reached",
    "too_large",
    "bad_signature",
    "rate_limited",
    "connection_limit",
    "slow_head",
    "slow_body",
    "unread",
)


class Metrics:
    """What one gateway has observed since its start."""

    def __init__(
        self, store: Store, sweeper: Sweeper, status: Status, containers: Registry, guard: Guard
    ) -> None:
        self.commit_seconds = Histogram(SECONDS)
        self.sweep_seconds = Histogram(SECONDS)
        self.loop_lag_seconds = Histogram(SECONDS)
        self.run_seconds = {pair: Histogram(RUN_SECONDS) for pair in product(Lane, Outcome)}
        self.refused = dict.fromkeys(REFUSALS, 0)
        self.firings = dict.fromkeys(FiringOutcome, 0)
        #: kept by the compactor
        self.compactions: Mapping[CompactionOutcome, int] = dict.fromkeys(CompactionOutcome, 0)
        self.compaction_failures: Mapping[str, int] = {"before": 0, "after": 0}
        #: of plugins; the dispatcher counts them
        self.hook_calls: Mapping[tuple[EventName, CallOutcome], int] = {}
        #: by what became of them; nothing where telemetry is off
        self.spans: Mapping[SpanOutcome, int] = {}
        containers.add(
            "output_lines",
            lambda: stdio.OUTPUT.waiting,
            stdio.MAX_LINES,
            when_full="the line is dropped and counted",
        )
        self.spend: Spend | None = None
        self.alerts: Alerts | None = None
        self._store = store
        self._sweeper = sweeper
        self._status = status
        self._containers = containers
        self._guard = guard

    def on_commit(self, effects: Effects) -> None:
        """Count the runs that a commit has closed, and what has become of instants of jobs."""
        for outcome, count in effects.firings.items():
            self.firings[outcome] += count
        for run in effects.closed:
            if run.started_at is not None and run.finished_at is not None and run.outcome is not None:
                seconds = max(0, run.finished_at - run.started_at) / 1_000
                self.run_seconds[run.lane, run.outcome].observe(seconds)

    def count_refusal(self, code: str) -> None:
        """Count a request that was refused for a bound; what the guard refuses it counts itself."""
        if code in self.refused:
            self.refused[code] += 1

    async def scrape(self, _: Request) -> Response:
        """Answer a scrape."""
        from tidegate.edge import exposition  # noqa: PLC0415 - 2 MB that a gateway nobody scrapes need not hold

        return Response(exposition.render(await self._read()), media_type=exposition.CONTENT_TYPE)

    async def _read(self) -> Reading:
        return Reading(
            tallies=self._store.tallies(),
            transitions=self._store.transitions,
            storage=await self._store.storage(),
            disk=self._status.disk,
            overdue=await self._sweeper.overdue(),
            orphans=await self._status.orphans(),
            rss_bytes=self._status.rss_bytes,
            sampled=_sampled(self._status.growth),
            rss_slope=_slope(self._status.growth),
            spend=self.spend,
            alerts=self.alerts,
            uptime_s=self._status.uptime_s,
            boots=self._status.instance.boots,
            containers=list(self._containers),
            faults=self._status.faults.counts,
            refused=self.refused | self._guard.refused,
            dropped_lines=stdio.OUTPUT.dropped,
            levels={reason: self._guard.level(reason) for reason in Reason},
            level_changes=self._guard.changes,
            memory_limit=self._status.pressure.limit_bytes if self._status.pressure else math.inf,
            firings=self.firings,
            compactions=self.compactions,
            compaction_failures=self.compaction_failures,
            hook_calls=self.hook_calls,
            spans=self.spans,
            histograms={
                "commit_seconds": self.commit_seconds,
                "sweep_seconds": self.sweep_seconds,
                "loop_lag_seconds": self.loop_lag_seconds,
            },
            run_seconds=self.run_seconds,
            backups=self._status.nightly.counts if self._status.nightly else {},
            last_backup=self._status.nightly.last if self._status.nightly else None,
        )

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [
            Endpoint(
                method="GET",
                path="/metrics",
                handler=self.scrape,
                summary="Metrics for Prometheus",
                media_type="text/plain",
            )
        ]


def _sampled(growth: Growth | None) -> Mapping[str, int]:
    return growth.latest.values if growth and growth.latest else {}


def _slope(growth: Growth | None) -> float:
    slope = growth.verdict("rss_bytes").slope if growth else None
    return math.nan if slope is None else slope
