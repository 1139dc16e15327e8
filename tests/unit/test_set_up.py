"""Setting up says what is missing before it makes anything, and leaves nothing half made."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
SCRIPT = HOUSE / "deploy/check_python.py"


def check(before: str) -> tuple[int, str]:
    """Run the check in a Python that is as *before* makes it."""
    program = f"import runpy, sys\n{before}\nrunpy.run_path(sys.argv[1], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program, str(SCRIPT), "venv"], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_this_one_will_do() -> None:
    """A Python that is new enough is not talked about."""
    assert check("") == (0, "")


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("sys.version_info = (3, 9, 18)", ("Python 3.11 or newer", "is Python 3.9", "PYTHON=python3.12")),
        ("sys.modules['ensurepip'] = None", ("virtual environment", "apt install python3.")),
        ("sys.modules['venv'] = None", ("virtual environment", "-venv")),
    ],
)
def test_what_is_missing_is_named(before: str, says: tuple[str, ...]) -> None:
    """An old Python, or one without venv, is named, with the command that helps."""
    code, told = check(before)
    assert code == 1
    assert all(words in told for words in says)


def test_nothing_half_made_is_left(tmp_path: Path) -> None:
    """A virtual environment that could not be made whole is not there the next time."""
    shutil.copy(HOUSE / "Makefile", tmp_path)
    (tmp_path / "deploy").mkdir()
    shutil.copy(SCRIPT, tmp_path / "deploy")
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -m ] || exec {sys.executable} "$@"\nmkdir -p .venv/bin; touch .venv/bin/python; exit 1\n'
    )
    python.chmod(0o755)
    done = subprocess.run(
        [shutil.which("make") or "make", ".venv/bin/python", f"PYTHON={python}", "UV="],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert not (tmp_path / ".venv").exists()
