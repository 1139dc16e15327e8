"""Builds the gateway once, in one exit stack, and takes it down in one order.

Stop order: the door closes, the runner claims nothing more, what runs gets its time to end, streams are told, the
server and the sweeper end, the store closes. Whatever that misses, the next start finds in the store: restart is
recovery.
"""

import asyncio
import gc
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from tidegate import certificate, folder, log
from tidegate.clock import Clock, SystemClock
from tidegate.config import Config
from tidegate.config.tree import OFFLINE
from tidegate.domain.alert import Owner
from tidegate.edge.answers import Answers
from tidegate.edge.approvals import Approvals
from tidegate.edge.blobs import Blobs
from tidegate.edge.bodies import Bodies
from tidegate.edge.connections import Connections, Room
from tidegate.edge.conversations import ConversationPage
from tidegate.edge.endpoint import Handler
from tidegate.edge.growth import GrowthPage
from tidegate.edge.hooks import HookDoor
from tidegate.edge.jobs import Jobs
from tidegate.edge.live import Live
from tidegate.edge.logs import Logs
from tidegate.edge.memory import MemoryPage
from tidegate.edge.metrics import Metrics
from tidegate.edge.openai import OpenAI
from tidegate.edge.outbox import OutboxPage
from tidegate.edge.peers import Door
from tidegate.edge.protocol import Bounds
from tidegate.edge.runs import Runs
from tidegate.edge.seldom import Seldom
from tidegate.edge.server import Health, Server, application, server
from tidegate.edge.sessions import Sessions
from tidegate.edge.shutdown import Shutdown
from tidegate.edge.skills import SkillList
from tidegate.edge.status import Instance, Parts, Status
from tidegate.edge.sweep import Sweep
from tidegate.edge.week import WeekPage
from tidegate.engine import Engine, engine
from tidegate.errors import StoreBroken, Unavailable
from tidegate.faults import Area, Service, is_of_the_store, words
from tidegate.folder import Card
from tidegate.ids import ulid
from tidegate.runtime import descriptors
from tidegate.runtime.alarms import Alarms, Instruments
from tidegate.runtime.alerts import Alerts
from tidegate.runtime.growth import Growth, limited
from tidegate.runtime.nightly import Nightly
from tidegate.runtime.orphans import Orphans
from tidegate.runtime.pressure import Pressure
from tidegate.runtime.week import Weeks
from tidegate.supervisor import ALIVE, READY, STOPPING, Supervisor
from tidegate.toolset import check_workspaces

LAG_EVERY_S = 1.0
PLACE_EVERY_S = 1.0
BROKEN_S = 3.0  # for the last answers of a gateway whose store is broken
# Served on every address, a gateway is found on this one from its own machine.
NEARBY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound to by default

