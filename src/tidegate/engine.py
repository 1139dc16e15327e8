"""The inside of a gateway: store, intake, runner and sweeper on one state folder and one clock, without an edge.

The gateway serves it, the soak drives it; both run the same code. It holds the folder's lock as long as it is open.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from tidegate import folder, log, template
from tidegate.agent.loop import Agent
from tidegate.agent.skills.reach import reaches
from tidegate.agent.skills.tool import skill_tool
from tidegate.agent.window import Windows
from tidegate.agents import built
from tidegate.bounded import Registry
from tidegate.clock import Clock
from tidegate.config import Config
from tidegate.config.hidden import secrets
from tidegate.config.source import source, sources
from tidegate.domain import policy
from tidegate.domain.compaction import Compaction
from tidegate.domain.event import Audience, EventName
from tidegate.domain.run import Lane as LaneName
from tidegate.domain.spawn import SpawnLimits
from tidegate.errors import ConfigError
from tidegate.extras import how_to_install
from tidegate.faults import Faults
from tidegate.redaction import MIN_CHARS
from tidegate.runtime import allowance, plugins
from tidegate.runtime import spend as money
from tidegate.runtime.agents import Agents
from tidegate.runtime.bus import Bus
from tidegate.runtime.compaction import PART_DEADLINE_S, Compactor, Part
from tidegate.runtime.conversation import Conversations
from tidegate.runtime.cron import Cron
from tidegate.runtime.disk import Disk
from tidegate.runtime.dispatcher import Dispatcher
from tidegate.runtime.flush import DEADLINE_S as FLUSH_S
from tidegate.runtime.flush import Flush
from tidegate.runtime.guard import Guard
from tidegate.runtime.hooks import Hook, Hooks
from tidegate.runtime.hops import Hops
from tidegate.runtime.intake import Bounds, Intake
from tidegate.runtime.jobs import Jobs
from tidegate.runtime.lanes import Lane
from tidegate.runtime.library import Library
from tidegate.runtime.meaning import Meaning
from tidegate.runtime.memory import Memory
from tidegate.runtime.outbox import Postman, Target
from tidegate.runtime.plugins import Plugin
from tidegate.runtime.pressure import Pressure, Relief
from tidegate.runtime.runner import Runner
from tidegate.runtime.skills import Skills
from tidegate.runtime.spend import Spend
from tidegate.runtime.subagents import Rights, Subagents
from tidegate.runtime.sweeper import Sweeper
from tidegate.runtime.tools.jobs import schedule_tool
from tidegate.runtime.tools.memory import memory_tools
from tidegate.runtime.tools.spawn import spawn_tool
from tidegate.runtime.tools.status import status_tool
from tidegate.runtime.watch import SpanOutcome, Watch, unwatched
from tidegate.store import lock
from tidegate.store.facts import FactRules
from tidegate.store.lock import FolderLock
from tidegate.store.sqlite import SqliteStore
from tidegate.toolset import Toolset, who

WINDOWS = "windows"  # what is remembered under this name

_log = log.get("engine")


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an engine that is open; it goes while `serve` of those runs that have one."""

    folder: Path
    clock: Clock
    config: Config
    held: FolderLock
    registry: Registry
    faults: Faults
    store: SqliteStore
    bus: Bus
    guard: Guard
    skills: Skills
    library: Library
    agents: Mapping[str, Agent]
    windows: Windows
    intake: Intake
    conversations: Conversations
    runner: Runner
    sweeper: Sweeper
    disk: Disk
    pressure: Pressure
    jobs: Jobs
    cron: Cron
    hooks: Hooks
    postman: Postman
    spend: Spend
    memory: Memory
    flush: Flush
    dispatcher: Dispatcher
    #: of telemetry, by what became of them
    spans: Mapping[SpanOutcome, int]
    broken: "asyncio.Future[None]"


