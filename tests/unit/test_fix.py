# ruff: noqa: S608 - the values are ours
import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw
import msgspec
import pytest

from inside import inside
from tidegate.domain.entry import User
from tidegate.domain.fact import Note
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.session import PolicyName
from tidegate.errors import Corrupt, NotFound
from tidegate.store import doctor, orphans
from tidegate.store.connection import SqliteReads, open_reader
from tidegate.store.disk import stamp
from tidegate.store.fix import Fixed, fix
from tidegate.store.sqlite import NAME
from work import offer

NOW = 1_800_000_000_000


@pytest.fixture(autouse=True)
def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once: nothing is under way here."""
    monkeypatch.setattr(doctor, "LOOK_AGAIN_S", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with a chat and its blob, a child, an archived api session, and one that is not archived yet."""

    async def main() -> None:
        async with inside(tmp_path) as here:
            await here.sweeper.redate()
            await here.intake.outcome(await here.ask(PolicyName.API, "/echo archived", key="cold"))
            await here.sweeper.sweep()
            await here.say("c", "/big 100000")
            await here.intake.outcome(await here.ask(PolicyName.API_NAMED, "/echo named", key="n"))
            parent = here.head("c").id
            child = offer(PolicyName.SUBAGENT, parent=parent, key="child", text="/echo kid")
            await here.intake.outcome((await here.intake.submit(child)).run)
            for number in range(3):
                note = Note(text=f"tea {number}", source=parent)
                fact = (await here.store.facts.remember("main", note)).fact
            await here.store.facts.keep_vectors("tiny", [(fact, b"1234")])

    asyncio.run(main())
    return tmp_path


