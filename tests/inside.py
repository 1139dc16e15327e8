"""A gateway without its edge: the real store, bus, intake, runner and sweeper on a manual clock."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tidegate.agent.loop import Agent
from tidegate.agent.model import Answer, Delta, Model, Prompt
from tidegate.agent.offline import OfflineModel, offline_tools
from tidegate.agent.tools import Tool, ToolBox
from tidegate.bounded import Registry
from tidegate.clock import ManualClock
from tidegate.config import Compaction as Rules
from tidegate.domain.budget import Budget
from tidegate.domain.entry import Entry, User
from tidegate.domain.policy import DEFAULTS, Policies
from tidegate.domain.run import Lane, Origin, Run
from tidegate.domain.session import PolicyName, Session
from tidegate.domain.spawn import SpawnLimits
from tidegate.runtime.agents import Agents
from tidegate.runtime.bus import Bus, Piece
from tidegate.runtime.compaction import Compactor
from tidegate.runtime.conversation import Conversations
from tidegate.runtime.cron import Cron
from tidegate.runtime.intake import Intake
from tidegate.runtime.lanes import Lane as Slots
from tidegate.runtime.runner import Runner
from tidegate.runtime.subagents import Rights, Subagents
from tidegate.runtime.sweeper import Sweeper
from tidegate.runtime.tools.spawn import spawn_tool
from tidegate.runtime.watch import Watch, unwatched
from tidegate.store.admission import Admission, Birth
from tidegate.store.sqlite import SqliteStore

Reply = Answer | Exception | Callable[[Prompt], AsyncGenerator[Delta | Answer, None]]


class PlayedModel:
    """A model that plays what it is given, one reply an answer, and keeps the prompts."""

    name = "played"

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.prompts: list[Prompt] = []

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Answer, None]:
        """Play the next reply."""
        self.prompts.append(prompt)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Answer):
            yield Delta(text=reply.text)
            yield reply
            return
        async for part in reply(prompt):
            yield part


@dataclass
class Inside:
    """The parts under test."""

    clock: ManualClock
    store: SqliteStore
    bus: Bus
    intake: Intake
    conversations: Conversations
    runner: Runner
    sweeper: Sweeper
    cron: Cron

    async def say(self, key: str, text: str) -> Run:
        """Send a message and wait for the end of its run."""
        return await self.intake.outcome(await self.send(key, text))

    async def send(self, key: str, text: str) -> Run:
        """Send a message."""
        admitted = await self.intake.message(key, text, "main", is_named=False, receipt=None)
        return admitted.run

    async def ask(self, policy: PolicyName, text: str, key: str | None = None) -> Run:
        """Accept a piece of work for a session of any kind."""
        admission = Admission(
            key=key,
            birth=Birth(policy=policy, agent="main"),
            lane=Lane.INTERACTIVE,
            origin=Origin.MESSAGE,
            bodies=[User(text=text)],
        )
        return (await self.intake.submit(admission)).run

    async def until_piece(self, run: Run) -> None:
        """Wait until the model has begun to answer."""
        with self.bus.subscribe(run.session) as subscription:
            while not isinstance(await subscription.get(), Piece):
                pass

    def head(self, key: str) -> Session:
        """Return a session that is there."""
        head = self.store.session(key)
        assert head is not None
        return head

    async def transcript(self, key: str) -> list[Entry]:
        """Return the whole transcript of a session."""
        entries: list[Entry] = []
        session = self.head(key).id
        while page := await self.store.entries(session, len(entries), 1_000):
            entries += page
        return entries

    async def texts(self, key: str) -> list[str]:
        """Return what stands in a transcript."""
        return [entry.body.text for entry in await self.transcript(key)]


@asynccontextmanager
async def inside(  # noqa: PLR0913 - each is optional
    folder: Path,
    model: Model | None = None,
    *,
    tools: Sequence[Tool] | None = None,
    limits: SpawnLimits | None = None,
    slots: int = 4,
    budget: Budget | None = None,
    policies: Policies = DEFAULTS,
    max_prompt_bytes: int = 400_000,
    rules: Rules | None = None,
    watch: Watch = unwatched,
) -> AsyncIterator[Inside]:
    """Open the inside of a gateway on a folder; runs under way are left as a killed process would leave them."""
    clock = ManualClock()
    registry = Registry()
    store = await SqliteStore.open(folder, clock, policies, registry)
    bus = Bus(registry)
    lanes = {lane: Slots(slots) for lane in Lane}
    intake = Intake(store, bus, lanes=lanes)
    budget = budget or Budget()
    rights = Rights(may_spawn=[], max_tokens=budget.max_tokens, max_runtime_ms=budget.max_runtime_ms)
    subagents = Subagents(store, intake, {"main": rights}, limits or SpawnLimits(), clock)
    agent = Agent(
        name="main",
        model=model or OfflineModel(),
        instructions="",
        tools=ToolBox([spawn_tool(subagents), *(offline_tools() if tools is None else tools)]),
        budget=budget,
        max_prompt_bytes=max_prompt_bytes,
    )
    compactor = Compactor(store, rules or Rules())
    cast = Agents(store, {"main": agent})
    runner = Runner(store, bus, cast, lanes, clock, intake.guard, compactor=compactor, watch=watch)
    sweeper = Sweeper(store, clock, policies, 60_000)
    cron = Cron(store, intake, clock)
    for listener in (runner.on_commit, sweeper.on_commit, cron.on_commit, bus.on_commit):
        store.listen(listener)
    await store.recover()
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(runner.serve())
            yield Inside(
                clock, store, bus, intake, Conversations(store, intake, registry), runner, sweeper, cron
            )
            serving.cancel()
    finally:
        await store.close()
