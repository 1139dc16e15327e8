"""Schema versions: numbered scripts, forward only, with a verified backup before the first statement.

The version is the file's ``user_version``. A release runs on the schema of the next one (scripts only add), so that a
person can go back one release; a schema two releases ahead is refused.
"""

from collections.abc import Sequence
from pathlib import Path

import apsw

from tidegate.errors import ConfigError
from tidegate.store.connection import pragma
from tidegate.store.schema import APPLICATION_ID
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
        from tidegate.store import backup  # noqa: PLC0415 - an idle gateway does not hold it
        from tidegate.store.scrub import verify_pages  # noqa: PLC0415

        backups.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = backups / f"before-schema-{len(scripts)}.db"
        backup.copy(connection, target, backup.Rules(verify=verify_pages, is_forced=True))
    upgrade(connection, scripts)
    return version


def upgrade(connection: apsw.Connection, scripts: Sequence[str] | None = None) -> None:
    """Carry out the scripts that a database has not had yet; whoever needs a backup has taken it."""
    scripts = migrations() if scripts is None else scripts
    version = pragma(connection, "user_version")
    for number, script in enumerate(scripts[version:], version + 1):
        stamps = f"PRAGMA user_version = {number}; PRAGMA application_id = {APPLICATION_ID}"
        connection.execute(f"BEGIN IMMEDIATE; {script} {stamps}; COMMIT").fetchall()


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
