"""Agents at the bidding of agents: who may have whom, for how long, and for how much.

A child is a session of its own with the parent above it. Its end and the delivery of its result are one transaction of
the store; nothing here waits for it.
"""

from collections.abc import Mapping, Sequence

import msgspec

from tidegate.agent.tools import Caller, Later, ToolFailed
from tidegate.clock import Clock
from tidegate.domain.entry import User
from tidegate.domain.run import Lane, Origin, Run
from tidegate.domain.session import DueTo, PolicyName, Session
from tidegate.domain.spawn import SpawnLimits
from tidegate.errors import BadText, FenceLost, LimitReached, SpawnRefused, TooLarge
from tidegate.runtime.intake import Intake
from tidegate.store.admission import Admission, Birth, Order
from tidegate.store.port import Store

KEPT_FOR_PARENT = 0.1  # of the time that is left, so that a parent can still use what comes back


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent may do with others, and what one run of it may take."""

    may_spawn: Sequence[str]
    max_tokens: int
    max_runtime_ms: int


class Subagents:
    """Spawns children."""

    def __init__(
        self, store: Store, intake: Intake, rights: Mapping[str, Rights], limits: SpawnLimits, clock: Clock
    ) -> None:
        self._store = store
        self._intake = intake
        self._rights = rights
        self._limits = limits
        self._clock = clock

    async def spawn(  # noqa: PLR0913 - the arguments of the tool, each optional to the model
        self, caller: Caller, *, task: str, agent: str | None, label: str, timeout_s: int | None, waits: bool
    ) -> str | Later:
        """Start a child; its result comes later, as the result of this call or as a run of its parent.

        Raises:
            ToolFailed: It may not be born; the message says why, in words for a model.
        """
        name = self._chosen(caller.agent, agent)
        parent, run = self._store.session_by_id(caller.session), self._store.run(caller.run)
        if parent is None or run is None:
            raise FenceLost
        waits = waits or parent.policy is PolicyName.API  # it ends with its answer: there is no later
        left_ms = self._left_ms(caller.agent, parent, run)
        limit_ms = left_ms if timeout_s is None else min(left_ms, timeout_s * 1_000)
        admission = Admission(
            key=None,
            birth=Birth(
                policy=PolicyName.SUBAGENT,
                agent=name,
                parent=parent.id,
                max_runtime_ms=max(1_000, limit_ms),
                title=label,
            ),
            lane=Lane.SUBAGENT,
            origin=Origin.SPAWN,
            bodies=[User(text=task)],
            order=self._order(caller, name, label, waits=waits),
        )
        try:
            admitted = await self._intake.submit(admission)
        except (SpawnRefused, LimitReached, BadText, TooLarge) as refusal:
            raise ToolFailed(f"refused: {refusal.message}") from refusal
        return Later() if waits else f"started: its result comes as a message from {admitted.session.key}"

    def _chosen(self, caller: str, agent: str | None) -> str:
        if agent is None or agent == caller:
            return caller
        may_spawn = self._rights[caller].may_spawn
        if agent not in may_spawn:
            raise ToolFailed(f"refused: you may ask {', '.join([caller, *may_spawn])}, not {agent[:80]!r}")
        return agent

    def _order(self, caller: Caller, agent: str, label: str, *, waits: bool) -> Order:
        return Order(
            lease=caller.lease,
            call_id=caller.call_id,
            tool="spawn_agent",
            label=label,
            waits=waits,
            limits=self._limits,
            max_tokens=self._rights[caller.agent].max_tokens,
            child_max_tokens=self._rights[agent].max_tokens,
        )

    def _left_ms(self, agent: str, parent: Session, run: Run) -> int:
        """Return how long a child may take: what the parent's run and its session have left, less its own share."""
        now = self._clock.now()
        ends = [(run.started_at or now) + run.waited_ms + self._rights[agent].max_runtime_ms]
        if parent.due_to is DueTo.COMPLETED and parent.due_at is not None:
            ends.append(parent.due_at)
        return int((min(ends) - now) * (1 - KEPT_FOR_PARENT))