def spoil(folder: Path, *statements: str) -> None:
    """Write past the store, as only a fault could; counts and cascades do not follow."""
    connection = apsw.Connection(str(folder / NAME))
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    connection.execute("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()


def repaired(folder: Path) -> Fixed:
    """Repair a store, which is then as it must be: a second repair finds nothing to do."""
    fixed = fix(folder, DEFAULTS, NOW)
    before = dump(folder)
    assert Fixed([], None, None) == fix(folder, DEFAULTS, NOW + 5_000)
    assert before == dump(folder)
    return fixed


def violated(folder: Path) -> set[str]:
    """Return the names of the checks that found something."""
    findings = doctor.examine(folder, None, NOW, scrub=True)
    return {finding.name for finding in findings if finding.verdict == doctor.VIOLATED}


def dump(folder: Path) -> Mapping[str, Sequence[object]]:
    """Return every row of a store, by table."""
    connection = open_reader(folder / NAME)
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    found = {
        str(name): sorted(map(repr, connection.execute(f"SELECT * FROM {name}").fetchall()))
        for (name,) in tables
    }
    connection.close()
    return found


def archived(fixed: Fixed) -> list[str]:
    """Return the types of the rows that were written down before they were removed."""
    assert fixed.archive is not None
    assert 0o600 == fixed.archive.stat().st_mode & 0o777
    return sorted(json.loads(line)["type"] for line in fixed.archive.read_text().splitlines())


def names(fixed: Fixed) -> list[str]:
    """Return the names of the repairs."""
    return [repair.name for repair in fixed.repairs]


def test_a_healthy_store_is_left_alone(folder: Path) -> None:
    """Where nothing is wrong nothing is written, not even a backup."""
    before = dump(folder)

    assert Fixed([], None, None) == fix(folder, DEFAULTS, NOW)
    assert before == dump(folder)
    assert not list((folder / "backups").glob("*"))


LOST = {
    "head": ("DELETE FROM sessions WHERE key = 'c'", "I2"),
    "reference": ("DELETE FROM session_blobs", "I2"),
    "blob": ("DELETE FROM blobs", "I2"),
    "trim": ("INSERT INTO trims VALUES ('nobody')", "I2"),
    "segment": ("DELETE FROM sessions WHERE key = 'cold'", "I2"),
    "date": ("UPDATE sessions SET due_at = NULL, due_to = NULL WHERE key IN ('n', 'child')", "I3"),
    "counts": ("UPDATE tallies SET count = count + 1, bytes = bytes - 1", "tallies"),
    "no count": ("DELETE FROM tallies WHERE family IN ('run', 'session')", "tallies"),
    "receipts": ("UPDATE tallies SET count = 7 WHERE family = 'receipt'", "tallies"),
    "ended": ("UPDATE runs SET state = 'queued', outcome = NULL WHERE number = 1", "I5"),
    "wait for nothing": (
        (
            "UPDATE runs SET state = 'waiting', outcome = NULL, finished_at = NULL WHERE number = 2; "
            "UPDATE sessions SET turn_at = 1 WHERE key = 'c'"
        ),
        "I2",
    ),
    "debt": (
        "INSERT INTO spawns SELECT id, id, 'gone', 'c1', 'spawn_agent', '', 1 FROM sessions WHERE key = 'c'",
        "I2",
    ),
    "question": (
        (
            "INSERT INTO approvals SELECT 'q', id, 'gone', 'main', 'c1', 'shell', '{}', 'd', 'pending', 0, 1, 1, NULL "
            "FROM sessions WHERE key = 'c'"
        ),
        "I2",
    ),
    "source": ("UPDATE facts SET source = 'nobody' WHERE text = 'tea 1'", "I2"),
    "flush": ("INSERT INTO flushes VALUES ('nobody', 7)", "I2"),
    "vector": ("DELETE FROM facts WHERE text = 'tea 2'", "I2"),
    "fact without words": (
        (
            "INSERT INTO facts SELECT number + 10, 'x', agent, 'milk', '', '', '', '', 5, 'agent', NULL, "
            "1, 1, 1, NULL, x'00', NULL, 4, 0 FROM facts LIMIT 1"
        ),
        "facts",
    ),
    "other words": ("UPDATE facts SET text = 'milk' WHERE text = 'tea 1'", "words"),
    "words without a fact": ("DELETE FROM facts WHERE text = 'tea 1'", "facts"),
    "fact count": ("UPDATE tallies SET count = 9 WHERE family = 'fact'", "tallies"),
    "no turn": ("UPDATE runs SET state = 'waiting', outcome = NULL WHERE number = 2", "I5"),
}


@pytest.mark.parametrize("name", LOST)
def test_each_violation_is_repaired(folder: Path, name: str) -> None:
    """What the doctor finds and can mend is mended; the store as it was is in the backup."""
    statement, check = LOST[name]
    spoil(folder, statement)
    before = dump(folder)
    assert check in violated(folder)
    fixed = repaired(folder)

    assert set() == violated(folder)
    assert fixed.repairs
    assert fixed.backup is not None
    (folder / "then").mkdir()
    fixed.backup.rename(folder / "then" / NAME)
    assert before == dump(folder / "then")


def test_what_is_removed_is_kept(folder: Path) -> None:
    """Each row that has lost its owner is written down with its type before it goes, the bytes of its blob too."""
    spoil(folder, "DELETE FROM sessions WHERE key = 'c'")
    reads = SqliteReads(open_reader(folder / NAME))
    before = Counter(orphans.count(reads)) + Counter(blob=1, chunk=2)
    reads.connection.close()
    fixed = repaired(folder)

    assert before == Counter(archived(fixed))
    assert ["child", "fact", "run", "entry", "reference", "blob", "chunk", "tallies"] == names(fixed)


def test_a_child_outlives_its_lost_parent(folder: Path) -> None:
    """A session whose parent is gone is not removed: it stands for itself, with all that was said in it."""
    spoil(folder, "DELETE FROM sessions WHERE key = 'c'")
    repaired(folder)

    async def main() -> None:
        async with inside(folder) as here:
            assert here.head("child").parent is None
            assert ["/echo kid", "kid"] == await here.texts("child")

    asyncio.run(main())


def test_a_lost_turn_is_given_back(folder: Path) -> None:
    """Work that waits in a chat nobody runs is carried out by the next gateway."""
    prompt = msgspec.json.encode([User(text="/echo late")]).hex()
    spoil(
        folder,
        "INSERT INTO runs (id, session, lane, origin, state, created_at, prompt) SELECT 'lost', id, 'interactive', "
        f"'message', 'queued', 1, x'{prompt}' FROM sessions WHERE key = 'c'",
    )
    assert ["ended", "tallies"] == names(repaired(folder))

    async def main() -> None:
        async with inside(folder) as here:
            run = here.store.open_runs(here.head("c").id)[0]
            await here.intake.outcome(run)
            assert ["/echo late", "late"] == (await here.texts("c"))[-2:]

    asyncio.run(main())


def test_a_message_to_a_finished_session_is_kept(folder: Path) -> None:
    """A queued run in a session that has ended is closed, and its message enters the transcript."""
    prompt = msgspec.json.encode([User(text="too late")]).hex()
    spoil(
        folder,
        "INSERT INTO runs (id, session, lane, origin, state, created_at, prompt) SELECT 'lost', id, 'subagent', "
        f"'spawn', 'queued', 1, x'{prompt}' FROM sessions WHERE key IN ('child')",
    )
    repaired(folder)

    async def main() -> None:
        async with inside(folder) as here:
            assert ["/echo kid", "kid", "too late"] == await here.texts("child")

    asyncio.run(main())


def test_two_at_once_are_queued(folder: Path) -> None:
    """Two running runs of one session are queued, to be carried out one after the other."""
    spoil(
        folder,
        "DROP INDEX runs_one_at_a_time",
        "UPDATE sessions SET turn_at = 1 WHERE key = 'c'",
        "INSERT INTO runs (id, session, lane, origin, state, created_at) SELECT 'x' || number, session, lane, origin, "
        "'running', 0 FROM runs WHERE number = 2",
        "UPDATE runs SET state = 'running', outcome = NULL WHERE number = 2",
    )
    assert {"I10", "tallies"} <= violated(folder)

    assert ["two at once", "tallies"] == names(repaired(folder))
    assert set() == violated(folder)


def test_damage_stays_where_it_is(folder: Path) -> None:
    """What is damaged is not touched, and the doctor says in which session it is."""
    spoil(
        folder,
        "UPDATE entries SET checksum = checksum + 1 WHERE seq = 2",
        "UPDATE segments SET digest = zeroblob(16)",
        "UPDATE chunks SET body = zeroblob(length(body)) WHERE part = 0",
    )
    before = dump(folder)
    fixed = fix(folder, DEFAULTS, NOW)
    told = {finding.name: finding.detail for finding in doctor.examine(folder, None, NOW, scrub=True)}

    assert Fixed([], None, None) == fixed
    assert before == dump(folder)
    assert "session c " in told["entries"]
    assert "session cold:" in told["segments"]
    assert "in session c)" in told["blobs"]


def test_a_damaged_file_is_refused(folder: Path) -> None:
    """Where the file itself is damaged nothing is repaired in it, and no half backup stays."""
    spoil(folder, "UPDATE tallies SET count = 1000")
    connection = open_reader(folder / NAME)
    rows = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'runs_queued'").fetchall()
    connection.close()
    data = bytearray((folder / NAME).read_bytes())
    page = int(str(rows[0][0])) - 1
    data[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    (folder / NAME).write_bytes(data)
    with pytest.raises(Corrupt):
        fix(folder, DEFAULTS, NOW)

    assert [] == list((folder / "backups").iterdir())
    assert bytes(data[100:]) == (folder / NAME).read_bytes()[100:]


def test_a_failed_archive_undoes_everything(folder: Path) -> None:
    """What cannot be written down first is not removed."""
    spoil(folder, "DELETE FROM sessions WHERE key = 'c'")
    before = dump(folder)
    (folder / "backups").mkdir()
    (folder / "backups" / f"orphans-{stamp(NOW)}.jsonl").write_text("somebody else's")
    with pytest.raises(Exception, match="cannot be written"):
        fix(folder, DEFAULTS, NOW)

    assert before == dump(folder)


def test_many_orphans_go_in_slices(folder: Path) -> None:
    """However many there are, all of them go."""
    spoil(
        folder,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001) "
        "INSERT INTO entries (session, seq, body, checksum) SELECT 'nobody', i, x'00', 0 FROM n",
    )
    fixed = repaired(folder)

    assert 1001 == len(archived(fixed))
    assert set() == violated(folder)


def test_a_folder_without_a_store(tmp_path: Path) -> None:
    """Where there is no store none is made."""
    with pytest.raises(NotFound):
        fix(tmp_path, DEFAULTS, NOW)

    assert [] == list(tmp_path.iterdir())
