"""Compares the schema of a database that comes from outside with the one that its version has.

A schema can act: a trigger runs with each write, a view or a generated column with each read. So nothing stands in a
restored store that our own scripts have not put there. Of a newer release, whose scripts are not known, there may be
more tables, columns and indexes, and nothing more that acts.
"""

import re
from collections.abc import Mapping
from contextlib import closing

import apsw

from tidegate.errors import BadRequest
from tidegate.store.connection import pragma
from tidegate.store.sql import migrations

#: "Tide", in the header of the file; stores from before it was written have 0
APPLICATION_ID = 0x54696465

_SPACE = re.compile(r"--[^\n]*|\s+")
_GENERATED = re.compile(r"\bGENERATED\b|\bAS\s*\(", re.IGNORECASE)
_ALL = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT GLOB 'sqlite_stat*'"

Part = tuple[str, str]


def check(connection: apsw.Connection, where: str) -> None:
    """Refuse a database whose schema is not the one of its version; it is only read.

    Raises:
        BadRequest: Something is there that does not belong there, is missing or differs; it is named.
    """
    if pragma(connection, "application_id") not in {0, APPLICATION_ID}:
        raise BadRequest(f"{where} is a database, but none of Tidegate")
    scripts = migrations()
    version = pragma(connection, "user_version")
    expected, found = _expected(scripts[:version]), _parts(connection)
    if version > len(scripts):
        acts = {
            part for part, sql in found.items() if part[0] in {"trigger", "view"} or _GENERATED.search(sql)
        }
        wrong = sorted(part for part in acts if expected.get(part) != found[part])
    else:
        wrong = sorted(
            part for part in expected.keys() | found.keys() if expected.get(part) != found.get(part)
        )
    if wrong:
        kind, name = wrong[0]
        what = (
            "is missing"
            if wrong[0] not in found
            else "is not as it was"
            if wrong[0] in expected
            else "was added"
        )
        raise BadRequest(
            f"the schema of {where} has been changed: {kind} {name[:80]!r} {what}",
            hint="restore a backup that only `tidegate backup` has written",
        )


def _expected(scripts: list[str]) -> Mapping[Part, str]:
    with closing(apsw.Connection(":memory:")) as made:
        for script in scripts:
            made.execute(script).fetchall()
        return _parts(made)


def _parts(connection: apsw.Connection) -> Mapping[Part, str]:
    """Return what the schema has, by kind and name: on which table it is, and its text without blanks and comments."""
    rows = connection.execute(_ALL).fetchall()
    virtual = tuple(f"{row[1]}_" for row in rows if str(row[3]).upper().startswith("CREATE VIRTUAL"))
    return {
        # the tables behind a virtual one are written by its own code, which differs from version to version
        (str(row[0]), str(row[1])): ""
        if str(row[1]).startswith(virtual)
        else f"{row[2]} {_plain(str(row[3]))}"
        for row in rows
    }


def _plain(sql: str) -> str:
    return _SPACE.sub(" ", sql)
