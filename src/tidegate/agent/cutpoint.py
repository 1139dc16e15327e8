"""Where a transcript may be cut in two, so that a summary can take the place of what comes before.

A call and its result are never split, nor is an answer of the model, nor a message and what first answers it. A call
that is still waiting for its result stays behind the cut; one that nobody will answer any more, since a later message
followed, holds nothing up.
"""

from collections.abc import Sequence
from itertools import accumulate

from tidegate.agent.measure import size
from tidegate.agent.pairing import pairs
from tidegate.domain.entry import Assistant, Body, Call, Notice, System, User


def cuts(bodies: Sequence[Body]) -> list[int]:
    """Return each place before which a transcript may end, in order; its end counts once it is answered."""
    last_message = max((at for at, body in enumerate(bodies) if isinstance(body, User)), default=-1)
    paired = pairs(bodies)
    holds = [0] * (len(bodies) + 1)  # how many calls begin, less how many end, to hold up what lies between
    for at, body in enumerate(bodies):
        if isinstance(body, Call) and (at in paired or at > last_message):
            holds[at] += 1
            holds[paired.get(at, len(bodies))] -= 1
    held = list(accumulate(holds))
    found = [at for at in range(1, len(bodies)) if not held[at - 1] and not _is_inside(bodies, at)]
    return [*found, len(bodies)] if _is_answered(bodies) and not held[len(bodies) - 1] else found


def choose(bodies: Sequence[Body], keep_bytes: int) -> int:
    """Return where to cut so that about *keep_bytes* stay: whole turns if they fit, else a part of the last one.

    0 where there is nothing to cut off.
    """
    left = _sizes_from(bodies)
    if left[0] <= keep_bytes:
        return 0
    possible = [at for at in _telling(bodies) if at < len(bodies)]
    turns = [at for at in possible if isinstance(bodies[at], User)]
    fitting = next((at for at in turns if left[at] <= keep_bytes), None)
    if fitting is not None:
        return fitting
    if turns and left[turns[-1]] <= 2 * keep_bytes:
        return turns[-1]
    return next((at for at in possible if left[at] <= keep_bytes), possible[-1] if possible else 0)


def last_turn(bodies: Sequence[Body]) -> int:
    """Return where to cut so that the last turn stays; where there is no other, it goes as well."""
    possible = _telling(bodies)
    turns = [at for at in possible if at < len(bodies) and isinstance(bodies[at], User)]
    return turns[-1] if turns else max(possible, default=0)


def within(bodies: Sequence[Body], cut: int, max_bytes: int) -> int:
    """Return the last cut up to *cut* that has no more than *max_bytes* before it, or else the first one."""
    possible = [at for at in _telling(bodies) if at <= cut]
    before = [0, *accumulate(map(size, bodies[:cut]))]
    return max((at for at in possible if before[at] <= max_bytes), default=min(possible, default=0))


def _telling(bodies: Sequence[Body]) -> list[int]:
    """Return the cuts before which something was said: of notices alone there is no summary."""
    first = next((at for at, body in enumerate(bodies) if not isinstance(body, Notice)), len(bodies))
    return [at for at in cuts(bodies) if at > first]


def _sizes_from(bodies: Sequence[Body]) -> list[int]:
    """Return how many bytes there are from each place on."""
    return [*accumulate(map(size, reversed(bodies)), initial=0)][::-1]


def _is_inside(bodies: Sequence[Body], at: int) -> bool:
    """Whether a place is in the middle of an answer, or between a message and its answer."""
    before, behind = bodies[at - 1], bodies[at]
    if isinstance(before, User):
        return not isinstance(behind, User | System)
    return isinstance(behind, Call) and isinstance(before, Assistant | Call)


def _is_answered(bodies: Sequence[Body]) -> bool:
    last = next((body for body in reversed(bodies) if not isinstance(body, Notice)), None)
    return isinstance(last, Assistant)
