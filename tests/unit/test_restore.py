import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from inside import inside
from tidegate.clock import DAY_MS, HOUR_MS
from tidegate.domain.session import PolicyName
from tidegate.errors import BadRequest, ConfigError, Corrupt, NotFound, Unavailable
from tidegate.store import doctor, replacement, scrub
from tidegate.store.backup import PART, Rules, back_up
from tidegate.store.connection import open_reader
from tidegate.store.replacement import RESTORED_AT
from tidegate.store.restore import restore
from tidegate.store.sql import migrations
from tidegate.store.sqlite import NAME

NOW = 1_800_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder whose store has the session ``new``, and a backup from before it, with the session ``old``."""
    state = tmp_path / "state"
    state.mkdir()

    async def main() -> None:
        async with inside(state) as here:
            await here.say("old", "/big 100000")
            await here.intake.outcome(await here.ask(PolicyName.API, "/echo short"))
            await here.sweeper.sweep()
            await here.store.remember("boots", "3")
            back_up(here.store.path, tmp_path / "backup.db", Rules())
            await here.say("new", "/echo new")
            await here.store.remember("boots", "9")

    asyncio.run(main())
    return state


def backup_of(folder: Path) -> Path:
    """Return the backup."""
    return folder.parent / "backup.db"


def keys(path: Path) -> list[str]:
    """Return the keys of the chats in a store."""
    connection = open_reader(path)
    found = connection.execute("SELECT key FROM sessions WHERE policy = 'chat' ORDER BY key").fetchall()
    connection.close()
    return [str(row[0]) for row in found]


def files(folder: Path) -> set[str]:
    """Return the names of what lies in a folder and below it; whoever reads a store makes an index of its log."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(f"{NAME}-")}


def test_a_backup_comes_back(folder: Path) -> None:
    """The store is as it was; the one that was there is kept whole, and the backup is only read."""
    before = backup_of(folder).read_bytes()
    restored = restore(folder, backup_of(folder), NOW)

    assert ["old"] == keys(folder / NAME)
    assert restored.kept is not None
    assert ["new", "old"] == keys(restored.kept)
    assert before == backup_of(folder).read_bytes()
    assert (2, 0) == (restored.contents.sessions, restored.contents.open_runs)
    findings = doctor.examine(folder, None, NOW, scrub=True)
    assert [] == [finding.name for finding in findings if finding.verdict == doctor.VIOLATED]
    assert 0o600 == (folder / NAME).stat().st_mode & 0o777


def test_a_gateway_goes_on_from_there(folder: Path) -> None:
    """What was said in the backup is there, and starts are counted on from the store that was replaced."""
    restore(folder, backup_of(folder), NOW)

    async def main() -> None:
        async with inside(folder) as here:
            assert "/big 100000" == (await here.texts("old"))[0]
            assert "9" == here.store.meta("boots")
            await here.say("old", "/echo again")

    asyncio.run(main())


def test_an_empty_folder_gets_a_store(tmp_path: Path, folder: Path) -> None:
    """A backup is as good on a new machine, where nothing was there before."""
    other = tmp_path / "other"
    other.mkdir()
    restored = restore(other, backup_of(folder), NOW)

    assert restored.kept is None
    assert ["old"] == keys(other / NAME)


def test_the_log_of_a_killed_gateway_goes_along(folder: Path) -> None:
    """A store with a log is kept with its log, and that log never meets the new store."""
    connection = apsw.Connection(str(folder / NAME))
    connection.execute("UPDATE sessions SET key = 'logged' WHERE key = 'new'")
    killed = folder.parent / "killed"
    shutil.copytree(folder, killed)
    connection.close()
    assert (killed / f"{NAME}-wal").stat().st_size
    restored = restore(killed, backup_of(folder), NOW)

    assert ["old"] == keys(killed / NAME)
    assert restored.kept is not None
    assert ["logged", "old"] == keys(restored.kept)


