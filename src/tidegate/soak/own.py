"""Somebody's own configuration under load: its agents, jobs, lifecycle and limits, and nothing that reaches out.

Every agent has turns over the API, nameless and named, chats, and sub-agents if it may have some; jobs fire by their
own schedules. A limit of the configuration that refuses a message does what it is there for.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config import Agent, Config, Job, Model, Plugins, Store, Sweep, Telemetry
from tidegate.domain.session import PolicyName
from tidegate.folder import SKILLS
from tidegate.soak.plan import Arrivals, all_policies, kept_ms, littles_law
from tidegate.soak.talk import Talk, talk

GAP_MS = 30 * MINUTE_MS
API_TURNS = 4
SESSIONS_OF_AGENT = 8  # about, in a wave
MAX_CLIENTS = 16
SPAWN_TOOL = "spawn_agent"
SPAWN_STEPS = 3
WEBHOOK = "webhook:"
_PLAIN = frozenset({"echo", "plain"})  # what every agent can do, whatever its limits and tools


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration as it was given, for so many sessions or so many days."""

    path: Path
    given: Config
    wanted: int | None = None
    days: int | None = None
    seed: int = 0
    #: what stands in for its models
    stand_in: str = "the offline model"

    @property
    def name(self) -> str:
        """The file."""
        return str(self.path)

    @property
    def sessions(self) -> int:
        """How many sessions come; about, where days are asked for."""
        return self.wanted or self.waves * self._a_wave

    @property
    def gap_ms(self) -> int:
        """Half an hour."""
        return GAP_MS

    @property
    def waves(self) -> int:
        """How many waves there are; about, where sessions are asked for."""
        if self.days is not None:
            return self.days * DAY_MS // GAP_MS
        return -(-(self.wanted or 1) // self._a_wave)

    @property
    def clients(self) -> int:
        """How many clients of a wave work side by side: as many as may."""
        most = all_policies(self.given)[PolicyName.API].max_running or MAX_CLIENTS
        return min(MAX_CLIENTS, self.given.runs.slots, self.given.runs.queue, most)

    @property
    def config(self) -> Config:
        """The configuration without anything that reaches out."""
        return msgspec.structs.replace(
            self.given,
            model=Model(),
            store=Store(),
            providers={},
            agents={name: _offline(agent) for name, agent in self.given.agents.items()},
            sweep=Sweep(interval_ms=HOUR_MS),  # it wakes for each date anyway
            hooks={},
            webhooks={},
            plugins=Plugins(),
            telemetry=Telemetry(),
            jobs=[_told(job) for job in self.given.jobs],
        )

    @property
    def replaced(self) -> Sequence[str]:
        """What is not as it was given, in words."""
        return list(self._replaced())

    def share(self, waves: int, born: int) -> float:
        """Return how much of the sessions or the days is over."""
        return waves / self.waves if self.days is not None else born / self.sessions

    def talks(self, wave: int) -> Sequence[Talk]:
        """Return what is said in a wave; it depends on the seed and the wave alone."""
        found = [said for name, agent in self.given.agents.items() for said in self._talks(wave, name, agent)]
        return [said._replace(may_be_refused=True) for said in found]

    def strays(self, agent: str) -> bool:  # noqa: ARG002 - none of them
        """Return False: whatever a job says, it gets an answer."""
        return False

    def residence_ms(self, name: PolicyName) -> int | None:
        """Return the longest that a session is kept: conversations go on for one wave."""
        kept = kept_ms(self.config, name)
        return None if kept is None else kept + GAP_MS * name.is_conversation

    def most_stored(self, name: PolicyName, arrivals: Arrivals) -> int:
        """Return how many sessions of a kind may be there at once."""
        return littles_law(self.residence_ms(name), arrivals)

    def furnish(self, state: Path) -> None:
        """Put nothing there: skills lie where the configuration says."""

    @property
    def _a_wave(self) -> int:
        return SESSIONS_OF_AGENT * len(self.given.agents)

    def _talks(self, wave: int, name: str, agent: Agent) -> Iterator[Talk]:
        numbers = range(wave * API_TURNS * 8, (wave + 1) * API_TURNS * 8)
        plain = [said for number in numbers if (said := talk(self.seed, number)).shape in _PLAIN][:API_TURNS]
        yield from (said._replace(agent=name) for said in plain)
        if (agent.tools is None or SPAWN_TOOL in agent.tools) and agent.max_steps >= SPAWN_STEPS:
            yield Talk("tree", "/spawn 2 /echo done", name)
        for at in (wave, wave - 1):
            if at >= 0:
                text = f"/echo turn {wave}"
                yield Talk("named", text, name, kind=PolicyName.API_NAMED, key=f"api:{name}-{at}")
                yield Talk("chat", text, name, kind=PolicyName.CHAT, key=f"chat:{name}-{at}")

    def _replaced(self) -> Iterator[str]:
        given = self.given
        yield f"models of {', '.join(given.agents)}: replaced by {self.stand_in}"
        yield "workspaces: replaced by an empty one in the folder of the soak"
        if given.jobs:
            yield f"jobs ({len(given.jobs)}): their prompts are answered by {self.stand_in}, which obeys none of them"
        silent = [job.name for job in given.jobs if job.deliver.startswith(WEBHOOK)]
        if silent:
            yield f"webhooks: not sent; answers of {', '.join(silent)} go nowhere"
        if given.hooks:
            yield f"hooks ({', '.join(given.hooks)}): not called"
        if given.plugins.hooks:
            yield f"plugins ({', '.join(given.plugins.hooks)}): not loaded"
        for kind in (PolicyName.CHAT, PolicyName.API_NAMED):
            if kept_ms(given, kind) is None:
                yield f"sessions of kind {kind}: kept for ever, as configured, so that their number grows"


def _offline(agent: Agent) -> Agent:
    """Return an agent whose model is the offline one and whose files are nobody's; its skills stay."""
    own = () if agent.workspace is None else (agent.workspace / SKILLS,)
    return msgspec.structs.replace(agent, model="", fallback=(), workspace=None, skills=(*own, *agent.skills))


def _told(job: Job) -> Job:
    """Return a job that sends nothing away and whose prompt is no command of the offline model."""
    deliver = "none" if job.deliver.startswith(WEBHOOK) else job.deliver
    return msgspec.structs.replace(job, prompt=f"Job: {job.prompt}", deliver=deliver)
