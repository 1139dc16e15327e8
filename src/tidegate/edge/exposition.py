"""Writes a reading down for Prometheus: every series of a closed set, present from the start, whatever is stored.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import math
from collections.abc import Iterator
from itertools import accumulate, product

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tidegate.domain.alert import AlertEvent
from tidegate.domain.compaction import CompactionOutcome
from tidegate.domain.event import EventName
from tidegate.domain.job import FiringOutcome, JobOrigin
from tidegate.domain.level import Level
from tidegate.domain.run import Lane, RunState
from tidegate.domain.storage import Group
from tidegate.edge.reading import Reading
from tidegate.edge.status import sessions_by_kind
from tidegate.faults import Area
from tidegate.histogram import Histogram
from tidegate.runtime.disk import Disk
from tidegate.runtime.guard import Reason
from tidegate.runtime.hook_thread import CallOutcome
from tidegate.runtime.nightly import OUTCOMES
from tidegate.runtime.watch import SpanOutcome
from tidegate.store.tx import Transition

CONTENT_TYPE = CONTENT_TYPE_LATEST
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
REASONS = (
    "created",
    "claimed",
    "finished",
    "cancelled",
    "due",
    "asked",
    "continued",
    "restored",
    "interrupted",
    "renewed",
    "forked",
)
#: gauges of the last sample, at most ten seconds old, some of them a minute; NaN where the system does not tell
SAMPLED = {
    "anonymous_bytes": "Memory without a file behind it, swapped or not.",
    "python_heap_bytes": "Memory that Python's own allocator holds.",
    "native_gap_bytes": "Anonymous memory that Python's own allocator does not hold.",
    "sqlite_bytes": "Memory that SQLite holds.",
    "threads": "Threads of the process.",
    "tasks": "Tasks of the event loop.",
    "files": "Open files, sockets and pipes.",
}
HISTOGRAMS = {
    "commit_seconds": "Time of one group commit.",
    "sweep_seconds": "Time of one sweep.",
    "loop_lag_seconds": "How late the event loop wakes.",
}


def render(reading: Reading) -> bytes:
    """Return the text of a scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(reading))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        for part in (_money, _sessions, _storage, _process, _bounds, _times):
            yield from part(self._reading)


def _sessions(reading: Reading) -> Iterator[Metric]:
    tallies = reading.tallies
    family = _gauge("sessions", "Sessions by kind and state.", "kind", "state")
    for kind, states in sessions_by_kind(tallies).items():
        for state, count in states.items():
            family.add_metric([kind, state], count)
    yield family
    runs = _gauge("runs", "Runs by lane and state.", "lane", "state")
    for lane, run_state in product(Lane, RunState):
        runs.add_metric([lane, run_state], tallies.runs[lane, run_state])
    yield runs
    yield from _jobs(reading)
    yield from _compactions(reading)
    moves = _counter(
        "session_transitions", "Transitions of sessions since the start.", "from", "to", "reason"
    )
    for (before, after), reason in product(MOVES, REASONS):
        moves.add_metric(
            [before, after, reason], reading.transitions.get(Transition(before, after, reason), 0)
        )
    yield moves
    yield _single("sessions_overdue", "Sessions due for more than 120 s and not held.", reading.overdue)
    orphans = _gauge("orphans", "Things that have lost their owner.", "type")
    for name, count in reading.orphans.items():
        orphans.add_metric([name], count)
    yield orphans


def _money(reading: Reading) -> Iterator[Metric]:
    """Tell what models have cost, and what the owner was told; no names of agents, jobs or models."""
    spend, alerts = reading.spend, reading.alerts
    dollars = _counter("spend_dollars", "What models have cost since the start.")
    dollars.add_metric([], spend.total_micros / 1_000_000)
    yield dollars
    unpriced = _counter("unpriced_answers", "Answers of models since the start whose cost nobody knows.")
    unpriced.add_metric([], spend.total_unpriced)
    yield unpriced
    today = spend.today_micros / 1_000_000
    yield _single("spend_today_dollars", "What models have cost on this day, in UTC.", today)
    limit = spend.limit_micros / 1_000_000 if spend.limit_micros else math.inf
    yield _single("spend_limit_dollars", "What models may cost in a day.", limit)
    told = _counter("alerts", "What the owner was told since the start.", "event")
    for event in AlertEvent:
        told.add_metric([event], alerts.told[event])
    yield told
    failed = _counter("alerts_failed", "Tries to tell the owner that have failed since the start.")
    failed.add_metric([], alerts.failed)
    yield failed


