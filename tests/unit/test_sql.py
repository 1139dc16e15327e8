import re
from pathlib import Path

import apsw
import pytest

import tidegate.store
from tidegate.store.connection import load_extension, open_writer
from tidegate.store.fix import REMOVED
from tidegate.store.migrate import migrate
from tidegate.store.orphans import TYPES
from tidegate.store.sql import QUERIES, migrations
from tidegate.store.tallies import FAMILIES
from tidegate.store.vectors import extension

PACKAGE = Path(tidegate.store.__file__).parent
FILES = sorted((PACKAGE / "sql").glob("*.sql"))
CALLS = re.compile(r'\b(?:(?:one|all|run|keys|_all)\(\s*|QUERIES\[)"(\w+)"')
NAMES = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@pytest.fixture
def database(tmp_path: Path) -> apsw.Connection:
    """Return an empty database with our schema."""
    connection = open_writer(tmp_path / "tidegate.db")
    migrate(connection, tmp_path)
    load_extension(connection, extension())
    return connection


def used() -> set[str]:
    """Return the names of the queries that the package calls for."""
    sources = (path.read_text() for path in PACKAGE.glob("*.py"))
    families = {f"orphans_{kind}" for kind in TYPES} | {f"recount_{family}" for family in FAMILIES}
    repairs = {f"orphans_removed_{kind}" for kind in REMOVED}
    return {name for source in sources for name in CALLS.findall(source)} | families | repairs


def test_every_used_name_exists() -> None:
    """No code asks for a query that nobody wrote."""
    assert used() - set(QUERIES) == set()


def test_every_query_is_used() -> None:
    """No query is kept that nobody asks for."""
    assert set(QUERIES) - used() == set()


def test_names_are_given_once() -> None:
    """No name stands twice, in one file or in two."""
    names = [name for file in FILES for name in NAMES.findall(file.read_text())]
    assert len(names) == len(set(names)) == len(QUERIES)


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_prepares(database: apsw.Connection, name: str) -> None:
    """Each query is one statement that fits the schema."""
    prepared: list[str] = []

    def look(_cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
        prepared.append(statement)
        return False

    database.exec_trace = look
    values = dict.fromkeys(re.findall(r":(\w+)", QUERIES[name]), None)
    with pytest.raises(apsw.ExecTraceAbort):
        database.execute(QUERIES[name], values)
    assert [statement.strip() for statement in prepared] == [QUERIES[name]]
    database.exec_trace = None


@pytest.mark.parametrize("name", ["due", "next_due", "of_policy", "group_oldest", "run_claimable"])
def test_what_runs_often_reads_an_index(database: apsw.Connection, name: str) -> None:
    """The queries of the sweep and of the claim neither read a whole table nor sort."""
    values = dict.fromkeys(re.findall(r":(\w+)", QUERIES[name]), 1)
    plan = database.execute(f"EXPLAIN QUERY PLAN {QUERIES[name]}", values).fetchall()
    steps = [str(row[3]) for row in plan]
    assert not [step for step in steps if step.startswith("SCAN") and "INDEX" not in step]
    assert not [step for step in steps if "TEMP B-TREE" in step]


def test_scripts_are_numbered() -> None:
    """Migrations are numbered from 1 without a gap."""
    names = sorted(path.name for path in (PACKAGE / "sql" / "migrations").glob("*.sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    assert len(migrations()) == len(names)