def test_a_damaged_store_is_replaced(folder: Path) -> None:
    """What is there need not be readable: that is what backups are for."""
    (folder / NAME).write_bytes(b"not a database at all" * 1_000)
    restored = restore(folder, backup_of(folder), NOW)

    assert ["old"] == keys(folder / NAME)
    assert restored.kept is not None
    assert restored.kept.read_bytes().startswith(b"not a database")


def _damage_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 * 5 : 4096 * 6] = b"\xff" * 4096
    path.write_bytes(data)


def _run(statement: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        connection = apsw.Connection(str(path))
        connection.execute(statement)
        connection.close()

    return run


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def _foreign(path: Path) -> None:
    path.unlink()
    _run("CREATE TABLE sessions (a)")(path)


UNFIT: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "missing": (Path.unlink, NotFound),
    "empty": (lambda path: path.write_bytes(b""), BadRequest),
    "text": (lambda path: path.write_text("hello"), BadRequest),
    "foreign": (_foreign, BadRequest),
    "cut": (_cut, Corrupt),
    "page": (_damage_page, Corrupt),
    "entry": (_run("UPDATE entries SET checksum = checksum + 1 WHERE seq = 1"), Corrupt),
    "blob": (_run("UPDATE chunks SET body = zeroblob(length(body))"), Corrupt),
    "too new": (_run(f"PRAGMA user_version = {len(migrations()) + 2}"), ConfigError),
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_file_changes_nothing(folder: Path, name: str) -> None:
    """A file that is damaged, foreign or too new is refused, and nothing has been touched."""
    spoil, expected = UNFIT[name]
    spoil(backup_of(folder))
    before = (folder / NAME).read_bytes(), files(folder)
    with pytest.raises(expected):
        restore(folder, backup_of(folder), NOW)

    assert before == ((folder / NAME).read_bytes(), files(folder))


def test_an_older_backup_is_migrated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup of an older schema has the schema of this release once it is back; the file stays as it was."""
    script = "CREATE TABLE extra (a); INSERT INTO extra VALUES (1);"
    scripts = [*migrations(), script]
    monkeypatch.setattr("tidegate.store.migrate.migrations", lambda: scripts)
    restore(folder, backup_of(folder), NOW)
    connection = open_reader(folder / NAME)

    assert [(1,)] == connection.execute("SELECT a FROM extra").fetchall()
    connection.close()


def test_open_work_and_past_dates_are_told(folder: Path) -> None:
    """Whoever restores is told how much will be done again, and what is past its date."""

    async def main() -> None:
        async with inside(folder) as here:
            await here.store.writer.write(
                lambda tx: tx.run("session_dated", id=here.head("old").id, due_at=NOW, due_to="deleted")
            )
            await here.send("open", "/echo never done")
            back_up(here.store.path, backup_of(folder), Rules(is_forced=True))

    asyncio.run(main())
    restored = restore(folder, backup_of(folder), NOW + 7 * DAY_MS)

    assert 1 == restored.contents.open_runs
    assert 2 == restored.overdue_deletes


def test_nothing_is_deleted_in_surprise(folder: Path) -> None:
    """After a restore deleting by date is held until an hour has passed in one life; then the store forgets it."""
    connection = apsw.Connection(str(backup_of(folder)))
    connection.execute("UPDATE sessions SET due_at = 1 WHERE due_to = 'deleted'")
    connection.close()
    restore(folder, backup_of(folder), NOW)

    async def deleted(*spans_ms: int) -> list[int]:
        async with inside(folder) as here:
            found = []
            for span_ms in spans_ms:
                here.clock.advance(span_ms)
                found.append((await here.sweeper.sweep()).deleted)
            return found

    assert [0, 0] == asyncio.run(deleted(0, HOUR_MS - 1))
    assert str(NOW) == _meta(folder)
    assert [0, 1] == asyncio.run(deleted(0, HOUR_MS))
    assert "" == _meta(folder)


def _meta(folder: Path) -> str:
    connection = open_reader(folder / NAME)
    found = connection.execute("SELECT value FROM meta WHERE key = ?", (RESTORED_AT,)).fetchall()
    connection.close()
    return str(found[0][0])


def test_a_decided_replacement_is_completed_by_a_start(folder: Path) -> None:
    """Once it is decided, whoever opens the store next completes it; until then nobody reads what is half there."""
    shutil.copy(backup_of(folder), folder / f"{NAME}{replacement.MARK}20261121-033000")
    with pytest.raises(Unavailable):
        list(doctor.examine(folder, None, NOW, scrub=False))

    async def main() -> None:
        async with inside(folder) as here:
            assert here.store.session("new") is None

    asyncio.run(main())
    assert ["old"] == keys(folder / NAME)
    assert ["new", "old"] == keys(folder / "backups" / "replaced-20261121-033000.db")


def test_verifying_reads_everything(folder: Path) -> None:
    """A sound store verifies."""
    connection = open_reader(folder / NAME)
    scrub.verify(connection)
    connection.close()


def test_restoring_a_restored_store_leaves_no_litter(folder: Path) -> None:
    """Restoring twice keeps both stores that were there, and nothing else."""
    restore(folder, backup_of(folder), NOW)
    restore(folder, backup_of(folder), NOW + 1_000)
    names = files(folder)

    assert 2 == sum(name.startswith("backups/replaced-") for name in names)
    assert not [name for name in names if PART in name or "staged" in name]


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (
            "CREATE TRIGGER spy AFTER INSERT ON entries BEGIN UPDATE meta SET value = 'seen'; END",
            "trigger 'spy' was added",
        ),
        ("CREATE VIEW spying AS SELECT * FROM entries", "view 'spying' was added"),
        ("CREATE TABLE hoard (x)", "table 'hoard' was added"),
        ("CREATE INDEX odd ON entries (length(body))", "index 'odd' was added"),
        ("ALTER TABLE meta ADD COLUMN g AS (hex(value))", "table 'meta' is not as it was"),
        ("DROP TRIGGER session_born", "trigger 'session_born' is missing"),
        ("CREATE VIRTUAL TABLE v USING fts5(x)", "table 'v' was added"),
        ("PRAGMA application_id = 7", "none of Tidegate"),
        ("PRAGMA user_version = 3", "has been changed"),
    ],
)
def test_a_changed_schema_is_refused(folder: Path, planted: str, said: str) -> None:
    """What acts by itself, and whatever else we have not put there, comes into no store; what it is is told."""
    connection = apsw.Connection(str(backup_of(folder)))
    connection.execute(planted).fetchall()
    connection.close()
    before = files(folder)
    with pytest.raises(BadRequest, match=said):
        restore(folder, backup_of(folder), NOW)
    assert files(folder) == before
    assert ["new", "old"] == keys(folder / NAME)


@pytest.mark.parametrize(
    ("planted", "is_refused"),
    [
        ("CREATE TABLE more (x); ALTER TABLE meta ADD COLUMN more", False),
        ("CREATE TRIGGER spy AFTER INSERT ON entries BEGIN UPDATE meta SET value = 'seen'; END", True),
        ("CREATE VIEW spying AS SELECT * FROM entries", True),
        ("ALTER TABLE meta ADD COLUMN g AS (hex(value))", True),
    ],
)
def test_of_a_newer_release_nothing_that_acts_is_taken(folder: Path, planted: str, is_refused: bool) -> None:  # noqa: FBT001 - of the table above
    """One version ahead there may be more tables, columns and indexes, but nothing that runs."""
    connection = apsw.Connection(str(backup_of(folder)))
    connection.execute(f"{planted}; PRAGMA user_version = {len(migrations()) + 1}").fetchall()
    connection.close()
    if is_refused:
        with pytest.raises(BadRequest, match="has been changed"):
            restore(folder, backup_of(folder), NOW)
    else:
        restore(folder, backup_of(folder), NOW)
        assert ["old"] == keys(folder / NAME)
