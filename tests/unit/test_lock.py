import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.errors import FolderHeld
from tidegate.store.lock import NAME, hold, is_held

HOLDER = """
import sys, pathlib
from tidegate.store.lock import hold
lock = hold(pathlib.Path(sys.argv[1]))
lock.describe("the other one")
print("held", flush=True)
sys.stdin.read()
"""


def test_one_at_a_time(tmp_path: Path) -> None:
    """A folder that is held cannot be held again, until it is given back."""
    lock = hold(tmp_path)
    assert is_held(tmp_path)
    with pytest.raises(FolderHeld):
        hold(tmp_path)
    lock.release()
    assert not is_held(tmp_path)
    hold(tmp_path).release()


def test_it_says_who(tmp_path: Path) -> None:
    """Who comes second is told what the first has written."""
    lock = hold(tmp_path)
    lock.describe("a long description of somebody")
    lock.describe("pid 7")
    with pytest.raises(FolderHeld, match=r"pid 7$"):
        hold(tmp_path)
    lock.release()


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """Asking whether a folder is held leaves the holder's words as they are."""
    lock = hold(tmp_path)
    lock.describe("pid 7")
    assert is_held(tmp_path)
    assert (tmp_path / NAME).read_text() == "pid 7"
    lock.release()


def test_the_file_is_private_and_stays(tmp_path: Path) -> None:
    """The file can be read by its owner alone, and stays where it is when the lock goes."""
    hold(tmp_path).release()
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_what_a_file_says_is_no_lock(tmp_path: Path) -> None:
    """A file left by a process that died holds nobody off, whatever stands in it."""
    (tmp_path / NAME).write_text("pid 1, very much alive")
    hold(tmp_path).release()


def test_no_link_is_followed(tmp_path: Path) -> None:
    """A lock file that is a link is refused, and what it points to is not touched."""
    target = tmp_path / "precious"
    target.write_text("data")
    (tmp_path / NAME).symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        hold(tmp_path)
    assert not is_held(tmp_path)
    assert target.read_text() == "data"


def test_no_such_folder(tmp_path: Path) -> None:
    """A folder that is not there is held by nobody."""
    assert not is_held(tmp_path / "nowhere")


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    """Another process holds the folder as long as it lives, and not a moment longer, however it ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(FolderHeld, match="the other one"):
            hold(tmp_path)
        child.kill()
        child.wait(20)
        hold(tmp_path).release()
