import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tidegate import __version__
from tidegate.cli import main
from tidegate.errors import ConfigError, FolderHeld, StorageFailed, TidegateError, Unavailable

HEAVY = (
    "rich",
    "msgspec",
    "asyncio",
    "http.client",
    "uvicorn",
    "starlette",
    "apsw",
    "tidegate.config",
    "tidegate.app",
)
TIMEOUT_S = 20


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Add a command `fail` that raises what is put into the list."""
    errors: list[BaseException] = []

    @click.command()
    @click.option("--json", is_flag=True)
    def fail(**_: object) -> None:
        raise errors[-1]

    place = main.Place(__name__, "fail", "Fail.")
    monkeypatch.setattr(main, "COMMANDS", {**main.COMMANDS, "fail": place})
    monkeypatch.setattr(sys.modules[__name__], "fail", fail, raising=False)
    return errors


def test_help_lists_every_command(capfd: pytest.CaptureFixture[str]) -> None:
    """Each command of the table stands in the help, with its line."""
    assert main.run(["--help"]) == 0
    told = capfd.readouterr().out
    assert [
        name for name, place in main.COMMANDS.items() if f"  {name}" in told and place.summary in told
    ] == list(main.COMMANDS)


def test_the_end_looks_for_no_garbage() -> None:
    """A command's process ends at once, however much was imported: all there is is left to the system."""
    code = (
        "import atexit, gc, sys; from tidegate.cli.main import main; sys.argv = ['tidegate', '--version'];"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1_000, file=sys.stderr)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    assert done.stderr == "True\n"


def test_help_imports_nothing_heavy() -> None:
    """The help pays for no command: neither for its module nor for a library that only commands need."""
    code = (
        "import sys; from tidegate.cli.main import run; run(['--help']);"
        "print(*sorted(sys.modules), sep='\\n', file=sys.stderr)"
    )
    source = str(Path(main.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={"PYTHONPATH": source},
        check=True,
    )
    loaded = set(done.stderr.split())
    assert [name for name in HEAVY if name in loaded] == []
    ours = {name for name in loaded if name.startswith("tidegate.")}
    assert ours == {"tidegate.cli", "tidegate.cli.main", "tidegate.errors", "tidegate.stdio"}


@pytest.mark.parametrize("name", main.COMMANDS)
def test_each_command_is_there(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Each command of the table can be imported, and its own help begins as the table says."""
    assert main.run([name, "--help"]) == 0
    assert f"Usage: tidegate {name}" in capfd.readouterr().out


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    """The version is printed."""
    assert main.run(["--version"]) == 0
    assert __version__ in capfd.readouterr().out


def test_no_command(capfd: pytest.CaptureFixture[str]) -> None:
    """Without a command the help goes to standard error, and it is a usage error."""
    assert main.run([]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "Commands:" in err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("statsu", "there is no command 'statsu'; did you mean 'status'?"),
        ("restor", "there is no command 'restor'; did you mean 'restore'?"),
        ("ls", "there is no command 'ls'; did you mean 'sessions list'?"),
        ("xyzzy", "there is no command 'xyzzy'"),
    ],
)
def test_unknown_command(typed: str, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A command that is nearly one gets a suggestion."""
    assert main.run([typed]) == 2
    assert capfd.readouterr().err == f"error: {told}\nhint: tidegate --help\n"


def test_a_restart_is_no_restore(capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody who wants to restart the gateway is led to a command that replaces the store."""
    assert main.run(["restart"]) == 2
    told = capfd.readouterr().err
    assert "`tidegate stop`, then `tidegate up`" in told
    assert "restore" not in told


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        (["-h"], ["--help"]),
        (["help"], ["--help"]),
        (["sessions", "show", "-h"], ["sessions", "show", "--help"]),
        (["help", "sessions", "show"], ["sessions", "show", "--help"]),
    ],
)
def test_help_is_found_however_it_is_asked_for(
    typed: list[str], same: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """`-h` and `help` show what `--help` shows."""
    assert main.run(same) == 0
    shown = capfd.readouterr().out
    assert main.run(typed) == 0
    assert capfd.readouterr().out == shown


def test_help_of_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """A command that there is none of has no help."""
    assert main.run(["help", "sessions", "shwo"]) == 2
    assert "there is no command 'sessions shwo'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TidegateError("odd"), 1),
        (Unavailable("odd"), 69),
        (StorageFailed("odd"), 74),
        (FolderHeld("odd"), 75),
        (ConfigError("odd"), 78),
    ],
)
def test_exit_codes(
    error: TidegateError, code: int, failing: list[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    """An error ends with its own exit code and one line on standard error."""
    failing.append(error)
    assert main.run(["fail"]) == code
    assert capfd.readouterr() == ("", "error: odd\n")


def test_hint(failing: list[BaseException], capfd: pytest.CaptureFixture[str]) -> None:
    """A hint stands on a line of its own."""
    failing.append(ConfigError("odd", hint="try this"))
    main.run(["fail"])
    assert capfd.readouterr().err == "error: odd\nhint: try this\n"


def test_error_as_json(failing: list[BaseException], capfd: pytest.CaptureFixture[str]) -> None:
    """With --json an error is a JSON object on standard error."""
    failing.append(ConfigError("odd", hint="try this"))
    assert main.run(["fail", "--json"]) == 78
    out, err = capfd.readouterr()
    assert out == ""
    assert json.loads(err) == {"error": {"code": "config", "message": "odd", "hint": "try this"}}


def test_usage_error_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    """With --json a usage error is a JSON object too."""
    assert main.run(["status", "--json", "--no-such"]) == 2
    assert json.loads(capfd.readouterr().err)["error"]["code"] == "usage"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError()])
def test_quiet_ends(
    error: BaseException, failing: list[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C and a closed pipe end with 130 and without a word."""
    failing.append(error)
    assert main.run(["fail"]) == 130
    assert "".join(capfd.readouterr()).strip() == ""


def test_a_closed_pipe_at_the_end() -> None:
    """What nobody reads any more when a command ends is no failure that is told."""
    with subprocess.Popen(
        [sys.executable, "-m", "tidegate", "config", "show"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(main.__file__).parents[2]), "HOME": "/nonexistent"},
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (130, b"")
