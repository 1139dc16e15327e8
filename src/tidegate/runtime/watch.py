"""Who looks on while a run is carried out: nobody, unless telemetry is on."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum

from tidegate.agent.loop import Agent
from tidegate.store.admission import Claimed

#: around each attempt at a run; it gives the agent that the run has in the place of the one it takes
Watch = Callable[[Claimed, Agent], AbstractContextManager[Agent]]


class SpanOutcome(StrEnum):
    """What became of a span."""

    SENT = "sent"
    #: the collector did not take it
    FAILED = "failed"
    #: too many were waiting
    DROPPED = "dropped"


def unwatched(_claimed: Claimed, agent: Agent) -> AbstractContextManager[Agent]:
    """Look at nothing."""
    return nullcontext(agent)
