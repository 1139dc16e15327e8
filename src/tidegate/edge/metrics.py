"""What is worth a graph: observed while the gateway runs, told when somebody scrapes.

Observing needs nothing but a few counters of a fixed size; the library that writes them down is loaded with the first
scrape.
"""

import math
from itertools import product

from starlette.requests import Request
from starlette.responses import Response

from tidegate import stdio
from tidegate.domain.job import FiringOutcome
from tidegate.domain.run import Lane
from tidegate.domain.session import Outcome
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.reading import Reading
from tidegate.edge.status import Parts
from tidegate.histogram import Histogram
from tidegate.runtime import process
from tidegate.runtime.growth import Growth
from tidegate.runtime.guard import Reason
from tidegate.store.tx import Effects

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

    def __init__(self, parts: Parts) -> None:
        self.loop_lag_seconds = Histogram()
        self._parts = parts
        self._run_seconds = {pair: Histogram(RUN_SECONDS) for pair in product(Lane, Outcome)}
        self._refused = dict.fromkeys(REFUSALS, 0)
        self._firings = dict.fromkeys(FiringOutcome, 0)
        parts.registry.add(
            "output_lines",
            lambda: stdio.OUTPUT.waiting,
            stdio.MAX_LINES,
            when_full="the line is dropped and counted",
        )

    def on_commit(self, effects: Effects) -> None:
        """Count the runs that a commit has closed, and what has become of instants of jobs."""
        for outcome, count in effects.firings.items():
            self._firings[outcome] += count
        for run in effects.closed:
            if run.started_at is not None and run.finished_at is not None and run.outcome is not None:
                seconds = max(0, run.finished_at - run.started_at) / 1_000
                self._run_seconds[run.lane, run.outcome].observe(seconds)

    def count_refusal(self, code: str) -> None:
        """Count a request that was refused for a bound; what the guard refuses it counts itself."""
        if code in self._refused:
            self._refused[code] += 1

    async def scrape(self, _: Request) -> Response:
        """Answer a scrape."""
        from tidegate.edge import exposition  # noqa: PLC0415 - 2 MB that a gateway nobody scrapes need not hold

        return Response(exposition.render(await self._read()), media_type=exposition.CONTENT_TYPE)

    async def _read(self) -> Reading:
        parts = self._parts
        return Reading(
            tallies=parts.store.tallies(),
            transitions=parts.store.transitions,
            storage=await parts.store.storage(),
            disk=parts.disk,
            overdue=await parts.sweeper.overdue(),
            orphans=await parts.orphans.count(),
            rss_bytes=process.memory().rss,
            sampled=parts.growth.latest.values if parts.growth.latest else {},
            rss_slope=_slope(parts.growth),
            spend=parts.spend,
            alerts=parts.alerts,
            uptime_s=parts.uptime_s,
            boots=parts.instance.boots,
            containers=list(parts.registry),
            faults=parts.faults.counts,
            refused=self._refused | parts.guard.refused,
            dropped_lines=stdio.OUTPUT.dropped,
            levels={reason: parts.guard.level(reason) for reason in Reason},
            level_changes=parts.guard.changes,
            memory_limit=parts.pressure.limit_bytes,
            firings=self._firings,
            compactions=parts.compactor.counts,
            compaction_failures=parts.compactor.failures,
            hook_calls=parts.dispatcher.counts,
            spans=parts.spans,
            histograms={
                "commit_seconds": parts.commit_seconds,
                "sweep_seconds": parts.sweeper.seconds,
                "loop_lag_seconds": self.loop_lag_seconds,
            },
            run_seconds=self._run_seconds,
            backups=parts.nightly.counts,
            last_backup=parts.nightly.last,
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


def _slope(growth: Growth) -> float:
    slope = growth.verdict("rss_bytes").slope
    return math.nan if slope is None else slope