_log = log.get("app")


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a gateway that is up."""

    instance: Instance
    token: str
    inside: Engine
    nightly: Nightly
    growth: Growth
    pressure: Pressure
    alerts: Alerts
    #: the long-lived loops, started again should one of them end; the runner is beside them, since it is let finish
    services: Sequence[Service]
    health: Health
    shutdown: Shutdown
    metrics: Metrics
    server: Server

    @property
    def loops(self) -> Sequence[Service]:
        """Every long-lived loop: the services, and the runner."""
        return [*self.services, Service(Area.RUNNER, self.inside.runner.serve)]


async def serve(
    config: Config, state: Path, config_path: Path | None, announce: Callable[[Gateway], None]
) -> None:
    """Run a gateway until it is told to stop, by SIGTERM or SIGINT; a second signal ends the process at once.

    Raises:
        FolderHeld, ConfigError, StorageFailed, Unavailable: It cannot start or go on; in an exception group if
            several parts fail at once.
    """
    started = SystemClock().monotonic()
    listener = listen(config.gateway.host, config.gateway.port)
    with listener:
        async with gateway(config, state, listener, SystemClock()) as built, asyncio.TaskGroup() as tasks:
            stop = built.shutdown.wanted
            _stop_on_signals(stop)
            faults = built.inside.faults
            serving = tasks.create_task(built.server.serve(sockets=[listener]))
            services = [
                *(tasks.create_task(_at_work(built.inside, faults.keep(one))) for one in built.services),
                tasks.create_task(_watch_place(built.inside)),
                tasks.create_task(_until_broken(built, serving)),
            ]
            running = tasks.create_task(_at_work(built.inside, built.inside.runner.serve()))
            await built.server.until_started()
            built.health.is_ready = True
            await built.inside.store.remember("started_in_ms", str(SystemClock().monotonic() - started))
            folder.leave_card(state, _card(built, config_path))
            gc.freeze()  # what is here stays to the end; the collector would hold everybody up to look at it again
            announce(built)
            supervisor = Supervisor()
            supervisor.tell(READY)
            life = Service(Area.LIFE, partial(_show_life, supervisor))
            if supervisor.patience_s:
                services.append(tasks.create_task(faults.keep(life)))
            await stop.wait()
            supervisor.tell(STOPPING)
            await _drain(built, running)
            built.server.should_exit = True
            await serving
            for service in services:
                service.cancel()


async def rehearse(config: Config, state: Path) -> None:
    """Build all that `serve` builds, on a folder that is empty and goes afterwards; nothing is served.

    *state* is the folder that it is meant for.

    Raises:
        ConfigError, StorageFailed, Unavailable: It could not start.
    """
    check_workspaces(config, state)
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-check-") as made,
        listen(config.gateway.host, 0) as listener,
    ):
        async with gateway(config, Path(made), listener, SystemClock()):
            pass


@asynccontextmanager
async def gateway(
    config: Config, state: Path, listener: socket.socket, clock: Clock
) -> AsyncIterator[Gateway]:
    """Build every part of a gateway on a state folder, and take them down in reverse."""
    async with engine(config, state, clock) as inside:
        store, sweeper, registry = inside.store, inside.sweeper, inside.registry
        instance = await _instance(inside, listener)
        inside.held.describe(f"{instance.url}, process {os.getpid()}, instance {instance.id}")
        nightly = Nightly(store, clock, config.backup, inside.faults)
        pressure = inside.pressure
        limits = {"live_bytes": inside.disk.marks.limit, limited(): pressure.limit_bytes}
        growth = Growth(store, registry, clock, instance.boots, inside.faults, limits)
        weeks, orphans = Weeks(growth, store, clock), Orphans(store)
        alerts = _alerts(inside, nightly, growth, weeks, orphans)
        parts = Parts(
            instance=instance,
            clock=clock,
            registry=registry,
            faults=inside.faults,
            store=store,
            guard=inside.guard,
            sweeper=sweeper,
            orphans=orphans,
            disk=inside.disk,
            pressure=pressure,
            nightly=nightly,
            growth=growth,
            spend=inside.spend,
            alerts=alerts,
            windows=inside.windows,
            compactor=inside.runner.compactor,
            dispatcher=inside.dispatcher,
            spans=inside.spans,
            commit_seconds=store.writer.seconds,
        )
        status, metrics = Status(parts), Metrics(parts)
        store.listen(metrics.on_commit)
        await store.recover()
        await store.cancel_unattended()
        health, shutdown = Health(inside.faults), Shutdown()
        token = folder.token(state)
        store.redaction.add(token)
        pages = (
            health,
            Sessions(store, inside.intake, inside.runner, inside.agents),
            ConversationPage(store, inside.conversations),
            Runs(store, inside.runner),
            Approvals(store),
            Jobs(store, inside.intake, inside.jobs),
            HookDoor(inside.hooks, clock, registry, behind_proxy=config.gateway.trusted_proxy),
            OutboxPage(store),
            MemoryPage(store, inside.memory, inside.agents, clock),
            Blobs(store),
            Sweep(sweeper),
            shutdown,
            Logs(registry),
            SkillList(inside.skills, inside.agents),
            Live(store, inside.bus),
            OpenAI(inside.intake, inside.agents, instance.started_at),
            status,
            metrics,
            GrowthPage(growth, instance.boots),
            WeekPage(weeks),
            Seldom(partial(_explain, inside, growth, health), partial(_forecast, inside, growth, pressure)),
        )
        bounds = _bounds(inside, pressure, metrics)
        app = application(
            [endpoint for page in pages for endpoint in page.endpoints()],
            door=Door(token, clock, registry, behind_proxy=config.gateway.trusted_proxy),
            hosts=[*config.gateway.allowed_hosts, *({config.gateway.host} - NEARBY.keys())],
            bodies=bounds.bodies,
            count_refusal=metrics.count_refusal,
            redaction=store.redaction,
            faults=inside.faults,
        )
        try:
            yield Gateway(
                instance=instance,
                token=token,
                inside=inside,
                nightly=nightly,
                growth=growth,
                pressure=pressure,
                alerts=alerts,
                services=_services(inside, nightly, growth, pressure, alerts, metrics),
                health=health,
                shutdown=shutdown,
                metrics=metrics,
                server=server(app, bounds, tls=_tls(config)),
            )
        finally:
            folder.take_card(state)
            await growth.close()


def _services(  # noqa: PLR0913, PLR0917 - the parts that have a loop
    inside: Engine, nightly: Nightly, growth: Growth, pressure: Pressure, alerts: Alerts, metrics: Metrics
) -> Sequence[Service]:
    """Return the loops that there is something to do for."""
    always = [
        Service(Area.SWEEP, inside.sweeper.serve),
        Service(Area.DISK, inside.disk.serve),
        Service(Area.JOBS, inside.cron.serve),
        Service(Area.SKILLS, inside.skills.serve),
        Service(Area.SPEND, inside.spend.serve),
        Service(Area.GROWTH, growth.serve),
        Service(Area.PRESSURE, pressure.serve),
        Service(Area.ALERTS, alerts.serve),
        Service(Area.LAG, partial(_watch_lag, metrics, growth)),
    ]
    wanted = [
        (inside.postman.is_wanted, Service(Area.OUTBOX, inside.postman.serve)),
        (inside.memory.is_wanted, Service(Area.MEMORY, inside.memory.serve)),
        (inside.dispatcher.is_wanted, Service(Area.HOOKS, inside.dispatcher.serve)),
        (nightly.is_wanted, Service(Area.BACKUP, nightly.serve)),
    ]
    return [*always, *(service for is_wanted, service in wanted if is_wanted)]


def _explain(inside: Engine, growth: Growth, health: Health) -> Handler:
    from tidegate.edge.explanation import Explanations  # noqa: PLC0415 - see `edge.seldom`
    from tidegate.runtime.explainer import Explainer  # noqa: PLC0415

    store = inside.store
    explainer = Explainer(growth, store, inside.registry, store.writer.policies, inside.clock)
    return Explanations(explainer, lambda: health.is_ready).show


def _forecast(inside: Engine, growth: Growth, pressure: Pressure) -> Handler:
    from tidegate.domain.forecast import Limits  # noqa: PLC0415 - see `edge.seldom`
    from tidegate.edge.forecast import ForecastPage  # noqa: PLC0415
    from tidegate.runtime.forecast import Forecaster  # noqa: PLC0415

    limits = Limits(disk_bytes=inside.disk.marks.limit, memory_bytes=pressure.limit_bytes)
    return ForecastPage(Forecaster(inside.store, growth, inside.config, limits, inside.clock)).show


def listen(host: str, port: int) -> socket.socket:
    """Take the address that the gateway is served at.

    Raises:
        Unavailable: It is taken, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        hint = "another gateway may be up: `tidegate status`; or take another port with --port"
        raise Unavailable(f"{host}:{port} cannot be served: {error.strerror}", hint=hint) from error
    return listener


