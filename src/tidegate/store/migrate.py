"""Schema versions: numbered scripts, forward only, with a verified backup before the first statement.

The version is the file's ``user_version``. A release runs on the schema of the next one (scripts only add), so that a
person can go back one release; a schema two releases ahead is refused.
"""

from collections.abc import Sequence
from pathlib import Path

import apsw

from tidegate.errors import ConfigError, Corrupt
from tidegate.store.connection import pragma
from tidegate.store.sql import migrations

TOLERATED_AHEAD = 1


def migrate(connection: apsw.Connection, backups: Path, scripts: Sequence[str] | None = None) -> int:
    """Bring a database to the newest version and return the version it had before.

    Each script is one transaction with its version, so that a crash leaves a whole version behind.

    Raises:
        ConfigError: The database is more than one version ahead of this release.
        Corrupt: The backup did not verify; nothing was changed.
    """
    scripts = migrations() if scripts is None else scripts
    version = check_version(connection, scripts)
    if 0 < version < len(scripts):
        back_up(connection, backups / f"before-schema-{len(scripts)}.db")
    for number, script in enumerate(scripts[version:], version + 1):
        connection.execute(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT").fetchall()
    return version


def check_version(connection: apsw.Connection, scripts: Sequence[str] | None = None) -> int:
    """Return the version of a database that this release can work on; nothing is written.

    Raises:
        ConfigError: It is more than one version ahead.
    """
    known = len(migrations() if scripts is None else scripts)
    version = pragma(connection, "user_version")
    if version > known + TOLERATED_AHEAD:
        raise ConfigError(
            f"the store has schema version {version}; this release knows {known}",
            hint="start the newer release that wrote it, or restore a backup from before",
        )
    return version


def back_up(connection: apsw.Connection, target: Path) -> None:
    """Copy the database into a file of its own and verify the copy.

    Raises:
        Corrupt: The copy does not verify; it is removed.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    copy = apsw.Connection(str(target))
    try:
        with copy.backup("main", connection, "main") as backup:
            backup.step()
        verdict = copy.execute("PRAGMA integrity_check(1)").fetchall()
    finally:
        copy.close()
    target.chmod(0o600)
    if verdict != [("ok",)]:
        target.unlink()
        raise Corrupt(f"the backup before the migration does not verify: {verdict}")
