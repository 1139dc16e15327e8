"""What one scrape tells, as plain data."""

from collections.abc import Mapping, Sequence

import msgspec

from tidegate.bounded import Gauge
from tidegate.domain.compaction import CompactionOutcome
from tidegate.domain.event import EventName
from tidegate.domain.job import FiringOutcome
from tidegate.domain.level import Level
from tidegate.domain.run import Lane
from tidegate.domain.session import Outcome
from tidegate.faults import Area
from tidegate.histogram import Histogram
from tidegate.runtime.alerts import Alerts
from tidegate.runtime.disk import Disk
from tidegate.runtime.guard import Reason
from tidegate.runtime.hook_thread import CallOutcome
from tidegate.runtime.nightly import Last
from tidegate.runtime.spend import Spend
from tidegate.runtime.watch import SpanOutcome
from tidegate.store.tally import StorageBytes, Tallies
from tidegate.store.tx import Transition


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one scrape tells."""

    tallies: Tallies
    transitions: Mapping[Transition, int]
    storage: StorageBytes
    disk: Disk
    overdue: int
    orphans: Mapping[str, int]
    rss_bytes: int
    #: series of the last sample, by their names
    sampled: Mapping[str, int]
    #: bytes an hour, NaN while unknown
    rss_slope: float
    spend: Spend
    alerts: Alerts
    uptime_s: int
    boots: int
    containers: Sequence[Gauge]
    refused: Mapping[str, int]
    #: of the log and of what is printed
    dropped_lines: int
    #: since the start, by where they were met
    faults: Mapping[Area, int]
    levels: Mapping[Reason, Level]
    level_changes: Mapping[tuple[Reason, Level], int]
    memory_limit: float
    firings: Mapping[FiringOutcome, int]
    compactions: Mapping[CompactionOutcome, int]
    #: of those who take part: ``before`` and ``after``
    compaction_failures: Mapping[str, int]
    hook_calls: Mapping[tuple[EventName, CallOutcome], int]
    spans: Mapping[SpanOutcome, int]
    #: by name: seconds
    histograms: Mapping[str, Histogram]
    run_seconds: Mapping[tuple[Lane, Outcome], Histogram]
    #: nightly ones since the start, by outcome
    backups: Mapping[str, int]
    last_backup: Last | None
