"""Holds back work in the background when the money of the day is used up: of all, of an agent or of a job.

Each answer brings its cost with its commit; what was spent before a start is read from the store, of this day alone.
At 80 % of a limit people are told. At 100 % whom it is about starts nothing new, and its jobs and webhooks wait for the
next day, which begins at 00:00 UTC. Chats go on, and so do sub-agents that people's work has under way (invariant I12).
What was asked of a model is paid for, so a day can cost what was under way beyond its limit.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from tidegate import log
from tidegate.bounded import Registry
from tidegate.clock import DAY_MS, HOUR_MS, SECOND_MS, Clock, day
from tidegate.domain.level import Level, step
from tidegate.domain.run import Lane
from tidegate.faults import Area, Faults
from tidegate.runtime.guard import Grip, Guard, Hold, Reason, Work
from tidegate.store.port import Store
from tidegate.store.tx import Effects, Spent
from tidegate.store.usage import MAX_JOB_ROWS, DaySpend
from tidegate.units import print_money

MARKS = (0.8, 1.0)
#: what a limit is about: everything, an agent, a job
KINDS = ("", "agent", "job")
LOOK_S = 10.0

_log = log.get("spend")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a day may cost in micro-dollars: all of it, and each agent that has a limit."""

    gateway: int | None = None
    agents: Mapping[str, int] = {}


class Account(NamedTuple):
    """What somebody has spent of what."""

    micros: int
    limit: int

    @property
    def level(self) -> Level:
        """How short it is."""
        return (Level.NORMAL, Level.TIGHT, Level.CRITICAL)[step(0, self.micros / self.limit, MARKS, 0.0)]

    @property
    def told(self) -> str:
        """How people read it."""
        return f"{print_money(self.micros)} of {print_money(self.limit)} dollars"