async def _instance(inside: Engine, listener: socket.socket) -> Instance:
    config, store, clock = inside.config, inside.store, inside.clock
    boots = int(store.meta("boots") or "0") + 1
    await store.remember("boots", str(boots))
    host, port = listener.getsockname()[:2]
    host = NEARBY.get(host, host)
    scheme = "https" if _tls(config) else "http"
    model = next(iter(inside.agents.values())).model.name
    return Instance(
        id=ulid(clock.now()),
        url=f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}",
        model="offline, not an LLM" if model == OFFLINE else model,
        started_at=clock.now(),
        boots=boots,
    )


def _bounds(inside: Engine, pressure: Pressure, metrics: Metrics) -> Bounds:
    room = Room.of(descriptors.shares(descriptors.raise_limit()).connections)
    connections = Connections(room, inside.registry, metrics.count_refusal, pressure.crowd_gone)
    bodies = Bodies(pressure.limit_bytes, inside.guard, inside.registry, pressure.long_gone)
    return Bounds(
        connections=connections,
        bodies=bodies,
        answers=Answers(pressure.limit_bytes, inside.registry, metrics.count_refusal),
        behind_proxy=inside.config.gateway.trusted_proxy,
    )


def _alerts(inside: Engine, nightly: Nightly, growth: Growth, weeks: Weeks, orphans: Orphans) -> Alerts:
    """Build what tells the owner."""
    instruments = Instruments(
        guard=inside.guard,
        spend=inside.spend,
        growth=growth,
        nightly=nightly,
        registry=inside.registry,
        clock=inside.clock,
        overdue=inside.sweeper.overdue,
        orphans=orphans.count,
        faults=inside.faults,
    )
    settings = inside.config.alerts
    owner = Owner(webhook=settings.webhook, chat=settings.chat, agent=next(iter(inside.config.agents)))
    alarms, weekly = Alarms(instruments), weeks.line if settings.weekly else None
    alerts = Alerts(inside.store, alarms, owner, inside.clock, inside.registry, inside.faults, weekly=weekly)
    inside.guard.listen(alerts.ring)
    return alerts


