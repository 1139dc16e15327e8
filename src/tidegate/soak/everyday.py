"""The built-in scenario: what a gateway does all day, at an even rate, for as long as one likes.

Twelve jobs fire by the clock; half of them ask sub-agents, two fail on purpose. Every half hour comes a wave: turns
over the API, nameless and named, chats that go on after a pause, chats that are taken up again from the archive, and
sub-agents two deep, some of them refused. All agents have the same 22 skills.
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config import Config, Lifecycle, Sweep
from tidegate.config.job import Job
from tidegate.domain.session import PolicyName
from tidegate.soak import shelf
from tidegate.soak.plan import Arrivals, kept_ms, littles_law
from tidegate.soak.talk import AGENTS, Talk, talk

GAP_MS = 30 * MINUTE_MS
SESSIONS_A_WAVE = 51  # about: talks, firings, and the sub-agents of both
API_TURNS = 12
CLIENTS = 32  # a whole wave
NEW_CHATS = 2
PAUSES = (1, 4)
NAMED_AGAIN = 1  # wave after which a named session is used again

MAX_ARCHIVE_MS = HOUR_MS
MIN_KEPT_MS = 3 * GAP_MS  # so that a chat is still in the archive when it is taken up again
MAX_KEPT_MS = 6 * HOUR_MS
LIVES = 16  # a run that is shorter than this many lives of a session keeps its sessions for less

_ASKS = "/spawn 2 /spawn 1 /echo found"
JOBS = (
    Job(name="mail", cron="*/30 * * * *", prompt=_ASKS),
    Job(name="calendar", cron="5,35 * * * *", prompt="/echo nothing new"),
    Job(name="feeds", every_ms=HOUR_MS // 2, prompt=_ASKS, jitter_ms=5 * MINUTE_MS),
    Job(name="prices", every_ms=HOUR_MS // 2, prompt="/big 4000"),
    Job(name="backup", cron="@hourly", prompt="/sleep 5", agent="hasty"),  # its agent has two seconds
    Job(name="health", cron="0 * * * *", prompt=_ASKS, timezone="Europe/Berlin"),
    Job(name="downloads", cron="17 * * * *", prompt="/big 100", agent="brief"),  # its agent may not ask again
    Job(name="parcels", every_ms=HOUR_MS, prompt=_ASKS),
    Job(name="weather", cron="0 */2 * * *", prompt=f"/skill {shelf.NAMES[0]}", timezone="America/New_York"),
    Job(name="servers", every_ms=2 * HOUR_MS, prompt=_ASKS),
    Job(name="review", cron="@daily", prompt=_ASKS, timezone="Asia/Tokyo"),
    Job(name="briefing", cron="0 9 * * *", prompt="/echo good morning", deliver="chat:briefing"),
)


class Everyday(msgspec.Struct, frozen=True, kw_only=True):
    """The built-in scenario, for so many sessions or so many days."""

    wanted: int | None = None
    days: int | None = None
    seed: int = 0
    #: after how many waves a chat goes on: while it is active, and once it is archived
    pauses: tuple[int, int] = PAUSES

    @property
    def name(self) -> str:
        """What it is called."""
        return "built-in"

    @property
    def sessions(self) -> int:
        """How many sessions come; about, where days are asked for."""
        return self.wanted or self.waves * SESSIONS_A_WAVE

    @property
    def gap_ms(self) -> int:
        """Half an hour."""
        return GAP_MS

    @property
    def waves(self) -> int:
        """How many waves there are; about, where sessions are asked for."""
        if self.days is not None:
            return self.days * DAY_MS // GAP_MS
        return -(-(self.wanted or 1) // SESSIONS_A_WAVE)

    @property
    def clients(self) -> int:
        """How many clients of a wave work side by side."""
        return CLIENTS

    @property
    def config(self) -> Config:
        """The configuration of the gateway: the default but for its agents and what it keeps."""
        agents = {name: replace(agent, allow_skills=shelf.NAMES) for name, agent in AGENTS.items()}
        life_ms = self.waves * GAP_MS // LIVES
        return Config(
            agents=agents,
            lifecycle=_lifecycle(
                archive_ms=max(GAP_MS, min(MAX_ARCHIVE_MS, life_ms // 4)),
                kept_ms=max(MIN_KEPT_MS, min(MAX_KEPT_MS, life_ms)),
            ),
            jobs=JOBS,
            sweep=Sweep(interval_ms=HOUR_MS),  # it wakes for each date anyway
        )

    @property
    def replaced(self) -> Sequence[str]:
        """Nothing was given."""
        return ()

    def share(self, waves: int, born: int) -> float:
        """Return how much of the sessions or the days is over."""
        return waves / self.waves if self.days is not None else born / self.sessions

    def talks(self, wave: int) -> Sequence[Talk]:
        """Return what is said in a wave; it depends on the seed and the wave alone."""
        chance = random.Random(self.seed << 64 | wave)  # noqa: S311 - a load that can be had again, no secret
        turns = [talk(self.seed, wave * API_TURNS + at) for at in range(API_TURNS)]
        return [*turns, *_trees(), *_named(wave), *_chats(wave, self.pauses, chance)]

    def strays(self, agent: str) -> bool:
        """Whether the firings of jobs of this agent fail on purpose."""
        return agent != "main"

    def residence_ms(self, name: PolicyName) -> int | None:
        """Return the longest that a session is kept: a conversation goes on for some waves first."""
        more = {PolicyName.CHAT: sum(self.pauses), PolicyName.API_NAMED: NAMED_AGAIN}.get(name, 0)
        kept = kept_ms(self.config, name)
        return None if kept is None else kept + more * GAP_MS

    def most_stored(self, name: PolicyName, arrivals: Arrivals) -> int:
        """Return how many sessions of a kind may be there at once."""
        return littles_law(self.residence_ms(name), arrivals)

    def furnish(self, state: Path) -> None:
        """Write the skills into the workspace."""
        shelf.furnish(state)


def _lifecycle(archive_ms: int, kept_ms: int) -> Mapping[str, Lifecycle]:
    """Return how long each kind is kept; the defaults keep for a day to for ever, and a soak has to see all go."""
    conversation = Lifecycle(idle_after_ms=archive_ms, delete_after_ms=kept_ms)
    task = Lifecycle(archive_after_ms=archive_ms, delete_after_ms=kept_ms)
    return {
        PolicyName.CHAT.value: conversation,
        PolicyName.API_NAMED.value: conversation,
        PolicyName.API.value: Lifecycle(delete_after_ms=kept_ms),
        PolicyName.SUBAGENT.value: task,
        PolicyName.CRON.value: replace(task, delete_failed_after_ms=2 * kept_ms),
    }


def _trees() -> list[Talk]:
    """Return an agent with three sub-agents that have two each, and one that asks for one more than it may have."""
    return [Talk("tree", "/spawn 3 /spawn 2 /big 500"), Talk("refused", "/spawn 6 /echo done")]


def _named(wave: int) -> list[Talk]:
    waves = [at for at in (wave, wave - NAMED_AGAIN) if at >= 0]
    return [Talk("named", f"/echo turn {at}", kind=PolicyName.API_NAMED, key=f"api:{at}") for at in waves]


def _chats(wave: int, pauses: tuple[int, int], chance: random.Random) -> list[Talk]:
    """Return the first messages of new chats, and later ones of chats of earlier waves."""
    found: list[Talk] = []
    for pause, shape in zip((0, *pauses), ("chat", "chat_goes_on", "chat_from_archive"), strict=True):
        if wave < pause:
            continue
        for number in range(NEW_CHATS):
            said = (
                f"/skill {chance.choice(shelf.NAMES)}" if number else f"/echo {chance.randbytes(200).hex()}"
            )
            key = f"chat:{wave - pause}-{number}"
            found.append(Talk(shape, said, kind=PolicyName.CHAT, key=key))
    return found
