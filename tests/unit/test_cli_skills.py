import json
from pathlib import Path
from typing import Any

import pytest

from shelves import raw, skill
from tidegate.cli import main

BUNDLED = ["daily-brief", "review-a-change", "write-a-skill"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder without a gateway, of a user without skills."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def run(capfd: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str]:
    """Run a command; return its exit code and what it printed."""
    capfd.readouterr()
    code = main.run([str(arg) for arg in args])
    told = capfd.readouterr()
    return code, told.out or told.err


def told(capfd: pytest.CaptureFixture[str], *args: str | Path) -> Any:
    """Run a command and return its JSON."""
    return json.loads(run(capfd, *args, "--json")[1])


def test_list_without_a_gateway(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a gateway the folders themselves are read, and nothing is written."""
    assert [one["name"] for one in told(capfd, "skills", "list")["skills"]] == BUNDLED
    assert not state.exists()
    skill(state / "workspace" / "skills", "daily-brief")
    code, out = run(capfd, "skills", "list")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [
        ["daily-brief", "see", "check"],
        ["daily-brief", "shadowed", "bundled"],
    ]


def test_show(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One skill is shown with what it says of itself, or as the file that it is."""
    folder = skill(state / "workspace" / "skills", "foo", description="Does foo.")
    assert told(capfd, "skills", "show", "foo")["description"] == "Does foo."
    assert run(capfd, "skills", "show", "foo", "--body") == (0, (folder / "SKILL.md").read_text())
    assert "Does foo." in run(capfd, "skills", "show", "foo")[1]
    assert run(capfd, "skills", "show", "bar")[0] == 1


def test_check_names_file_and_line(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each problem stands in a line with its file and line; errors end with 1."""
    place = state / "workspace" / "skills"
    assert run(capfd, "skills", "check") == (0, "skills 3, errors 0, warnings 0\n")
    skill(place, "other")
    (place / "other").rename(place / "renamed")
    code, out = run(capfd, "skills", "check")
    assert (code, out.splitlines()[-1]) == (0, "skills 4, errors 0, warnings 1")
    broken = raw(place, "broken", "---\nname: broken\ndescription: [a\n---\n")
    code, out = run(capfd, "skills", "check")
    assert code == 1
    assert any(line.startswith(f"{broken}/SKILL.md:4: error: this is no YAML") for line in out.splitlines())


def test_check_one_folder(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A folder of skills can be checked, and so can one skill, without any configuration."""
    sound, broken = skill(state / "x", "sound"), raw(state / "x", "broken", "nonsense")
    assert told(capfd, "skills", "check", state / "x")["errors"] == 1
    assert run(capfd, "skills", "check", sound) == (0, "skills 1, errors 0, warnings 0\n")
    assert run(capfd, "skills", "check", broken)[0] == 1
    assert run(capfd, "skills", "check", state / "gone")[0] == 1


def test_our_own_skills_are_in_order(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The skills that come with the package have neither errors nor warnings."""
    found = told(capfd, "skills", "check", ROOT / "src" / "tidegate" / "skills")
    assert found == {"skills": 3, "errors": 0, "warnings": 0, "problems": []}


def test_an_agent_that_is_not_there(state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An agent that the configuration does not have is told."""
    assert run(capfd, "skills", "list", "--agent", "x") == (
        1,
        "error: there is no agent 'x'\nhint: there is: main\n",
    )