def _tls(config: Config) -> tuple[str, str] | None:
    cert, key = config.gateway.tls_cert, config.gateway.tls_key
    return (str(cert), str(key)) if cert and key else None


def _card(built: Gateway, config_path: Path | None) -> Card:
    tls = _tls(built.inside.config)
    return Card(
        certificate=certificate.own(Path(tls[0])) if tls else None,
        url=built.instance.url,
        instance=built.instance.id,
        config=str(config_path) if config_path else None,
        pid=os.getpid(),
    )


def _stop_on_signals(stop: asyncio.Event) -> None:
    """Let the first signal set *stop*; the second one ends the process as a crash would, losing nothing."""

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)


async def _drain(built: Gateway, running: asyncio.Task[None]) -> None:
    """Close the door and give what runs its time to end; what does not goes on after the next start."""
    _log.info("stopping", running=built.inside.runner.running)
    _close_door(built)
    await asyncio.wait([running], timeout=built.inside.config.gateway.drain_ms / 1_000)
    running.cancel()
    built.inside.bus.close()


async def _until_broken(built: Gateway, serving: asyncio.Task[None]) -> None:
    """Take the gateway down when the store can acknowledge nothing more; whoever waits for an answer is told first."""
    try:
        await built.inside.broken
    except StoreBroken as error:
        _log.critical("store_broken", error=str(error))
        _close_door(built)
        built.inside.bus.close()
        built.server.should_exit = True
        await asyncio.wait([serving], timeout=BROKEN_S)
        raise


async def _at_work(inside: Engine, work: Awaitable[None]) -> None:
    """Do a part's work; that the store is broken, which each of them meets, is for `_until_broken` alone."""
    try:
        await work
    except Exception as error:
        if not is_of_the_store(error):
            raise
        if not inside.broken.done():
            inside.broken.set_exception(StoreBroken(words(error)))


def _close_door(built: Gateway) -> None:
    built.health.is_ready = False
    built.inside.intake.close()
    built.inside.runner.stop()


async def _show_life(supervisor: Supervisor) -> None:
    """Let the loop itself say that it turns, for as long as somebody wants to hear it."""
    while supervisor.patience_s:
        supervisor.tell(ALIVE)
        await asyncio.sleep(supervisor.patience_s / 3)


async def _watch_place(inside: Engine) -> None:
    """Say that the store is broken when its file is no longer where the next start will look for it."""
    while not inside.broken.done():
        await asyncio.sleep(PLACE_EVERY_S)
        try:
            inside.store.check_place()
        except StoreBroken as error:
            if not inside.broken.done():
                inside.broken.set_exception(error)
        except OSError as error:  # which passes, or is met by whoever writes
            _log.warning("store_not_seen", error=str(error))


async def _watch_lag(metrics: Metrics, growth: Growth) -> None:
    """Measure how late the loop wakes."""
    loop = asyncio.get_running_loop()
    while True:
        wakes_at = loop.time() + LAG_EVERY_S
        await asyncio.sleep(LAG_EVERY_S)
        late_s = max(0.0, loop.time() - wakes_at)
        metrics.loop_lag_seconds.observe(late_s)
        growth.sampler.note_lag(late_s)
