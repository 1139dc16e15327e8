"""The sessions of one policy at a given rate: how many will be at work, finished and archived, usually and at worst.

`max_running` is hard: where more would be at work, what is refused does not come, and a conversation is archived early.
"""

import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from tidegate.domain.arrival import Rate
from tidegate.domain.residence import Flow, Life, flows, littles_law, worst
from tidegate.domain.session import PolicyName


class Tide(msgspec.Struct, frozen=True, kw_only=True):
    """The flows of one policy; there is one at least."""

    name: PolicyName
    #: what knocks, let in or not
    rate: Rate
    flows: Sequence[Flow]
    #: if every session runs to its deadline, fails, and is kept for that
    worst: Sequence[Flow]
    max_running: int | None
    #: how many would be at work if all were let in
    needs_running: float

    @property
    def running(self) -> float:
        """How many are at work in the end, or are conversations that are not archived."""
        return _count(self.flows, "running_ms")

    @property
    def finished(self) -> float:
        """How many have finished and are not archived."""
        return _count(self.flows, "finished_ms")

    @property
    def archived(self) -> float:
        """How many are archived."""
        return _count(self.flows, "archived_ms")

    @property
    def live(self) -> float:
        """How many there are, in whichever state."""
        return self.running + self.finished + self.archived

    @property
    def most_running(self) -> float:
        """How many are at work at worst."""
        return min(
            _count(self.worst, "running_ms"), math.inf if self.max_running is None else self.max_running
        )

    @property
    def most(self) -> float:
        """How many there are at worst."""
        return self.most_running + _count(self.worst, "finished_ms") + _count(self.worst, "archived_ms")

    @property
    def stays_ms(self) -> float:
        """How long one stays, on the average."""
        come = littles_law(math.fsum(flow.per_day for flow in self.flows), 1.0)
        return self.live / come if come else self.flows[0].stay.whole_ms


def tide_of(name: PolicyName, rate: Rate, life: Life, scale: float) -> Tide:
    """Return what comes of a rate, *scale* times: of as many more clients and jobs, not of the same more often."""
    most = life.policies[name].max_running
    needs = _count(flows(name, rate.per_day, life), "running_ms") * scale
    share = most / needs if most is not None and needs > most else 1.0
    let_in = rate.per_day if name.is_conversation else rate.per_day * share
    usual = [_scaled(flow, scale) for flow in flows(name, let_in, life)]
    if name.is_conversation and share < 1:
        usual = [_hurried(flow, share) for flow in usual]
    return Tide(
        name=name,
        rate=replace(rate, per_day=rate.per_day * scale),
        flows=usual,
        worst=[_scaled(flow, scale) for flow in worst(name, let_in, life)],
        max_running=most,
        needs_running=needs,
    )


def _scaled(flow: Flow, scale: float) -> Flow:
    return flow._replace(per_day=flow.per_day * scale)


def _hurried(flow: Flow, share: float) -> Flow:
    """Return a flow of conversations that are archived after a part of their time."""
    return flow._replace(stay=flow.stay._replace(running_ms=flow.stay.running_ms * share))


def _count(found: Sequence[Flow], span: str) -> float:
    return math.fsum(littles_law(flow.per_day, getattr(flow.stay, span)) for flow in found)
