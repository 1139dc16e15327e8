"""How the gateway is, in one look: what people see on the page and in ``tidegate status``."""

import time
from collections.abc import Callable

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
from tidegate.runtime import process
from tidegate.runtime.alerts import Alerts
from tidegate.runtime.disk import Disk
from tidegate.runtime.growth import Growth
from tidegate.runtime.nightly import Nightly
from tidegate.runtime.pressure import Pressure
from tidegate.runtime.spend import Spend
from tidegate.runtime.sweeper import Sweeper
from tidegate.store.port import Store
from tidegate.store.tally import Tallies

AUDIT_S = 30.0  # orphans are counted at most this often,
AUDIT_SHARE = 100  # and take at most a hundredth of the time


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while the gateway runs."""

    id: str
    url: str
    model: str
    started_at: int
    boots: int


class Status:
    """Reads the parts that are worth a look."""

    def __init__(
        self, store: Store, sweeper: Sweeper, registry: Registry, instance: Instance, clock: Clock
    ) -> None:
        self.instance = instance
        #: what was put aside since the start
        self.faults = Faults(clock)
        #: where there is one
        self.nightly: Nightly | None = None
        self.growth: Growth | None = None
        self.windows: Windows | None = None
        self.spend: Spend | None = None
        self.alerts: Alerts | None = None
        self.disk: Disk | None = None
        self.pressure: Pressure | None = None
        self._store = store
        self._sweeper = sweeper
        self._registry = registry
        self._clock = clock
        self._audit = Audit(time.monotonic)

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        return process.memory().rss

    @property
    def uptime_s(self) -> int:
        """How long the gateway has been up."""
        return (self._clock.now() - self.instance.started_at) // 1_000

    async def orphans(self) -> dict[str, int]:
        """Count orphans, not more often than is sensible."""
        if self._audit.is_due:
            with self._audit:
                self._audit.found = await self._store.orphans()
        return self._audit.found

    async def read(self) -> dict[str, object]:
        """Return the whole status."""
        return {
            "version": __version__,
            "instance": self.instance.id,
            "url": self.instance.url,
            "uptime_s": self.uptime_s,
            "boots": self.instance.boots,
            "model": self.instance.model,
            "learnt_windows": self.windows.report() if self.windows else [],
            "rss_bytes": self.rss_bytes,
            "sessions": sessions_by_kind(self._store.tallies()),
            "session_bytes": bytes_by_kind(self._store.tallies()),
            "jobs": jobs_by_state(self._store.tallies()),
            "storage": await self._store.storage(),
            "disk": self._disk(),
            "orphans": await self.orphans(),
            "overdue": await self._sweeper.overdue(),
            "outbox": outbox(self._store.tallies()),
            "holds_deletes": self._sweeper.holds_deletes,
            "faults": self.faults.report(),
            "containers": {
                gauge.name: {"entries": gauge.entries, "limit": gauge.limit} for gauge in self._registry
            },
            "shares_reads": self._shares_reads(),
            "backup": self.nightly.report() if self.nightly else None,
            "trend": self.growth.told(self.growth.overall) if self.growth else None,
            "spend": self.spend.report() if self.spend else None,
            "alerts": self.alerts.report() if self.alerts else None,
            "pressure": self.pressure.report() if self.pressure else None,
            "level": self.pressure.step.level if self.pressure else None,
        }

    def _disk(self) -> dict[str, object] | None:
        trend = {"trend": self.growth.told("live_bytes") if self.growth else None}
        return {**self.disk.report(), **trend} if self.disk else None

    def _shares_reads(self) -> bool | None:
        """Whether two reads of a session give the very same object; None where there is none that can be read."""
        key = self._store.newest_key()
        try:
            return None if key is None else self._store.session(key) is self._store.session(key)
        except Corrupt:
            return None

    async def show(self, _: Request) -> Response:
        """Answer the status."""
        return Json(await self.read())

    def endpoints(self) -> list[Endpoint]:
        """Return the route of this part."""
        return [Endpoint(method="GET", path="/api/status", handler=self.show, summary="How the gateway is")]


class Audit:
    """The last count of orphans, and when the next one is worth its cost."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self.found: dict[str, int] = {}
        self._monotonic_s = monotonic_s
        self._started_s = 0.0
        self._next_s = float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether to count again."""
        return self._monotonic_s() >= self._next_s

    def __enter__(self) -> None:
        self._started_s = self._monotonic_s()
        self._next_s = self._started_s + AUDIT_S

    def __exit__(self, *_: object) -> None:
        took_s = self._monotonic_s() - self._started_s
        self._next_s = self._monotonic_s() + max(AUDIT_S, AUDIT_SHARE * took_s)


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