@asynccontextmanager
async def engine(config: Config, state: Path, clock: Clock) -> AsyncIterator[Engine]:
    """Open an engine on a state folder, and close it in reverse; whoever makes it go calls `store.recover` first.

    Raises:
        FolderHeld: Another gateway holds the folder.
        ConfigError, StorageFailed, Unavailable: It cannot be opened.
    """
    async with AsyncExitStack() as stack:
        for change in folder.prepare(state):
            _log.warning("folder_tightened", change=change)
        held = lock.hold(state)
        stack.callback(held.release)
        loaded = plugins.load(config.plugins.hooks)
        registry = Registry()
        faults = Faults(clock)
        policies = policy.policies(config.lifecycle, config.approvals.expire_after_ms)
        store = await SqliteStore.open(state, clock, policies, registry, faults)
        stack.push_async_callback(store.close)
        short = store.redaction.add(*secrets(config))
        if short:
            _log.warning("secrets_too_short", count=short, hint=f"use {MIN_CHARS} characters or more")
        log.hide(store.redaction)
        dispatcher = _dispatcher(config, loaded, store, registry, faults)
        skills = Skills(reaches(config, folder.workspace(state)), registry, faults)
        await skills.load()
        library = Library(store, skills, registry)
        bus = Bus(registry)
        lanes = _lanes(config, registry)
        intake = _intake(config, store, bus, skills, lanes)
        guard = intake.guard
        subagents = Subagents(store, intake, _rights(config), _limits(config), clock)
        agents: dict[str, Agent] = {}
        jobs = Jobs(store, agents, config.webhooks, clock)
        memory = _memory(config, store, registry, faults)
        tools = [
            spawn_tool(subagents),
            skill_tool(library),
            status_tool(store, clock, who(config)),
            schedule_tool(jobs, store, {name: agent.job_tools for name, agent in config.agents.items()}),
            *memory_tools(memory, clock),
        ]
        toolset = Toolset(config, state, registry)
        windows = Windows(clock, registry, store.meta(WINDOWS), partial(store.remember, WINDOWS))
        agents |= await stack.enter_async_context(
            built(config, toolset, library, memory, tools, faults, windows)
        )
        pressure = _pressure(config, store, library, bus, guard, faults)
        sweeper = Sweeper(store, clock, policies, config.sweep.interval_ms, faults, pressure.swept)
        disk = Disk(store, sweeper, guard, clock, state, faults)
        await disk.begin(config.limits.disk_bytes)
        cast = Agents(store, agents, {name: hook.tools for name, hook in config.hooks.items()})
        flush = Flush(store, memory, agents, is_on=config.memory.flush)
        compactor = _compactor(config, store, flush, dispatcher)
        watched = await stack.enter_async_context(_telemetry(config, registry))
        runner = Runner(
            store, bus, cast, lanes, clock, guard, faults, compactor=compactor, watch=watched.watch
        )
        hops = Hops(registry)
        postman = Postman(store, toolset.egress, _targets(config), clock, hops, faults)
        broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        store.writer.on_broken = lambda error: None if broken.done() else broken.set_exception(error)
        await store.reconcile_jobs(jobs.of_config(config))
        cron = Cron(store, intake, clock, faults)
        spend = await _spend(config, store, guard, registry, faults)
        for part in (runner, sweeper, disk, cron, bus, postman, dispatcher, spend):
            store.listen(part.on_commit)
        yield Engine(
            folder=state,
            clock=clock,
            config=config,
            held=held,
            registry=registry,
            faults=faults,
            store=store,
            bus=bus,
            guard=guard,
            skills=skills,
            library=library,
            agents=agents,
            windows=windows,
            intake=intake,
            conversations=Conversations(store, intake, registry),
            runner=runner,
            sweeper=sweeper,
            disk=disk,
            pressure=pressure,
            jobs=jobs,
            cron=cron,
            hooks=Hooks(store, intake, _hooks(config), hops),
            postman=postman,
            spend=spend,
            memory=memory,
            flush=flush,
            dispatcher=dispatcher,
            spans=watched.spans,
            broken=broken,
        )


def _dispatcher(
    config: Config, loaded: Sequence[Plugin], store: SqliteStore, registry: Registry, faults: Faults
) -> Dispatcher:
    """Let the store know who wants to hear of what, and plugins be told."""
    audience = _audience(config, loaded)
    store.tell(audience)
    deadline_ms = config.plugins.deadline_ms
    dispatcher = Dispatcher(store, loaded, audience, faults.clock, deadline_ms=deadline_ms, faults=faults)
    registry.add(
        "hook_events",
        lambda: dispatcher.waiting,
        dispatcher.limit,
        when_full="the event is dropped and counted",
    )
    return dispatcher


def _intake(
    config: Config, store: SqliteStore, bus: Bus, skills: Skills, lanes: Mapping[LaneName, Lane]
) -> Intake:
    return Intake(
        store,
        bus,
        skills=skills,
        bounds=Bounds(config.runs.queue, config.runs.session_queue),
        interrupted=[name for name, agent in config.agents.items() if agent.busy == "interrupt"],
        lanes=lanes,
        guard=Guard(),
    )


def _pressure(  # noqa: PLR0913, PLR0917 - who is relieved of what
    config: Config, store: SqliteStore, library: Library, bus: Bus, guard: Guard, faults: Faults
) -> Pressure:
    relief = Relief(shed=(store.shed, library.shed), cut=bus.cut_slow)
    limit = allowance.limit_bytes(config.limits.memory_bytes)
    return Pressure(guard, limit, relief, faults.clock, faults=faults)


def _compactor(config: Config, store: SqliteStore, flush: Flush, dispatcher: Dispatcher) -> Compactor:
    """Let memory and whoever listens take part in compactions; both have deadlines of their own."""

    async def remember(told: Compaction) -> None:
        await flush(told.session, told.agent, told.last_seq)

    patience_s = config.plugins.deadline_ms / 1_000 + PART_DEADLINE_S
    compactor = Compactor(store, config.compaction)
    hooks = Part("hooks", dispatcher.before_compaction, patience_s)
    compactor.listen(
        before=[Part("memory", remember, 2 * FLUSH_S), hooks],
        after=[Part("hooks", dispatcher.after_compaction, patience_s)],
    )
    return compactor