def _jobs(reading: Reading) -> Iterator[Metric]:
    family = _gauge("jobs", "Jobs by who made them and whether they run.", "origin", "state")
    for origin in JobOrigin:
        family.add_metric([origin, "active"], reading.tallies.jobs[origin])
        family.add_metric([origin, "paused"], reading.tallies.paused_jobs[origin])
    yield family
    history = _gauge("job_history", "Rows of the history of jobs by outcome.", "outcome")
    fired = _counter("firings", "What became of instants of jobs since the start.", "outcome")
    for outcome in FiringOutcome:
        history.add_metric([outcome], reading.tallies.firings[outcome])
        fired.add_metric([outcome], reading.firings[outcome])
    yield history
    yield fired
    calls = _counter(
        "hook_calls", "Events for plugins since the start, by what became of them.", "event", "outcome"
    )
    for name, call_outcome in product(EventName, CallOutcome):
        calls.add_metric([name, call_outcome], reading.hook_calls.get((name, call_outcome), 0))
    yield calls
    spans = _counter("telemetry_spans", "Spans since the start, by what became of them.", "outcome")
    for span_outcome in SpanOutcome:
        spans.add_metric([span_outcome], reading.spans.get(span_outcome, 0))
    yield spans


def _compactions(reading: Reading) -> Iterator[Metric]:
    made = _counter("compactions", "Attempts to put a summary in the place of older entries.", "outcome")
    for outcome in CompactionOutcome:
        made.add_metric([outcome], reading.compactions[outcome])
    yield made
    failures = _counter("compaction_part_failures", "Who takes part in compactions and failed.", "when")
    for when, count in reading.compaction_failures.items():
        failures.add_metric([when], count)
    yield failures


def _storage(reading: Reading) -> Iterator[Metric]:
    tallies = reading.tallies
    storage = reading.storage
    parts = _gauge("storage_bytes", "Bytes on disk.", "part")
    for part in ("live", "main", "wal", "free", "blobs", "segments"):
        parts.add_metric([part], getattr(storage, part))
    yield parts
    yield from _disk(reading.disk)
    yield _single("blobs", "Large texts and skills, each stored once.", tallies.blobs)
    yield _single("blob_bytes", "Bytes of large texts and skills.", tallies.blob_bytes)
    yield _single(
        "blob_references",
        "References of sessions to large texts, of snapshots to skills.",
        tallies.references,
    )
    yield _single("snapshots", "Sets of skills that sessions have.", tallies.snapshots)
    approvals = _gauge("approvals", "Calls that a person was asked about, by state.", "state")
    for approval_state, count in tallies.approvals.items():
        approvals.add_metric([approval_state], count)
    yield approvals
    outbox = _gauge("outbox", "What is to be sent to webhooks, by state.", "state")
    for delivery_state, count in tallies.outbox.items():
        outbox.add_metric([delivery_state], count)
    yield outbox
    dropped = _counter("outbox_refused", "What was to be sent to webhooks and found no room.")
    dropped.add_metric([], tallies.outbox_refused)
    yield dropped
    yield _single("facts", "What agents remember.", sum(count for count, _ in tallies.facts.values()))
    yield _single(
        "fact_bytes", "Bytes of what agents remember.", sum(size for _, size in tallies.facts.values())
    )
    yield from _backups(reading)
    yield _single("receipts", "Idempotency keys of the last 24 hours.", tallies.receipts)


def _disk(disk: Disk | None) -> Iterator[Metric]:
    """Tell of the budget; without one it is infinite."""
    limit = disk.marks.limit if disk else math.inf
    yield _single("storage_budget_bytes", "What the state may take on disk, in live bytes.", limit)
    yield _single("disk_free_bytes", "What is left on the disk.", disk.free_bytes if disk else math.nan)
    held = disk.held_bytes if disk else 0
    yield _single(
        "disk_reserve_bytes", "What is kept back for deleting on a full disk; 0 while it is out.", held
    )
    evicted = _counter("sessions_evicted", "Sessions that have gone to make room since the start.", "group")
    for group in Group:
        evicted.add_metric([group.label], disk.evicted[group] if disk else 0)
    yield evicted


