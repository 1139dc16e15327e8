from pathlib import Path

import apsw
import pytest

from tidegate.errors import ConfigError, Corrupt
from tidegate.store.connection import open_reader, open_writer, pragma
from tidegate.store.migrate import migrate
from tidegate.store.sql import migrations

ONE = "CREATE TABLE one (a TEXT); CREATE INDEX one_a ON one (a); INSERT INTO one VALUES ('kept');"
TWO = "ALTER TABLE one ADD COLUMN b;"
THREE = "CREATE TABLE three (c);"
BROKEN = "CREATE TABLE half (d); CREATE TABLE half (d);"


def version(connection: apsw.Connection) -> object:
    """Return the schema version of a database."""
    return connection.pragma("user_version")


def tables(connection: apsw.Connection) -> list[object]:
    """Return the names of the tables of a database."""
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    return [row[0] for row in rows]


@pytest.fixture
def database(tmp_path: Path) -> apsw.Connection:
    """Return an empty database."""
    return open_writer(tmp_path / "tidegate.db")


def backups(tmp_path: Path) -> Path:
    """Return where backups go."""
    return tmp_path / "backups"


def test_a_new_database(database: apsw.Connection, tmp_path: Path) -> None:
    """An empty database gets every script, in order, and needs no backup."""
    assert migrate(database, backups(tmp_path), [ONE, TWO]) == 0
    assert version(database) == 2
    assert database.execute("SELECT a, b FROM one").fetchall() == [("kept", None)]
    assert not backups(tmp_path).exists()


def test_nothing_to_do(database: apsw.Connection, tmp_path: Path) -> None:
    """A database of the newest version is left alone."""
    migrate(database, backups(tmp_path), [ONE])
    assert migrate(database, backups(tmp_path), [ONE]) == 1
    assert not backups(tmp_path).exists()


def test_only_what_is_missing(database: apsw.Connection, tmp_path: Path) -> None:
    """An older database gets the scripts that it has not had yet, each once."""
    migrate(database, backups(tmp_path), [ONE])
    assert migrate(database, backups(tmp_path), [ONE, TWO, THREE]) == 1
    assert (version(database), tables(database)) == (3, ["one", "three"])


def test_the_backup_comes_first(database: apsw.Connection, tmp_path: Path) -> None:
    """Before the first statement there is a whole copy of what was, readable by its owner alone."""
    migrate(database, backups(tmp_path), [ONE])
    with pytest.raises(apsw.SQLError):
        migrate(database, backups(tmp_path), [ONE, BROKEN])
    (backup,) = backups(tmp_path).iterdir()
    assert backup.name == "before-schema-2.db"
    assert (backup.stat().st_mode & 0o777, backups(tmp_path).stat().st_mode & 0o777) == (0o600, 0o700)
    copy = open_reader(backup)
    assert (version(copy), tables(copy)) == (1, ["one"])
    assert copy.execute("SELECT a FROM one").fetchall() == [("kept",)]
    copy.close()


def test_a_crash_between_scripts(database: apsw.Connection, tmp_path: Path) -> None:
    """A script that fails leaves the whole version before it; the next start goes on from there."""
    path = database.db_filename("main")
    with pytest.raises(apsw.SQLError):
        migrate(database, backups(tmp_path), [ONE, BROKEN, THREE])
    database.close()
    again = open_writer(Path(path))
    assert (version(again), tables(again)) == (1, ["one"])
    migrate(again, backups(tmp_path), [ONE, TWO, THREE])
    assert (version(again), tables(again)) == (3, ["one", "three"])


def test_an_unfinished_backup_is_made_again(database: apsw.Connection, tmp_path: Path) -> None:
    """What a crash left in the place of the backup is no hindrance."""
    migrate(database, backups(tmp_path), [ONE])
    backups(tmp_path).mkdir()
    (backups(tmp_path) / "before-schema-2.db").write_bytes(b"half of a copy")
    migrate(database, backups(tmp_path), [ONE, TWO])
    copy = open_reader(backups(tmp_path) / "before-schema-2.db")
    assert tables(copy) == ["one"]
    copy.close()


def test_a_damaged_database_is_not_migrated(tmp_path: Path) -> None:
    """Where the backup does not verify nothing is changed, and no backup is left that cannot be trusted."""
    path = tmp_path / "tidegate.db"
    database = open_writer(path)
    migrate(database, backups(tmp_path), [ONE])
    (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'one_a'").fetchall()[0]
    size = pragma(database, "page_size")
    database.close()
    assert isinstance(page, int)
    data = bytearray(path.read_bytes())
    data[page * size - 4] ^= 0xFF  # the entry of the index
    path.write_bytes(data)
    database = open_writer(path)
    with pytest.raises(Corrupt):
        migrate(database, backups(tmp_path), [ONE, TWO])
    assert version(database) == 1
    assert list(backups(tmp_path).iterdir()) == []


@pytest.mark.parametrize("ahead", [1, 2])
def test_a_version_from_the_future(database: apsw.Connection, tmp_path: Path, ahead: int) -> None:
    """A database one version ahead is used as it is; one that is two ahead is refused untouched."""
    migrate(database, backups(tmp_path), [ONE])
    database.pragma("user_version", 1 + ahead)
    if ahead == 1:
        assert migrate(database, backups(tmp_path), [ONE]) == 2
    else:
        with pytest.raises(ConfigError):
            migrate(database, backups(tmp_path), [ONE])
    assert (version(database), tables(database)) == (1 + ahead, ["one"])


def test_the_scripts_of_this_release(database: apsw.Connection, tmp_path: Path) -> None:
    """Our own scripts make a schema without fault."""
    migrate(database, backups(tmp_path))
    assert version(database) == len(migrations())
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