def _memory(config: Config, store: SqliteStore, registry: Registry, faults: Faults) -> Memory:
    """Let the store know what the configuration says of facts, and watch how many there are.

    Raises:
        ConfigError: Their meaning is to be known, and what that takes is missing.
    """
    wanted = config.memory
    store.facts.rules = FactRules(most=wanted.max_facts, go_with_session=wanted.on_session_delete == "delete")
    meaning = Meaning(source(config, wanted.embeddings)) if wanted.embeddings else None
    if meaning is not None:
        store.load_vectors()
    memory = Memory(store, faults.clock, prompt_tokens=wanted.prompt_tokens, meaning=meaning, faults=faults)
    most = wanted.max_facts * len(config.agents)
    registry.add(
        "facts", lambda: sum(map(store.facts.held, config.agents)), most, when_full="the least valuable goes"
    )
    return memory


def _lanes(config: Config, registry: Registry) -> Mapping[LaneName, Lane]:
    runs = config.runs
    firsts = {name: sources(config, agent)[0] for name, agent in config.agents.items()}
    providers = {
        name: first.provider if first.is_offline else first.base_url for name, first in firsts.items()
    }
    lanes = {
        LaneName.INTERACTIVE: Lane(runs.slots, providers),
        LaneName.CRON: Lane(runs.cron_slots),
        LaneName.SUBAGENT: Lane(runs.subagent_slots),
    }
    for name, lane in lanes.items():
        registry.add(f"running_{name}", partial(getattr, lane, "taken"), lane.slots, when_full="runs wait")
    return lanes


def _hooks(config: Config) -> Mapping[str, Hook]:
    return {
        name: Hook(
            name=name,
            secrets=hook.secrets(name),
            agent=hook.agent or next(iter(config.agents)),
            is_named=bool(hook.agent),
            template=template.parse(hook.template),
            chat=hook.chat,
            max_body_bytes=hook.max_body_bytes,
            rate=hook.rate,
        )
        for name, hook in config.hooks.items()
    }


class _Watched(NamedTuple):
    """Who looks on while runs are carried out, and what becomes of the spans."""

    watch: Watch
    spans: Mapping[SpanOutcome, int]


@asynccontextmanager
async def _telemetry(config: Config, registry: Registry) -> AsyncIterator[_Watched]:
    """Let telemetry look on, if it is wanted."""
    if not config.telemetry.otlp_endpoint:
        yield _Watched(unwatched, {})
        return
    try:
        from tidegate.runtime.collector import MAX_WAITING, Collector  # noqa: PLC0415 - 12 MB that few need
        from tidegate.runtime.telemetry import Telemetry, asked  # noqa: PLC0415 - the same
    except ImportError as error:
        hint = how_to_install("otel")
        raise ConfigError(f"[telemetry] needs what is not installed: {error.name}", hint=hint) from error
    collector = Collector(config.telemetry.otlp_endpoint)
    registry.add(
        "telemetry_spans",
        lambda: collector.waiting,
        MAX_WAITING,
        when_full="the span is dropped and counted",
    )
    try:
        yield _Watched(Telemetry(collector.tracer, asked(config)).run, collector.counts)
    finally:
        await collector.close()


def _audience(config: Config, loaded: Sequence[Plugin]) -> Audience:
    told = {
        event: [name for name, webhook in config.webhooks.items() if event in webhook.events]
        for event in EventName
    }
    return Audience(
        webhooks={event: names for event, names in told.items() if names},
        plugins=frozenset(event for plugin in loaded for event in plugin.functions),
    )


def _targets(config: Config) -> Mapping[str, Target]:
    return {
        name: Target(url=webhook.url, secrets=webhook.secrets(name))
        for name, webhook in config.webhooks.items()
    }


def _rights(config: Config) -> Mapping[str, Rights]:
    return {
        name: Rights(may_spawn=agent.may_spawn, max_tokens=agent.max_tokens, max_runtime_ms=agent.max_time_ms)
        for name, agent in config.agents.items()
    }


def _limits(config: Config) -> SpawnLimits:
    limits = config.subagents
    return SpawnLimits(depth=limits.depth, children=limits.children, descendants=limits.descendants)


async def _spend(
    config: Config, store: SqliteStore, guard: Guard, registry: Registry, faults: Faults
) -> Spend:
    """Return the instrument of money, which knows what the day has cost so far."""
    agents = {
        name: agent.spend_micros for name, agent in config.agents.items() if agent.spend_micros is not None
    }
    limits = money.Limits(gateway=config.limits.spend_micros, agents=agents)
    spend = Spend(store, guard, limits, faults.clock, registry, faults)
    await spend.look()
    return spend
