"""Which result belongs to which call: providers may use an id again, so order decides."""

from collections.abc import Mapping, Sequence

from tidegate.domain.entry import Body, Call, Result


def pairs(bodies: Sequence[Body]) -> Mapping[int, int]:
    """Return where the result of the call at each place is; a call that has none is left out."""
    found: dict[int, int] = {}
    pending: list[int] = []
    for at, body in enumerate(bodies):
        if isinstance(body, Call):
            pending.append(at)
        elif isinstance(body, Result):
            call = next((one for one in pending if _call_id(bodies[one]) == body.call_id), None)
            if call is not None:
                pending.remove(call)
                found[call] = at
    return found


def _call_id(body: Body) -> str | None:
    return body.call_id if isinstance(body, Call) else None
