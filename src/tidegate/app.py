"""Builds the gateway once, in one exit stack, and takes it down in one order.

Stop order: the door closes, the runner claims nothing more, what runs gets its time to end, streams are told, the
server and the sweeper end, the store closes. Whatever that misses, the next start finds in the store: restart is
recovery.
"""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import msgspec

from tidegate import folder, log
from tidegate.agent.loop import Agent
from tidegate.agent.model import Model
from tidegate.agent.offline import OfflineModel, offline_tools
from tidegate.agent.prompt import BYTES_PER_TOKEN
from tidegate.agent.remote import RemoteModel
from tidegate.agent.tools import Tool, ToolBox
from tidegate.bounded import Registry
from tidegate.clock import Clock, SystemClock
from tidegate.config import Config
from tidegate.config.tree import Agent as AgentConfig
from tidegate.domain import policy
from tidegate.domain.budget import Budget
from tidegate.edge.blobs import Blobs
from tidegate.edge.live import Live
from tidegate.edge.metrics import Metrics
from tidegate.edge.openai import OpenAI
from tidegate.edge.runs import Runs
from tidegate.edge.server import Health, Server, application, server
from tidegate.edge.sessions import Sessions
from tidegate.edge.status import Instance, Status
from tidegate.edge.sweep import Sweep
from tidegate.errors import ConfigError, StorageFailed, Unavailable
from tidegate.folder import Card
from tidegate.ids import ulid
from tidegate.runtime.bus import Bus
from tidegate.runtime.intake import Intake
from tidegate.runtime.lanes import Lane
from tidegate.runtime.runner import Runner
from tidegate.runtime.sweeper import Sweeper
from tidegate.store import lock
from tidegate.store.sqlite import SqliteStore
from tidegate.supervisor import ALIVE, READY, STOPPING, Supervisor

LAG_EVERY_S = 1.0
# Served on every address, a gateway is found on this one from its own machine.
NEARBY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound to by default

