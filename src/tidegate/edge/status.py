"""How the gateway is, in one look: what people see on the page and in ``tidegate status``."""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidegate import __version__
from tidegate.agent.window import Windows
from tidegate.bounded import Registry
from tidegate.clock import Clock
from tidegate.domain.session import Kind, PolicyName, State
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.errors import Corrupt
from tidegate.faults import Faults
from tidegate.histogram import Histogram
from tidegate.runtime import process
from tidegate.runtime.alerts import Alerts
from tidegate.runtime.compaction import Compactor
from tidegate.runtime.disk import Disk
from tidegate.runtime.dispatcher import Dispatcher
from tidegate.runtime.growth import Growth
from tidegate.runtime.guard import Guard
from tidegate.runtime.nightly import Nightly
from tidegate.runtime.orphans import Orphans
from tidegate.runtime.pressure import Pressure
from tidegate.runtime.spend import Spend
from tidegate.runtime.sweeper import Sweeper
from tidegate.runtime.watch import SpanOutcome
from tidegate.store.port import Store
from tidegate.store.tally import Tallies


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while the gateway runs."""

    id: str
    url: str
    model: str
    started_at: int
    boots: int


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a gateway that are worth a look, for the status and for metrics."""

    instance: Instance
    clock: Clock
    registry: Registry
    faults: Faults
    store: Store
    guard: Guard
    sweeper: Sweeper
    orphans: Orphans
    disk: Disk
    pressure: Pressure
    nightly: Nightly
    growth: Growth
    spend: Spend
    alerts: Alerts
    windows: Windows
    compactor: Compactor
    dispatcher: Dispatcher
    #: of telemetry, by what became of them; nothing where it is off
    spans: Mapping[SpanOutcome, int]
    #: how long commits took
    commit_seconds: Histogram

    @property
    def uptime_s(self) -> int:
        """How long the gateway has been up."""
        return (self.clock.now() - self.instance.started_at) // 1_000


class Status:
    """Reads the parts that are worth a look."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def read(self) -> dict[str, object]:
        """Return the whole status."""
        parts, tallies = self._parts, self._parts.store.tallies()
        return {
            "version": __version__,
            "instance": parts.instance.id,
            "url": parts.instance.url,
            "uptime_s": parts.uptime_s,
            "boots": parts.instance.boots,
            "model": parts.instance.model,
            "learnt_windows": parts.windows.report(),
            "rss_bytes": process.memory().rss,
            "sessions": sessions_by_kind(tallies),
            "session_bytes": bytes_by_kind(tallies),
            "jobs": jobs_by_state(tallies),
            "storage": await parts.store.storage(),
            "disk": {**parts.disk.report(), "trend": parts.growth.told("live_bytes")},
            "orphans": await parts.orphans.count(),
            "overdue": await parts.sweeper.overdue(),
            "outbox": outbox(tallies),
            "holds_deletes": parts.sweeper.holds_deletes,
            "faults": parts.faults.report(),
            "containers": {
                gauge.name: {"entries": gauge.entries, "limit": gauge.limit} for gauge in parts.registry
            },
            "shares_reads": self._shares_reads(),
            "backup": parts.nightly.report(),
            "trend": parts.growth.told(parts.growth.overall),
            "spend": parts.spend.report(),
            "alerts": parts.alerts.report(),
            "pressure": parts.pressure.report(),
            "level": parts.pressure.step.level,
        }

    def _shares_reads(self) -> bool | None:
        """Whether two reads of a session give the very same object; None where there is none that can be read."""
        store = self._parts.store
        key = store.newest_key()
        try:
            return None if key is None else store.session(key) is store.session(key)
        except Corrupt:
            return None

    async def show(self, _: Request) -> Response:
        """Answer the status."""
        return Json(await self.read())

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [Endpoint(method="GET", path="/api/status", handler=self.show, summary="How the gateway is")]


def outbox(tallies: Tallies) -> dict[str, int]:
    """Return how many deliveries are in each state, and how many found no room."""
    counts = {state.value: count for state, count in tallies.outbox.items()}
    return counts | {"refused": tallies.outbox_refused}


def sessions_by_kind(tallies: Tallies) -> dict[str, dict[str, int]]:
    """Return how many sessions of each kind are in each state, every one present."""
    return _by_kind(tallies, 0)


def bytes_by_kind(tallies: Tallies) -> dict[str, dict[str, int]]:
    """Return how many bytes the sessions of each kind have in each state."""
    return _by_kind(tallies, 1)


def jobs_by_state(tallies: Tallies) -> dict[str, int]:
    """Return how many jobs run and how many are paused."""
    return {"active": sum(tallies.jobs.values()), "paused": sum(tallies.paused_jobs.values())}


def _by_kind(tallies: Tallies, index: int) -> dict[str, dict[str, int]]:
    found = {kind.value: {state.value: 0 for state in State} for kind in Kind}
    for name in PolicyName:
        for state in State:
            found[name.kind][state] += tallies.sessions[name, state][index]
    return found