def _backups(reading: Reading) -> Iterator[Metric]:
    """Tell of the nightly ones; NaN where there was none yet."""
    family = _counter("backups", "Nightly backups since the start.", "outcome")
    for outcome in OUTCOMES:
        family.add_metric([outcome], reading.backups.get(outcome, 0))
    yield family
    last = reading.last_backup if reading.last_backup and reading.last_backup.file else None
    text = "The last verified nightly backup"
    yield _single("backup_timestamp_seconds", f"{text}: when.", last.at / 1_000 if last else math.nan)
    yield _single("backup_bytes", f"{text}: its size.", last.bytes if last else math.nan)
    yield _single("backup_seconds", f"{text}: how long it took.", last.took_ms / 1_000 if last else math.nan)


def _process(reading: Reading) -> Iterator[Metric]:
    yield _single("rss_bytes", "Resident memory.", reading.rss_bytes)
    yield _single(
        "rss_slope_bytes_per_hour", "Trend of resident memory; NaN while unknown.", reading.rss_slope
    )
    for name, text in SAMPLED.items():
        yield _single(name, text, reading.sampled.get(name, math.nan))
    yield from _levels(reading)
    yield _single("uptime_seconds", "Time since the start.", reading.uptime_s)
    yield _single("boots", "Starts of the gateway on this state folder.", reading.boots)


def _levels(reading: Reading) -> Iterator[Metric]:
    ranks, words = (
        {reason: level.rank for reason, level in reading.levels.items()},
        "0 normal, 1 tight, 2 critical",
    )
    yield _single("memory_level", f"How short memory is: {words}.", ranks[Reason.MEMORY])
    yield _single("disk_level", f"How short the disk budget is: {words}.", ranks[Reason.DISK])
    yield _single("spend_level", f"How short the spend of the day is: {words}.", ranks[Reason.SPEND])
    yield _single(
        "memory_limit_bytes", "How much anonymous memory the gateway may have.", reading.memory_limit
    )
    changes = _counter("level_changes", "Changes of levels since the start.", "reason", "level")
    for reason, level in product(Reason, Level):
        changes.add_metric([reason, level], reading.level_changes.get((reason, level), 0))
    yield changes


def _bounds(reading: Reading) -> Iterator[Metric]:
    entries = _gauge("container_entries", "How full each bounded container is.", "name")
    limits = _gauge("container_limit", "How much each bounded container may hold.", "name")
    for gauge in reading.containers:
        entries.add_metric([gauge.name], gauge.entries)
        limits.add_metric([gauge.name], gauge.limit)
    yield entries
    yield limits
    caches = _gauge("cache_bytes", "Bytes held by each cache.", "cache")
    for gauge in reading.containers:
        if gauge.is_bytes:
            caches.add_metric([gauge.name], gauge.entries)
    yield caches
    refused = _counter("refused", "Requests refused for a bound.", "reason")
    for reason, count in reading.refused.items():
        refused.add_metric([reason], count)
    yield refused
    dropped = _counter("dropped_lines", "Lines of the log that nobody took.")
    dropped.add_metric([], reading.dropped_lines)
    yield dropped
    faults = _counter("faults", "What failed and was put aside since the start.", "part")
    for part in Area:
        faults.add_metric([part], reading.faults[part])
    yield faults


def _times(reading: Reading) -> Iterator[Metric]:
    for name, text in HISTOGRAMS.items():
        family = HistogramMetricFamily(f"tidegate_{name}", text)
        family.add_metric([], *_cumulative(reading.histograms[name]))
        yield family
    runs = HistogramMetricFamily(
        "tidegate_run_seconds", "Time from the claim of a run to its end.", labels=("lane", "outcome")
    )
    for (lane, outcome), histogram in reading.run_seconds.items():
        runs.add_metric([lane, outcome], *_cumulative(histogram))
    yield runs


def _cumulative(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True)), histogram.sum


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"tidegate_{name}", text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"tidegate_{name}", text, labels=labels)


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    family = _gauge(name, text)
    family.add_metric([], value)
    return family