_log = log.get("app")


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a gateway that is up."""

    instance: Instance
    token: str
    config: Config
    store: SqliteStore
    bus: Bus
    intake: Intake
    runner: Runner
    sweeper: Sweeper
    health: Health
    metrics: Metrics
    server: Server
    broken: "asyncio.Future[None]"


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
            stop = _stop_signal()
            services = [
                tasks.create_task(built.sweeper.serve()),
                tasks.create_task(_watch_lag(built.metrics)),
                tasks.create_task(_until_broken(built.broken)),
            ]
            running = tasks.create_task(built.runner.serve())
            serving = tasks.create_task(built.server.serve(sockets=[listener]))
            await built.server.until_started()
            built.health.is_ready = True
            await built.store.remember("started_in_ms", str(SystemClock().monotonic() - started))
            folder.leave_card(state, _card(built, config_path))
            announce(built)
            supervisor = Supervisor()
            supervisor.tell(READY)
            services.append(tasks.create_task(_show_life(supervisor)))
            await stop.wait()
            supervisor.tell(STOPPING)
            await _drain(built, running)
            built.server.should_exit = True
            await serving
            for service in services:
                service.cancel()


@asynccontextmanager
async def gateway(
    config: Config, state: Path, listener: socket.socket, clock: Clock
) -> AsyncIterator[Gateway]:
    """Build every part of a gateway on a state folder, and take them down in reverse."""
    async with AsyncExitStack() as stack:
        folder.prepare(state)
        held = lock.hold(state)
        stack.callback(held.release)
        stack.callback(folder.take_card, state)
        registry = Registry()
        policies = policy.policies(config.lifecycle)
        store = await SqliteStore.open(state, clock, policies, registry)
        stack.push_async_callback(store.close)
        models = _models(config)
        for model in models.values():
            if isinstance(model, RemoteModel):
                stack.push_async_callback(model.aclose)
        agents = {name: _agent(name, agent, config, models) for name, agent in config.agents.items()}
        instance = await _instance(config, store, listener, clock)
        held.describe(f"{instance.url}, process {os.getpid()}, instance {instance.id}")
        bus = Bus(registry)
        intake = Intake(store, bus, max_queued=config.runs.queue, max_open=config.runs.session_queue)
        sweeper = Sweeper(store, clock, policies, config.sweep.interval_ms)
        lane = Lane(config.runs.slots)
        registry.add("running", lambda: lane.taken, lane.slots)
        runner = Runner(store, bus, agents, lane, clock)
        status = Status(store, sweeper, registry, instance, clock)
        metrics = Metrics(store, sweeper, status, registry)
        for listening in (runner.on_commit, sweeper.on_commit, metrics.on_commit, bus.on_commit):
            store.listen(listening)
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        store.writer.on_broken = lambda error: None if broken.done() else broken.set_exception(error)
        store.writer.on_commit = lambda seconds, _count: metrics.commit_seconds.observe(seconds)
        sweeper.on_sweep = metrics.sweep_seconds.observe
        await store.recover()
        health = Health()
        token = folder.token(state)
        parts = (
            health,
            Sessions(store, intake, agents),
            Runs(store, intake),
            Blobs(store),
            Sweep(sweeper),
            Live(store, bus),
            OpenAI(intake, agents, instance.started_at),
            status,
            metrics,
        )
        app = application(
            [endpoint for part in parts for endpoint in part.endpoints()],
            token=token,
            hosts=[*config.gateway.allowed_hosts, *({config.gateway.host} - NEARBY.keys())],
            count_refusal=metrics.count_refusal,
        )
        yield Gateway(
            instance=instance,
            token=token,
            config=config,
            store=store,
            bus=bus,
            intake=intake,
            runner=runner,
            sweeper=sweeper,
            health=health,
            metrics=metrics,
            server=server(app, tls=_tls(config)),
            broken=broken,
        )


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


async def _instance(config: Config, store: SqliteStore, listener: socket.socket, clock: Clock) -> Instance:
    boots = int(store.meta("boots") or "0") + 1
    await store.remember("boots", str(boots))
    host, port = listener.getsockname()[:2]
    host = NEARBY.get(host, host)
    scheme = "https" if _tls(config) else "http"
    is_offline = config.model.provider == "offline"
    return Instance(
        id=ulid(clock.now()),
        url=f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}",
        model="offline, not an LLM" if is_offline else config.model.name,
        started_at=clock.now(),
        boots=boots,
    )


def _models(config: Config) -> Mapping[str, Model]:
    """Build each model that some agent names, once."""
    model = config.model
    if model.provider == "offline":
        return {model.name: OfflineModel()}
    if find_spec("pydantic_ai") is None:
        raise ConfigError("[model] needs what is not installed", hint='pip install "tidegate[models]"')
    key = model.api_key() or ""
    names = {model.name} | {agent.model for agent in config.agents.values() if agent.model}
    return {
        name: RemoteModel(name, base_url=model.base_url, api_key=key, timeout_s=model.timeout_ms / 1_000)
        for name in names
    }


def _agent(name: str, agent: AgentConfig, config: Config, models: Mapping[str, Model]) -> Agent:
    model = models.get(agent.model or config.model.name) or next(iter(models.values()))
    return Agent(
        name=name,
        model=model,
        instructions=agent.instructions,
        tools=ToolBox(_tools(name, agent, offline_tools() if isinstance(model, OfflineModel) else [])),
        budget=Budget(
            max_steps=agent.max_steps, max_tokens=agent.max_tokens, max_runtime_ms=agent.max_time_ms
        ),
        max_prompt_bytes=(config.model.context_window - config.model.reserve) * BYTES_PER_TOKEN,
    )


def _tools(name: str, agent: AgentConfig, tools: list[Tool]) -> list[Tool]:
    if agent.tools is None:
        return tools
    known = {tool.spec.name for tool in tools}
    unknown = next((tool for tool in agent.tools if tool not in known), None)
    if unknown is not None:
        raise ConfigError(
            f"[agents.{name}] tools: there is no tool {unknown!r}",
            hint=f"there is: {', '.join(sorted(known)) or 'none with this model'}",
        )
    return [tool for tool in tools if tool.spec.name in agent.tools]


def _tls(config: Config) -> tuple[str, str] | None:
    cert, key = config.gateway.tls_cert, config.gateway.tls_key
    return (str(cert), str(key)) if cert and key else None


def _card(built: Gateway, config_path: Path | None) -> Card:
    return Card(
        url=built.instance.url,
        instance=built.instance.id,
        config=str(config_path) if config_path else None,
        pid=os.getpid(),
    )


def _stop_signal() -> asyncio.Event:
    """Return what the first signal sets; the second one ends the process as a crash would, losing nothing."""
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    return stop


async def _drain(built: Gateway, running: asyncio.Task[None]) -> None:
    """Close the door and give what runs its time to end; what does not goes on after the next start."""
    _log.info("stopping", running=built.runner.lane.taken)
    built.health.is_ready = False
    built.intake.close()
    built.runner.stop()
    await asyncio.wait([running], timeout=built.config.gateway.drain_ms / 1_000)
    running.cancel()
    built.bus.close()


async def _until_broken(broken: "asyncio.Future[None]") -> None:
    """Take the gateway down when the store can acknowledge nothing more."""
    try:
        await broken
    except StorageFailed as error:
        _log.critical("storage_failed", error=str(error))
        raise


async def _show_life(supervisor: Supervisor) -> None:
    """Let the loop itself say that it turns, for as long as somebody wants to hear it."""
    while supervisor.patience_s:
        supervisor.tell(ALIVE)
        await asyncio.sleep(supervisor.patience_s / 3)


async def _watch_lag(metrics: Metrics) -> None:
    """Measure how late the loop wakes."""
    loop = asyncio.get_running_loop()
    while True:
        wakes_at = loop.time() + LAG_EVERY_S
        await asyncio.sleep(LAG_EVERY_S)
        metrics.loop_lag_seconds.observe(max(0.0, loop.time() - wakes_at))
