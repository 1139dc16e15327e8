import asyncio
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from inside import inside
from tidegate.clock import DAY_MS
from tidegate.domain.session import PolicyName
from tidegate.errors import NotFound
from tidegate.store import doctor
from tidegate.store.doctor import NOT_CHECKED, OK, VIOLATED, Living
from tidegate.store.sqlite import NAME

NOW = 1_800_000_000_000


@pytest.fixture(autouse=True)
def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once: nothing is under way here."""
    monkeypatch.setattr(doctor, "LOOK_AGAIN_S", 0)


def violated(folder: Path, *, living: Living | None = None, now: int = NOW, scrub: bool = True) -> set[str]:
    """Return the names of the checks that found something."""
    findings = doctor.examine(folder, living, now, scrub=scrub)
    return {finding.name for finding in findings if finding.verdict == VIOLATED}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with a chat, an archived api session, one that is not archived yet, and a blob."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.sweeper.redate()
            await here.intake.outcome(await here.ask(PolicyName.API, "/echo archived"))
            await here.sweeper.sweep()
            await here.say("c", "/big 100000")
            await here.intake.outcome(await here.ask(PolicyName.API_NAMED, "/echo named", key="n"))

    asyncio.run(main())
    return tmp_path


def spoil(folder: Path, *statements: str) -> None:
    """Write past the store, as only a fault could."""
    connection = apsw.Connection(str(folder / NAME))
    connection.execute("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_healthy_store_passes(folder: Path) -> None:
    """Nothing is found in a store that nobody spoiled, read to the last byte."""
    assert set() == violated(folder)


SPOILED: dict[str, Callable[[Path], None]] = {
    "I1": lambda folder: spoil(folder, "DELETE FROM entries WHERE seq = 2"),
    "I2": lambda folder: spoil(folder, "DELETE FROM sessions WHERE key = 'c'"),
    "I3": lambda folder: spoil(folder, "UPDATE sessions SET due_at = NULL, due_to = NULL WHERE key = 'n'"),
    "I4": lambda folder: spoil(folder, "UPDATE sessions SET due_at = 1 WHERE key = 'n'"),
    "I5": lambda folder: spoil(folder, "UPDATE runs SET state = 'queued', outcome = NULL WHERE number = 1"),
    "I6": lambda folder: spoil(folder, "UPDATE entries SET body = zeroblob(70000) WHERE seq = 1"),
    "I9": lambda folder: spoil(folder, "INSERT INTO meta VALUES ('started_in_ms', '20000')"),
    "I10": lambda folder: spoil(
        folder,
        "DROP INDEX runs_one_at_a_time",
        "INSERT INTO runs (id, session, lane, origin, state, created_at) SELECT 'x' || number, session, lane, origin, "
        "'running', 0 FROM runs WHERE number = 2",
        "UPDATE runs SET state = 'running', outcome = NULL WHERE number = 2",
    ),
    "I11": lambda folder: spoil(folder, "DELETE FROM usage_daily"),
    "tallies": lambda folder: spoil(folder, "UPDATE tallies SET count = count + 1 WHERE family = 'session'"),
    "entries": lambda folder: spoil(folder, "UPDATE entries SET checksum = checksum + 1 WHERE seq = 1"),
    "segments": lambda folder: spoil(folder, "UPDATE segments SET digest = zeroblob(16)"),
    "snapshots": lambda folder: spoil(folder, "INSERT INTO snapshots VALUES ('x')"),
    "blobs": lambda folder: spoil(folder, "UPDATE chunks SET body = zeroblob(length(body)) WHERE part = 0"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_each_violation_is_found(folder: Path, name: str) -> None:
    """Each invariant is seen to be broken when it is."""
    SPOILED[name](folder)

    assert name in violated(folder)


def test_dates_are_judged_by_the_last_sweep(folder: Path) -> None:
    """What fell due while no gateway ran is not overdue; once one runs, it is."""
    later = NOW + 60 * DAY_MS
    living = Living(containers={}, shares_reads=True, holds_deletes=False)

    assert set() == violated(folder, now=later)
    assert {"I4"} == violated(folder, now=later, living=living)


def test_held_deletes_are_not_overdue(folder: Path) -> None:
    """While the clock is in doubt, a deletion that waits is no violation."""
    spoil(folder, "UPDATE sessions SET due_at = 1 WHERE due_to = 'deleted'")

    assert {"I4"} == violated(folder, living=Living({}, shares_reads=None, holds_deletes=False))
    assert set() == violated(folder, living=Living({}, shares_reads=None, holds_deletes=True))


def test_living_gateway_answers_for_itself(folder: Path) -> None:
    """What only a running gateway can tell is checked with it, and not checked without."""
    full = Living(
        {"queue": (11, 10)},
        shares_reads=False,
        holds_deletes=False,
        people_first=False,
        faults={"jobs": "jobs: 1, last nightly: no such zone", "sweep": "sweep: 9, last: no such column"},
        stuck=["sweep"],
    )
    without = [
        finding.name for finding in doctor.examine(folder, None, NOW, scrub=False) if _is_open(finding)
    ]

    assert {"I7", "I8", "I12", "I13"} == violated(folder, living=full)
    assert ["I7", "I8", "I9", "I12", "I13"] == without


def test_faults_that_were_put_aside_are_named(folder: Path) -> None:
    """What failed and was put aside violates nothing, and is shown."""
    told = {"jobs": "jobs: 1, last nightly: no such zone"}
    living = Living({}, shares_reads=True, holds_deletes=False, faults=told)
    found = {one.name: one for one in doctor.examine(folder, living, NOW, scrub=False)}["I13"]

    assert (found.verdict, found.detail) == (OK, told["jobs"])


def _is_open(finding: doctor.Finding) -> bool:
    return finding.verdict == NOT_CHECKED


def test_folder_without_a_store(tmp_path: Path) -> None:
    """A folder without a store is named, and no store is made there."""
    with pytest.raises(NotFound):
        list(doctor.examine(tmp_path, None, NOW, scrub=False))

    assert [] == list(tmp_path.iterdir())
