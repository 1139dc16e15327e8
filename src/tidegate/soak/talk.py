"""What one session of a soak says, and how it must end: a mix of the ordinary, the large and the failing.

The same seed and number give the same talk; what a talk costs to make does not depend on how many came before.
"""

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from tidegate.config import Agent
from tidegate.domain.session import Outcome, PolicyName

#: agents beside `main`: one may not ask again after a tool call, one may not take its time
AGENTS: Mapping[str, Agent] = MappingProxyType(
    {"main": Agent(), "brief": Agent(max_steps=1), "hasty": Agent(max_time_ms=2_000)}
)
SPILLS_BYTES = (66_000, 100_000)  # above 64 KiB a text leaves its row
LONGEST_S = 5.0  # of virtual time that a talk takes, at most


class Talk(NamedTuple):
    """One message, and what becomes of its run."""

    shape: str
    text: str
    agent: str = "main"
    outcome: Outcome = Outcome.OK
    #: the client takes the message back at once
    is_cancelled: bool = False
    kind: PolicyName = PolicyName.API
    #: of the session; None is a new one
    key: str | None = None
    #: a limit may keep it out, which is no error
    may_be_refused: bool = False


def _echo(chance: random.Random) -> Talk:
    return Talk("echo", f"/echo {_words(chance, 20, 2_000)}")


def _plain(chance: random.Random) -> Talk:
    return Talk("plain", _words(chance, 10, 200))


def _tool(chance: random.Random) -> Talk:
    return Talk("tool", f"/big {chance.randrange(100, 16_000)}")


def _spilled_result(chance: random.Random) -> Talk:
    return Talk("spilled_result", f"/big {chance.randrange(*SPILLS_BYTES)}")


def _spilled_message(chance: random.Random) -> Talk:
    return Talk("spilled_message", f"/echo {_words(chance, *SPILLS_BYTES)}")


def _slow(chance: random.Random) -> Talk:
    return Talk("slow", f"/sleep {chance.randrange(100, 3_000) / 1_000}")


def _wrong_call(chance: random.Random) -> Talk:
    return Talk("wrong_call", f"/big {chance.randrange(10**12, 10**13)}")


def _over_budget(chance: random.Random) -> Talk:
    return Talk("over_budget", f"/big {chance.randrange(10, 1_000)}", "brief", Outcome.FAILED)


def _too_late(_: random.Random) -> Talk:
    return Talk("too_late", f"/sleep {LONGEST_S:g}", "hasty", Outcome.TIMED_OUT)


def _taken_back(_: random.Random) -> Talk:
    return Talk("taken_back", "/sleep 3", outcome=Outcome.CANCELLED, is_cancelled=True)


#: how many of a hundred talks have each shape
SHAPES: Mapping[Callable[[random.Random], Talk], int] = MappingProxyType(
    {
        _echo: 60,
        _plain: 12,
        _tool: 12,
        _spilled_result: 2,
        _spilled_message: 2,
        _slow: 5,
        _wrong_call: 2,
        _over_budget: 2,
        _too_late: 1,
        _taken_back: 2,
    }
)
_MAKERS = tuple(SHAPES)
_WEIGHTS = tuple(SHAPES.values())


def talk(seed: int, number: int) -> Talk:
    """Return what is said in the session of this number."""
    chance = random.Random(seed << 64 | number)  # noqa: S311 - a load that can be had again, no secret
    (make,) = chance.choices(_MAKERS, _WEIGHTS)
    return make(chance)


def _words(chance: random.Random, least: int, most: int) -> str:
    """Return a text of about that many characters that is hard to compress and unlike all others."""
    return chance.randbytes(chance.randrange(least, most) // 2).hex()
