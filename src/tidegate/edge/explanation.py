"""What grew since when, over HTTP: in words, with figures beside them."""

from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tidegate.clock import DAY_MS, SECOND_MS, iso
from tidegate.domain.sample import COARSE
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest
from tidegate.runtime import tracer
from tidegate.runtime.explainer import Explainer, Explanation
from tidegate.runtime.tracer import Allocations, Tracer
from tidegate.units import duration_ms, print_duration, print_size, print_span


class Explanations:
    """The handler over the instruments."""

    def __init__(self, explainer: Explainer, is_serving: Callable[[], bool]) -> None:
        """Explain; a trace ends early when the gateway stops serving."""
        self._explainer = explainer
        self._is_serving = is_serving
        self._tracer = Tracer()

    async def show(self, request: Request) -> Response:
        """Answer what grew since when; where it is asked for, what was allocated meanwhile, too."""
        asked = request.query_params
        since_ms = _duration("since", asked.get("since") or "1h", 1, COARSE.span_ms)
        allocations = None
        if asked.get("allocations"):
            ms = _duration("allocations", asked["allocations"], tracer.LEAST_MS, tracer.MOST_MS)
            allocations = await self._traced(request, ms)
        return Json(_out(await self._explainer.explain(since_ms), since_ms, allocations))

    async def _traced(self, request: Request, ms: int) -> Allocations:
        async def is_awaited() -> bool:
            return self._is_serving() and not await request.is_disconnected()

        return await self._tracer.trace(ms, is_awaited)


def _duration(name: str, text: str, least_ms: int, most_ms: int) -> int:
    """Read a duration.

    Raises:
        BadRequest: It is none, or not between its bounds.
    """
    try:
        found = duration_ms(text)
    except ValueError:
        raise BadRequest(
            f"{name}={text[:40]!r} is no duration", hint="write for example 60s, 1h or 7d"
        ) from None
    if not least_ms <= found <= most_ms:
        bounds = f"{print_duration(least_ms)} to {print_duration(most_ms)}"
        raise BadRequest(f"{name}={text[:40]!r} is out of bounds", hint=f"use {bounds}")
    return found


def _out(found: Explanation, asked_ms: int, allocations: Allocations | None) -> dict[str, object]:
    weights, since, process = found.weights, found.since, found.process_since
    return {
        "text": list(_told(found, asked_ms)),
        "now": iso(found.now),
        "boots": found.boot,
        "since": None
        if since is None
        else {"at": iso(since.at), "asked_s": asked_ms // SECOND_MS, "step_s": since.step_ms // SECOND_MS},
        "restarts": 0 if since is None else found.boot - since.boot,
        "process_since": None if process is None else iso(process.at),
        "grew": found.changes,
        "largest": {
            "sessions": weights.sessions,
            "jobs": weights.jobs,
            "skills": weights.skills,
            "looked_at": weights.looked_at,
            "is_all": weights.is_all,
        },
        "tables": weights.tables,
        "memory": {**found.memory, "free_bytes": found.free_bytes},
        "allocations": None if allocations is None else _traced_out(allocations),
    }


def _traced_out(found: Allocations) -> dict[str, object]:
    return {
        "seconds": round(found.traced_ms / SECOND_MS, 1),
        "is_cut": found.is_cut,
        "bytes": found.bytes,
        "blocks": found.blocks,
        "lines": msgspec.to_builtins(found.lines),
        "trace_bytes": found.trace_bytes,
        "cost": found.cost,
    }


def _told(found: Explanation, asked_ms: int) -> Iterator[str]:
    """Yield what people read: since when, what grew, what the allocator keeps."""
    if found.since is None:
        yield "There is no sample yet to compare with; the first one is taken within ten seconds."
        return
    ago_ms = found.now - found.since.at
    step = print_duration(found.since.step_ms)
    yield f"Since {_time(found.since.at, found.now)}, {print_span(ago_ms)} ago (samples every {step})."
    if ago_ms < asked_ms - 2 * found.since.step_ms:
        yield f"There are no older samples, so this is not the {print_span(asked_ms)} that was asked for."
    restarts = found.boot - found.since.boot
    if restarts:
        times = "once" if restarts == 1 else f"{restarts} times"
        whole = f"The gateway was started anew {times} since; what the process holds began anew with that"
        began = found.process_since
        yield (
            f"{whole}." if began is None else f"{whole}, so it is compared with {_time(began.at, found.now)}."
        )
    yield from (change.text for change in found.changes)
    if not found.changes:
        yield "Nothing grew."
    if found.free_bytes is not None:
        yield f"The system's allocator holds {print_size(found.free_bytes)} free that it has not given back."


def _time(at: int, now: int) -> str:
    """Print an instant as the clock on the wall shows it here, with its day if that is not today's."""
    then = datetime.fromtimestamp(at / 1_000).astimezone()
    return f"{then:%H:%M:%S}" if now - at < DAY_MS else f"{then:%d %b %H:%M}"
