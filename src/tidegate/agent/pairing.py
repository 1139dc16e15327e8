"""Which result belongs to which call, and ids that tell calls apart.

Providers use ids again, in the next answer as in the same one, and clients send such histories; so order decides: a
result belongs to the latest answer that waits for one under its id, there to the first such call.
"""

import hashlib
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from itertools import chain, count

from tidegate.domain.entry import Body, Call, Notice, Result

ID_CHARS = 9  # of an id that is made here: letters and digits, all that Mistral takes


def pairs(bodies: Sequence[Body]) -> Mapping[int, int]:
    """Return where the result of the call at each place is; a call that has none is left out."""
    found: dict[int, int] = {}
    #: by id, the calls of each answer that wait for a result
    pending: defaultdict[str, list[deque[int]]] = defaultdict(list)
    answer, is_inside = 0, False  # an answer is a row of calls
    latest: dict[str, int] = {}
    for at, body in enumerate(bodies):
        if isinstance(body, Call):
            answer += not is_inside
            if latest.get(body.call_id) != answer:
                pending[body.call_id].append(deque())
                latest[body.call_id] = answer
            pending[body.call_id][-1].append(at)
        elif isinstance(body, Result):
            waiting = pending[body.call_id]
            while waiting and not waiting[-1]:
                waiting.pop()
            if waiting:
                found[waiting[-1].popleft()] = at
        is_inside = isinstance(body, Call) or (is_inside and isinstance(body, Notice))
    return found


def unused(call_id: str, taken: Collection[str]) -> str:
    """Return an id that is none of those *taken*: always the same for the same ones, so that prompts stay the same.

    Where it is then taken as well, the next one for the same id is found at once, too.
    """
    numbers = chain([0], count(len(taken)))
    made = (hashlib.sha256(f"{call_id} {number}".encode(errors="replace")).hexdigest() for number in numbers)
    return next(one for whole in made if (one := whole[:ID_CHARS]) not in taken)
