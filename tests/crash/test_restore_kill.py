"""A restore that is killed at each of its steps, over a store whose gateway was killed before."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import apsw
import pytest

from inside import inside
from tidegate.store import doctor
from tidegate.store.backup import PART, Rules, back_up
from tidegate.store.connection import open_reader
from tidegate.store.restore import restore
from tidegate.store.sqlite import NAME

pytestmark = pytest.mark.serial

NOW = 1_800_000_000_000

# Every step that a crash could come between is a change of names, which Python tells its audit hooks before it happens.
KILLED = """
import os, signal, sys
from pathlib import Path
from tidegate.store.restore import restore
steps = int(sys.argv[3])
def hook(event, _):
    global steps
    is_new = event == "open" and _[2] & os.O_CREAT
    if is_new or event in {"os.rename", "os.remove", "os.mkdir", "os.link", "os.truncate"}:
        steps -= 1
        if not steps:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
restore(Path(sys.argv[1]), Path(sys.argv[2]), 1_800_000_000_000)
print("done")
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A state folder as a killed gateway leaves it: what was said last is in the log alone; a backup beside it."""
    state = tmp_path / "state"
    state.mkdir()

    async def main() -> None:
        async with inside(state) as here:
            await here.say("old", "/big 100000")
            back_up(here.store.path, tmp_path / "backup.db", Rules())
            # no checkpoint may come before the kill
            await here.store.compact_file()
            await here.say("new", "/echo new")
            shutil.copytree(state, tmp_path / "killed")

    asyncio.run(main())
    assert (tmp_path / "killed" / f"{NAME}-wal").stat().st_size > 0
    return tmp_path / "killed"


def keys(path: Path) -> list[str]:
    """Return the keys of the sessions in a store."""
    connection = open_reader(path)
    found = connection.execute("SELECT key FROM sessions ORDER BY key").fetchall()
    connection.close()
    return [str(row[0]) for row in found]


def check(folder: Path) -> list[str]:
    """Start on the folder, look at everything, and return which sessions are there."""

    async def main() -> None:
        async with inside(folder) as here:
            await here.say("old", "/echo again")

    asyncio.run(main())
    assert [] == [
        finding
        for finding in doctor.examine(folder, None, NOW, scrub=True)
        if finding.verdict == doctor.VIOLATED
    ]
    return keys(folder / NAME)


def test_a_restore_killed_at_each_step(tmp_path: Path, killed: Path) -> None:
    """Whenever it is killed the folder holds the old store whole or the new one; the same restore then succeeds."""
    found = []
    for steps in range(1, 100):
        folder = tmp_path / f"step-{steps}"
        shutil.copytree(killed, folder)
        again = tmp_path / f"again-{steps}"
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "backup.db"), str(steps)],
            check=False,
            capture_output=True,
            timeout=15,
        )
        shutil.copytree(folder, again)
        found.append(check(folder))
        if done.stdout == b"done\n":
            break
        assert -signal.SIGKILL == done.returncode, done.stderr
        restore(again, tmp_path / "backup.db", NOW + 1_000)
        assert ["old"] == check(again)
        kept = [path for path in (again / "backups").iterdir() if path.name.endswith(".db")]
        assert ["new", "old"] in [keys(path) for path in kept]
        assert not [path for path in again.rglob("*") if PART in path.name or "staged" in path.name]

    changes = [one != two for one, two in pairwise(found)]
    assert [["new", "old"], ["old"]] == [found[0], found[-1]]
    assert 1 == sum(changes)
    assert len(found) > 5


def test_the_trap_is_real(tmp_path: Path, killed: Path) -> None:
    """An old log beside a new main file is the damage that all this avoids: it is seen when it is planted."""
    shutil.copy(tmp_path / "backup.db", killed / NAME)
    (killed / f"{NAME}-shm").unlink(missing_ok=True)
    try:
        connection = apsw.Connection(str(killed / NAME))
        found = connection.execute("SELECT key FROM sessions ORDER BY key").fetchall()
        connection.close()
    except apsw.Error:
        found = []
    assert [("old",)] != found
    assert os.path.lexists(killed)
