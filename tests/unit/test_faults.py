import asyncio

import pytest

from tidegate.clock import MINUTE_MS, ManualClock
from tidegate.errors import Busy, Corrupt, DiskFull, ModelBusy, StoreBroken
from tidegate.faults import MAX_CHARS, STUCK_MS, Area, Faults, Service


def told(faults: Faults, part: Area) -> dict[str, object]:
    """Return what the status says of a part."""
    found = faults.report()[part]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "error",
    [
        OSError(24, "Too many open files"),
        MemoryError(),
        Busy(),
        Corrupt(),
        KeyError("x"),
        ExceptionGroup("several", [ValueError("1"), OSError(24, "2")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_stops_at_the_wall(error: Exception) -> None:
    """What fails for one item is counted for its part and named, and whoever built the wall learns of it."""
    clock = ManualClock()
    faults = Faults(clock)
    with faults.wall(Area.JOBS, "nightly") as wall:
        raise error
    assert wall.error is error
    assert error.__traceback__ is None
    assert faults.counts == dict.fromkeys(Area, 0) | {Area.JOBS: 1}
    last = told(faults, Area.JOBS)
    assert (last["count"], last["item"], last["at"]) == (1, "nightly", "2027-01-15T08:00:00.000Z")


def test_what_went_well_is_no_fault() -> None:
    """A wall that nothing ran into says so."""
    faults = Faults(ManualClock())
    with faults.wall(Area.JOBS, "nightly") as wall:
        pass
    assert wall.error is None
    assert set(faults.counts.values()) == {0}
    assert told(faults, Area.JOBS) == {
        "count": 0,
        "at": None,
        "item": None,
        "error": None,
        "failing_since": None,
        "stuck": False,
    }


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(),
        GeneratorExit(),
        StoreBroken(),
        ExceptionGroup("several", [ValueError(), ExceptionGroup("more", [StoreBroken()])]),
        BaseExceptionGroup("several", [ValueError(), asyncio.CancelledError()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_fault_of_an_item_passes(error: BaseException) -> None:
    """A cancellation, the end of the process, and a store that keeps nothing more are not stopped, nor counted."""
    faults = Faults(ManualClock())
    with pytest.raises(type(error)), faults.wall(Area.JOBS, "nightly"):
        raise error
    with pytest.raises(type(error)), faults.turn(Area.JOBS):
        raise error
    assert set(faults.counts.values()) == {0}


def test_names_and_words_are_bounded() -> None:
    """However much an error says, a line of it is kept."""
    faults = Faults(ManualClock())
    with faults.wall(Area.OUTBOX, "x" * 10_000):
        raise ValueError("a\nb" * 10_000)
    last = told(faults, Area.OUTBOX)
    assert last["item"] == "x" * MAX_CHARS
    assert last["error"] == ("ValueError: a" + " ba" * 10_000)[:MAX_CHARS].rstrip()


def test_a_part_that_only_fails_is_stuck() -> None:
    """Five minutes of nothing but failed turns make a part stuck; a turn that works makes it well at once."""
    clock = ManualClock()
    faults = Faults(clock)

    def turn(error: Exception | None = None) -> None:
        with faults.turn(Area.SWEEP):
            if error:
                raise error

    turn(ValueError("no such column"))
    clock.advance(STUCK_MS - 1)
    turn(ValueError("no such column"))
    assert (faults.stuck(), faults.reason()) == ([], "")
    clock.advance(1)
    assert faults.stuck() == [Area.SWEEP]
    assert faults.reason() == "sweep has failed since 2027-01-15T08:00:00.000Z: ValueError: no such column"
    assert told(faults, Area.SWEEP)["stuck"] is True
    turn()
    assert (faults.stuck(), faults.reason()) == ([], "")
    turn(ValueError())
    assert faults.stuck() == []
    assert told(faults, Area.SWEEP)["failing_since"] == "2027-01-15T08:05:00.000Z"


def test_a_loop_that_works_hides_no_other_of_its_part() -> None:
    """Of several loops of a part each has its own streak: one webhook that works makes no other well."""
    clock = ManualClock()
    faults = Faults(clock)
    for loop in ("a", "b"):
        with faults.turn(Area.OUTBOX, loop):
            raise ValueError(loop)
    clock.advance(STUCK_MS)
    assert faults.stuck() == [Area.OUTBOX]
    with faults.turn(Area.OUTBOX, "b"):
        pass
    assert faults.stuck() == [Area.OUTBOX]
    assert "outbox has failed since" in faults.reason()
    with faults.turn(Area.OUTBOX, "a"):
        pass
    assert faults.stuck() == []


@pytest.mark.parametrize("error", [DiskFull(), ModelBusy()], ids=lambda error: type(error).__name__)
def test_an_outage_makes_nobody_stuck(error: Exception) -> None:
    """What is out outside is counted; only what comes after it may be the part's own fault."""
    clock = ManualClock()
    faults = Faults(clock)
    for _ in range(3):
        with faults.turn(Area.ALERTS):
            raise error
        clock.advance(STUCK_MS)
    assert faults.counts[Area.ALERTS] == 3
    assert faults.stuck() == []
    with faults.turn(Area.ALERTS):
        raise Busy
    assert faults.stuck() == []


def test_a_part_rests_longer_and_longer() -> None:
    """After each failed turn it rests twice as long, a minute at most, and after one that worked not at all."""
    faults = Faults(ManualClock())
    rests = []
    for _ in range(9):
        with faults.turn(Area.SKILLS):
            raise OSError(24, "Too many open files")
        rests.append(faults.rest_ms(Area.SKILLS))
    assert rests == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, MINUTE_MS, MINUTE_MS, MINUTE_MS]
    faults.do_well(Area.SKILLS)
    with faults.turn(Area.SKILLS):
        raise OSError(24, "Too many open files")
    assert faults.rest_ms(Area.SKILLS) == 1_000


async def served_again(error: Exception | None) -> Faults:
    """Serve a loop that fails, or ends, at first, and then goes on."""
    faults, goes_on, begun = Faults(ManualClock()), asyncio.Event(), 0
    faults.first_rest_ms = 0

    async def serve() -> None:
        nonlocal begun
        begun += 1
        if begun == 3:
            goes_on.set()
            await asyncio.Event().wait()
        if error:
            raise error

    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(faults.keep(Service(Area.LAG, serve)))
        await goes_on.wait()
        keeping.cancel()
    return faults


@pytest.mark.parametrize("error", [None, RuntimeError("no")], ids=["ends", "raises"])
def test_a_loop_is_started_again(error: Exception | None) -> None:
    """A loop that ends, and one that raises, is started again and counted."""
    faults = asyncio.run(served_again(error))
    assert faults.counts[Area.LAG] == 2
    assert told(faults, Area.LAG)["error"] == ("RuntimeError: no" if error else "EndedError")
