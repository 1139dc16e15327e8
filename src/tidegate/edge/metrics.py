"""Prometheus metrics: every series of a closed set, present from the start, whatever is stored.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import math
from collections.abc import Iterator
from itertools import product

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from tidegate.bounded import Registry
from tidegate.domain.run import Lane, RunState
from tidegate.domain.session import Outcome
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.status import Status, sessions_by_kind
from tidegate.runtime.sweeper import Sweeper
from tidegate.store.port import StorageBytes, Store
from tidegate.store.tx import Effects, Transition

CACHES = frozenset({"session_heads"})  # containers that are counted in bytes
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
RUN_SECONDS = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
MOVES = (
    ("none", "created"),
    ("created", "active"),
    ("created", "completed"),
    ("created", "archived"),
    ("active", "completed"),
    ("active", "archived"),
    ("completed", "archived"),
    ("archived", "active"),
    ("archived", "completed"),
    ("created", "deleted"),
    ("active", "deleted"),
    ("completed", "deleted"),
    ("archived", "deleted"),
)
REASONS = ("created", "claimed", "finished", "cancelled", "due", "asked", "continued", "restored")

REFUSALS = (
    "queue_full",
    "session_busy",
    "max_running",
    "receipts_full",
    "busy",
    "disk_full",
    "disk_read_only",
    "stopping",
    "limit_reached",
    "too_large",
)


class Metrics:
    """The gauges of one gateway, read when somebody scrapes."""

    def __init__(self, store: Store, sweeper: Sweeper, status: Status, containers: Registry) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._status = status
        self._store = store
        self._sweeper = sweeper
        self.storage = StorageBytes(main=0, wal=0, free=0, blobs=0, segments=0)
        self.overdue = 0
        self.orphans: dict[str, int] = {}
        self.rss_bytes = 0
        self.commit_seconds = self._histogram("commit_seconds", "Time of one group commit.", SECONDS)
        self.sweep_seconds = self._histogram("sweep_seconds", "Time of one sweep.", SECONDS)
        self.loop_lag_seconds = self._histogram("loop_lag_seconds", "How late the event loop wakes.", SECONDS)
        self.run_seconds = Histogram(
            "tidegate_run_seconds",
            "Time from the claim of a run to its end.",
            ("lane", "outcome"),
            buckets=RUN_SECONDS,
            registry=self._registry,
        )
        self.refused = dict.fromkeys(REFUSALS, 0)
        for lane, outcome in product(Lane, Outcome):
            self.run_seconds.labels(lane, outcome)
        self._registry.register(_Gauges(self, store, containers))

    def on_commit(self, effects: Effects) -> None:
        """Count the runs that a commit has closed."""
        for run in effects.closed:
            if run.started_at is not None and run.finished_at is not None and run.outcome is not None:
                seconds = max(0, run.finished_at - run.started_at) / 1_000
                self.run_seconds.labels(run.lane, run.outcome).observe(seconds)

    def count_refusal(self, code: str) -> None:
        """Count a request that was refused for a bound; other codes are not counted here."""
        if code in self.refused:
            self.refused[code] += 1

    async def scrape(self, _: Request) -> Response:
        """Answer a scrape."""
        self.storage = await self._store.storage()
        self.overdue = await self._sweeper.overdue()
        self.orphans = await self._status.orphans()
        self.rss_bytes = self._status.rss_bytes
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

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

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"tidegate_{name}", text, buckets=buckets, registry=self._registry)


class _Gauges(Collector):
    """What is counted elsewhere, read at each scrape."""

    def __init__(self, metrics: Metrics, store: Store, containers: Registry) -> None:
        self._metrics = metrics
        self._store = store
        self._containers = containers

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._sessions()
        yield from self._storage()
        yield from self._process()
        yield from self._bounds()

    def _sessions(self) -> Iterator[Metric]:
        tallies = self._store.tallies()
        family = _gauge("sessions", "Sessions by kind and state.", "kind", "state")
        for kind, states in sessions_by_kind(tallies).items():
            for state, count in states.items():
                family.add_metric([kind, state], count)
        yield family
        runs = _gauge("runs", "Runs by lane and state.", "lane", "state")
        for lane, run_state in product(Lane, RunState):
            runs.add_metric([lane, run_state], tallies.runs[lane, run_state])
        yield runs
        moves = _counter(
            "session_transitions", "Transitions of sessions since the start.", "from", "to", "reason"
        )
        for (before, after), reason in product(MOVES, REASONS):
            moves.add_metric(
                [before, after, reason], self._store.transitions.get(Transition(before, after, reason), 0)
            )
        yield moves
        yield _single(
            "sessions_overdue", "Sessions due for more than 120 s and not held.", self._metrics.overdue
        )
        orphans = _gauge("orphans", "Things that have lost their owner.", "type")
        for name, count in self._metrics.orphans.items():
            orphans.add_metric([name], count)
        yield orphans

    def _storage(self) -> Iterator[Metric]:
        tallies = self._store.tallies()
        storage = self._metrics.storage
        parts = _gauge("storage_bytes", "Bytes on disk.", "part")
        for part in ("main", "wal", "free", "blobs", "segments"):
            parts.add_metric([part], getattr(storage, part))
        yield parts
        yield _single("storage_budget_bytes", "What the state may take on disk.", math.inf)
        yield _single("blobs", "Large texts, each stored once.", tallies.blobs)
        yield _single("blob_bytes", "Bytes of large texts.", tallies.blob_bytes)
        yield _single("blob_references", "References of sessions to large texts.", tallies.references)
        yield _single("receipts", "Idempotency keys of the last 24 hours.", tallies.receipts)

    def _process(self) -> Iterator[Metric]:
        yield _single("rss_bytes", "Resident memory.", self._metrics.rss_bytes)
        yield _single("rss_slope_bytes_per_hour", "Trend of resident memory; NaN while unknown.", math.nan)

    def _bounds(self) -> Iterator[Metric]:
        entries = _gauge("container_entries", "How full each bounded container is.", "name")
        limits = _gauge("container_limit", "How much each bounded container may hold.", "name")
        for gauge in self._containers:
            entries.add_metric([gauge.name], gauge.entries)
            limits.add_metric([gauge.name], gauge.limit)
        yield entries
        yield limits
        caches = _gauge("cache_bytes", "Bytes held by each cache.", "cache")
        for gauge in self._containers:
            if gauge.name in CACHES:
                caches.add_metric([gauge.name], gauge.entries)
        yield caches
        refused = _counter("refused", "Requests refused for a bound.", "reason")
        for reason, count in self._metrics.refused.items():
            refused.add_metric([reason], count)
        yield refused


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tidegate_{name}", text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"tidegate_{name}", text, labels=labels)


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    family = _gauge(name, text)
    family.add_metric([], value)
    return family
