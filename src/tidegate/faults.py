"""What goes wrong, kept apart from the rest: a wall for each item of each loop, and how often each part met one.

A wall stops an error at the item that it belongs to: a row, a job, a connection, an answer; whoever builds it puts the
item aside, and the loop goes on. A cancellation and the end of the process are no errors and pass; so does
`StoreBroken`, after which nothing can be acknowledged. What was stopped is counted for its part, logged, and named in
the status.

Around one round of a loop stands a `turn`: a loop whose turns all fail rests longer and longer between them, and once
that has lasted for `STUCK_MS` the part counts as stuck, which makes the gateway not ready. What fails outside, such as
a full disk or a provider, is counted and makes nobody stuck.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self

from tidegate import log
from tidegate.clock import MINUTE_MS, SECOND_MS, Clock, SystemClock, iso
from tidegate.errors import DiskFull, ModelFailed, Short, StoreBroken, TidegateError

STUCK_MS = 5 * MINUTE_MS  # of nothing but failed turns
LOG_AGAIN_MS = MINUTE_MS  # the same fault of a part is logged this often at most
FIRST_REST_MS = 1 * SECOND_MS  # after a failed turn; twice as long after each further one,
LONGEST_REST_MS = MINUTE_MS  # and never longer
MAX_CHARS = 200  # of the name of an item, and of the words of an error

_OUTSIDE = (DiskFull, Short, ModelFailed)

_log = log.get("faults")


class Area(StrEnum):
    """Where something can go wrong, a closed set."""

    RUNNER = "runner"
    SWEEP = "sweep"
    DISK = "disk"
    JOBS = "jobs"
    SKILLS = "skills"
    OUTBOX = "outbox"
    SPEND = "spend"
    MEMORY = "memory"
    HOOKS = "hooks"
    BACKUP = "backup"
    GROWTH = "growth"
    PRESSURE = "pressure"
    ALERTS = "alerts"
    LAG = "lag"
    #: the sign of life for whatever started the process
    LIFE = "life"
    #: the summaries of conversations
    COMPACTION = "compaction"
    #: an optional step of a prompt: what is remembered, the skills
    PROMPT = "prompt"
    #: who is told of commits
    STORE = "store"
    #: requests that failed inside
    REQUEST = "request"


class Fault(NamedTuple):
    """The last fault of a part."""

    at: int
    #: what it was about: a job, a session, a webhook; empty for the part itself
    item: str
    error: str


class ItemWall:
    """Stops the error of one item; once left, *error* is what was stopped, if anything was."""

    def __init__(self, faults: "Faults", part: Area, item: str = "") -> None:
        #: what was stopped, if anything was
        self.error: Exception | None = None
        self._faults = faults
        self._part = part
        self._item = item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or is_of_the_store(error):
            return False
        self._faults.count(self._part, error, self._item)
        self.error = error.with_traceback(None)  # frames hold on to all that was in them
        return True


class TurnWall(ItemWall):
    """Stops the error of one round of a loop, and says how long the loop then rests."""

    def __enter__(self) -> Self:
        self.error = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        is_stopped = super().__exit__(kind, error, trace)
        if is_stopped and self.error is not None:
            self._faults.fail(self._part, self.error, self._item)
        elif error is None:
            self.done()
        return is_stopped

    def done(self) -> None:
        """Say that the work of this round is done, before the loop waits for the next one."""
        self._faults.do_well(self._part, self._item)

    async def rest(self) -> None:
        """Rest after a turn that failed, longer after each further one."""
        if self.error is not None:
            await asyncio.sleep(self._faults.rest_ms(self._part, self._item) / 1_000)


class Failing(NamedTuple):
    """A part whose turns fail."""

    #: since when, by the wall clock and by the monotonic one
    since: int
    since_ms: int
    #: so often in a row
    times: int
    is_outside: bool


class Service(NamedTuple):
    """A long-lived loop; it serves until it is cancelled."""

    part: Area
    serve: Callable[[], Awaitable[None]]


class Faults:
    """The faults of one gateway since its start."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.counts = dict.fromkeys(Area, 0)
        #: how long a part rests after its first failed turn
        self.first_rest_ms = FIRST_REST_MS
        self.clock = clock or SystemClock()
        #: of each part, so never more than there are
        self._last: dict[Area, Fault] = {}
        #: of each loop: some parts have one for each webhook or plugin, which the configuration names
        self._failing: dict[tuple[Area, str], Failing] = {}
        self._logged_ms: dict[Area, int] = {}

    def wall(self, part: Area, item: str = "") -> ItemWall:
        """Build the wall of one item, which is named by what a person calls it."""
        return ItemWall(self, part, item)

    def turn(self, part: Area, loop: str = "") -> TurnWall:
        """Build the wall of one round of a loop; *loop* tells those of one part apart."""
        return TurnWall(self, part, loop)

    def count(self, part: Area, error: BaseException, item: str = "") -> None:
        """Count a fault, name it, and log it unless the same one was logged a moment ago."""
        fault = Fault(self.clock.now(), item[:MAX_CHARS], words(error))
        before, now = self._last.get(part), self.clock.monotonic()
        self.counts[part] += 1
        self._last[part] = fault
        is_known = before is not None and before[1:] == fault[1:]
        if is_known and now - self._logged_ms.get(part, 0) < LOG_AGAIN_MS:
            return
        self._logged_ms[part] = now
        # of what this house does not know the traceback is worth its room, once
        trace = None if is_known or isinstance(error, TidegateError) else error
        _log.warning("fault", about=part, item=fault.item, error=fault.error, exc_info=trace)

    async def keep(self, service: Service) -> None:
        """Serve for ever: a loop that ends or raises is started again, later and later while that goes on."""
        while True:
            with self.wall(service.part) as wall:
                await service.serve()
                raise EndedError
            self.fail(service.part, wall.error or EndedError())
            await asyncio.sleep(self.rest_ms(service.part) / 1_000)

    # How parts do ---------------------------------------------------------------------------------------------------

    def fail(self, part: Area, error: Exception, loop: str = "") -> None:
        """Note that a turn of a loop has failed."""
        is_outside = isinstance(error, _OUTSIDE)
        before = self._failing.get((part, loop))
        if before is None or before.is_outside is not is_outside:
            times = before.times if before else 0
            before = Failing(self.clock.now(), self.clock.monotonic(), times, is_outside)
        self._failing[part, loop] = before._replace(times=before.times + 1)

    def do_well(self, part: Area, loop: str = "") -> None:
        """Note that a turn of a loop has done its work."""
        self._failing.pop((part, loop), None)

    def rest_ms(self, part: Area, loop: str = "") -> int:
        """Return how long a loop rests before it tries again."""
        failing = self._failing.get((part, loop))
        times = failing.times if failing else 1
        return int(min(LONGEST_REST_MS, self.first_rest_ms << min(times - 1, 16)))

    def stuck(self) -> Sequence[Area]:
        """Return the parts that have not been able to do their own work for `STUCK_MS`."""
        now = self.clock.monotonic()
        found = (
            part
            for (part, _), failing in self._failing.items()
            if not failing.is_outside and now - failing.since_ms >= STUCK_MS
        )
        return list(dict.fromkeys(found))

    def reason(self) -> str:
        """Say why the gateway is not ready, in a sentence; empty where it is."""
        stuck = self.stuck()
        return "; ".join(
            f"{part} has failed since {iso(failing.since)}: {self._last[part].error}"
            for part in stuck
            if part in self._last and (failing := self._longest(part))
        )

    def report(self) -> Mapping[str, object]:
        """Return how each part does; every part and every field is always there."""
        return {part.value: self._told(part) for part in Area}

    def _longest(self, part: Area) -> Failing | None:
        """Return the loop of a part that has failed for the longest time."""
        found = (failing for (one, _), failing in self._failing.items() if one is part)
        return min(found, key=lambda failing: failing.since_ms, default=None)

    def _told(self, part: Area) -> dict[str, object]:
        last, failing = self._last.get(part), self._longest(part)
        return {
            "count": self.counts[part],
            "at": iso(last.at) if last else None,
            "item": (last.item or None) if last else None,
            "error": last.error if last else None,
            "failing_since": iso(failing.since) if failing else None,
            "stuck": part in self.stuck(),
        }


class EndedError(Exception):
    """The loop has ended."""


def is_of_the_store(error: BaseException) -> bool:
    """Whether an error says that nothing can be acknowledged any more, by itself or among others."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_of_the_store, error.exceptions))
    return isinstance(error, StoreBroken)


def words(error: BaseException) -> str:
    """Return what an error says, in one short line: its kind, unless it is one of this house."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = error.message if isinstance(error, TidegateError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())[:MAX_CHARS].rstrip(": ")