class Spend:
    """The money of one gateway."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that the money needs
        self,
        store: Store,
        guard: Guard,
        limits: Limits,
        clock: Clock,
        registry: Registry,
        faults: Faults | None = None,
    ) -> None:
        #: since the start: micro-dollars, and answers whose cost nobody knows
        self.total_micros = 0
        self.total_unpriced = 0
        self._store = store
        self._guard = guard
        self._limits = limits
        self._faults = faults or Faults(clock)
        self._clock = clock
        self._day = ""
        #: by agent and model, which the configuration bounds: micro-dollars and answers without a price, of this day
        self._models: dict[tuple[str, str], tuple[int, int]] = {}
        #: jobs with a limit that have spent something on this day
        self._jobs: dict[str, Account] = {}
        self._is_stale = True
        #: of the accounts that are short, as they were told to the guard
        self._levels: dict[tuple[str, str], Level] = {}
        registry.add(
            "spend_jobs",
            lambda: len(self._jobs),
            MAX_JOB_ROWS,
            when_full="the day's answers count for no more jobs",
        )

    async def serve(self) -> None:
        """Look for ever: days change, and so do the limits of jobs."""
        while True:
            with self._faults.turn(Area.SPEND) as turn:  # what was known holds
                await self.look()
            await turn.rest()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Read the day's spend where what is known may not be right any more, and hold back what has to be."""
        today = day(self._clock.now())
        if self._is_stale or today != self._day:
            self._is_stale = False
            try:
                found = await self._store.spending.of_day(today)
            except Exception:
                self._is_stale = True
                raise
            if today != self._day:
                self._day, self._models, self._jobs = today, {}, {}
            for place, cost in found.models.items():
                self._take(place, cost)
            self._take_jobs(found)
        self._hold()

    def on_commit(self, effects: Effects) -> None:
        """Count what answers have cost."""
        self._is_stale |= effects.is_about_jobs
        has_changed = False
        for spent in effects.spent:
            self.total_micros += spent.cost[0]
            self.total_unpriced += spent.cost[1]
            if spent.day != self._day:
                self._is_stale = True
                continue
            self._take((spent.agent, spent.model), spent.total)
            if spent.job is not None and spent.job_micros:
                self._take_job(spent.job, spent.job_micros)
            has_changed |= self._has_changed(spent)
        if has_changed:
            self._hold()

    def _has_changed(self, spent: Spent) -> bool:
        """Whether an answer has brought one of its accounts to another level."""
        for kind, name in (("", ""), ("agent", spent.agent), ("job", spent.job or "")):
            one = self._account(kind, name)
            if one is not None and one.level is not self._levels.get((kind, name), Level.NORMAL):
                return True
        return False

    def _take(self, place: tuple[str, str], cost: tuple[int, int]) -> None:
        """Take what an agent has spent with a model: within a day it only rises, whoever tells it first."""
        before = self._models.get(place, (0, 0))
        self._models[place] = max(before[0], cost[0]), max(before[1], cost[1])

    def _take_jobs(self, found: DaySpend) -> None:
        """Take what jobs have spent, and their limits as they are now."""
        known = self._jobs
        self._jobs = {}
        for one in found.jobs:
            before = known.get(one.job, Account(0, 1)).micros
            self._jobs[one.job] = Account(max(before, one.micros), one.limit_micros)

    def _take_job(self, name: str, micros: int) -> None:
        job = self._store.job(name)
        limit = job.definition.spend_micros if job else None
        if isinstance(limit, int):
            self._jobs[name] = Account(micros, limit)

    # What it comes to -----------------------------------------------------------------------------------------------

    @property
    def day(self) -> str:
        """Which day that is, in UTC."""
        return self._day

    @property
    def today_micros(self) -> int:
        """What this day has cost so far."""
        return sum(micros for micros, _ in self._models.values())

    @property
    def unpriced_today(self) -> int:
        """How many answers of this day there are whose cost nobody knows."""
        return sum(unpriced for _, unpriced in self._models.values())

    @property
    def limit_micros(self) -> int | None:
        """What a day may cost in all."""
        return self._limits.gateway

    @property
    def unpriced_models(self) -> list[str]:
        """The models of this day whose price nobody knows."""
        return sorted({model for (_, model), (_, unpriced) in self._models.items() if unpriced})

    def accounts(self) -> Iterator[tuple[str, str, Account]]:
        """Yield every limit with what is spent of it: what it is about ('', ``agent``, ``job``), its name."""
        places = [
            ("", ""),
            *(("agent", name) for name in self._limits.agents),
            *(("job", name) for name in self._jobs),
        ]
        for kind, name in places:
            one = self._account(kind, name)
            if one is not None:
                yield kind, name, one

    def _account(self, kind: str, name: str) -> Account | None:
        match kind:
            case "job":
                return self._jobs.get(name)
            case "agent":
                limit, micros = self._limits.agents.get(name), self._of_agent(name)
            case _:
                limit, micros = self._limits.gateway, self.today_micros
        return None if limit is None else Account(micros, limit)

    def report(self) -> dict[str, object]:
        """Return how it stands, in dollars; of agents and jobs those at 80 % of a limit or more, at most 100."""
        short = [
            (kind, name, one) for kind, name, one in self.accounts() if kind and one.level is not Level.NORMAL
        ]
        return {
            "today": self.today_micros / 1_000_000,
            "limit": None if self._limits.gateway is None else self._limits.gateway / 1_000_000,
            "level": self._guard.level(Reason.SPEND),
            "gateway_level": self._levels.get(("", ""), Level.NORMAL),
            "unpriced": self.unpriced_today,
            "unpriced_models": self.unpriced_models[:100],
            "short": [
                {
                    "of": kind,
                    "name": name,
                    "today": one.micros / 1_000_000,
                    "limit": one.limit / 1_000_000,
                    "level": one.level,
                }
                for kind, name, one in short[:100]
            ],
        }

    def _of_agent(self, name: str) -> int:
        return sum(micros for (agent, _), (micros, _) in self._models.items() if agent == name)

    # What is held back ----------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """Tell the guard, if anything has changed."""
        levels: dict[tuple[str, str], Level] = {}
        for kind, name, one in self.accounts():
            if one.level is not Level.NORMAL:
                levels[kind, name] = one.level
        if levels == self._levels:
            return
        self._levels = levels
        over = {
            kind: {name for of, name in levels if of == kind and levels[of, name] is Level.CRITICAL}
            for kind in KINDS
        }
        holds: list[Hold] = []
        if over[""]:
            holds += self._holds("the gateway", "spend in [limits]", None)
        if over["agent"]:
            names = frozenset(over["agent"])
            holds += self._holds("its agent", "spend in [agents.NAME]", lambda work: work.agent in names)
        if over["job"]:
            jobs = frozenset(over["job"])
            holds += self._holds("its job", "spend of the job", lambda work: work.job in jobs)
        worst = max(levels.values(), key=lambda level: level.rank, default=Level.NORMAL)
        self._guard.set(Reason.SPEND, worst, holds)

    def _holds(self, whose: str, setting: str, concerns: Callable[[Work], bool] | None) -> list[Hold]:
        """Hold back new sessions, and the runs that no person waits for."""
        left_ms = DAY_MS - self._clock.now() % DAY_MS
        births = Hold(
            grip=Grip.BIRTHS,
            message=f"what {whose} may spend in a day is used up; no new sessions are taken but chats",
            hint=f"it goes on at 00:00 UTC, or raise {setting}; `tidegate status` shows what was spent",
            retry_after_s=min(HOUR_MS, left_ms) // SECOND_MS + 1,
            concerns=concerns,
        )
        runs = msgspec.structs.replace(
            births,
            grip=Grip.BACKGROUND,
            concerns=lambda work: _is_nobodys(work) and (concerns is None or concerns(work)),
        )
        return [births, runs]


def _is_nobodys(work: Work) -> bool:
    """Whether no person waits for a piece of work: the tree of a job, and whatever a webhook has started."""
    return work.lane is Lane.CRON or work.job is not None
