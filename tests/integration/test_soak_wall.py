import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import anyio
import psutil
import pytest

from command_line import CommandLine, command, limited
from gateway_process import until
from tidegate.cli import main
from tidegate.config import Config, Hook
from tidegate.errors import Broken, ConfigError
from tidegate.extras import how_to_install
from tidegate.folder import card
from tidegate.soak.wall import gateway

pytestmark = pytest.mark.serial

LIMIT_S = 60  # of a soak of five seconds, on a machine that does other things

CONFIG = """
[agents.main]
workspace = "{files}"
[lifecycle.api]
max_running = 2
[[jobs]]
name = "report"
every = "30m"
prompt = "/write report.txt written"
deliver = "webhook:out"
[webhooks.out]
url = "https://example.org/out"
secret_env = "NO_SUCH_SECRET"
"""


def environment(place: Path) -> Mapping[str, str]:
    """Return the environment of a soak whose temporary folder is made in *place*."""
    return {**CommandLine(place / "state").environment, "TMPDIR": str(place)}


def soak(place: Path, *args: str) -> subprocess.Popen[bytes]:
    """Start a soak."""
    return subprocess.Popen(
        command("soak", *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(place)
    )


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the processes that a soak has started."""
    return psutil.Process(process.pid).children(recursive=True)


@pytest.fixture
def under_load(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """Start a soak, and hand it out with its gateway once that has answered."""
    kept = tmp_path / "kept"
    with soak(tmp_path, "--wall", "1h", "--keep", str(kept)) as process, limited(process, LIMIT_S):
        pid = until(lambda: card(kept)).pid  # type: ignore[union-attr]  # `until` waits for one
        yield process, psutil.Process(pid)


def test_five_seconds(tmp_path: Path) -> None:
    """Every kind comes and goes over sockets, runs end as they must, and neither process nor file is left behind."""
    with soak(tmp_path, "--wall", "5s", "--json") as process, limited(process, LIMIT_S):
        out, err = process.communicate()
    told = json.loads(out)
    conditions, checks = told["conditions"], {check["name"]: check for check in told["checks"]}

    assert (2, "too short", []) == (process.returncode, told["verdict"], told["grew"])
    assert {"api", "chat", "cron", "subagent"} == set(conditions["by_kind"])
    assert {"tree", "named", "chat", "firing", "event_read"} <= set(conditions["talks"])
    assert 5 <= conditions["wall_s"]
    assert {"fds", "threads", "orphans", "left sessions", "container session_heads"} <= set(checks)
    assert 0 < checks["stored sessions subagent"]["measured"]
    assert b"sessions" in err
    assert [] == list(tmp_path.iterdir())


def test_an_own_configuration_is_carried_out(tmp_path: Path) -> None:
    """Its agents answer through the scripted model, and nothing of it reaches out or is written."""
    files = tmp_path / "files"
    files.mkdir()
    path = tmp_path / "own.toml"
    path.write_text(CONFIG.format(files=files))
    with soak(tmp_path, "--wall", "5s", "--config", str(path)) as process, limited(process, LIMIT_S):
        out, _ = process.communicate()
    lines = out.decode().splitlines()

    assert 2 == process.returncode
    assert lines[-1].startswith("Too short to judge: ")
    assert "models of main: replaced by a scripted model over HTTP" in lines
    assert "webhooks: not sent; answers of report go nowhere" in lines
    assert [] == list(files.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_leaves_nothing_running(
    under_load: tuple[subprocess.Popen[bytes], psutil.Process], number: signal.Signals
) -> None:
    """Ctrl-C ends it with 130, and its gateway too; nothing is on stdout."""
    process, child = under_load
    process.send_signal(number)
    out, _ = process.communicate()

    assert (main.INTERRUPTED, b"") == (process.returncode, out)
    assert not child.is_running()


def test_a_gateway_that_dies_is_told(under_load: tuple[subprocess.Popen[bytes], psutil.Process]) -> None:
    """The soak ends with 1, says how its gateway ended, and shows the end of its log."""
    process, child = under_load
    child.kill()
    out, err = process.communicate()

    assert (1, b"") == (process.returncode, out)
    assert "error: the gateway ended by signal 9 in the middle" in err.decode().splitlines()
    assert b"Traceback" not in err


def test_a_gateway_that_does_not_come_up_is_told(tmp_path: Path) -> None:
    """What it says itself is told, with its exit code."""
    config = Config(hooks={"build": Hook(secret_env=("NO_SUCH_SECRET",))})

    async def start() -> None:
        async with gateway.up(tmp_path, config, leaks=False):
            pass

    with pytest.raises(Broken) as refused:
        anyio.run(start)
    assert "it ended with exit code 78" in refused.value.message
    assert "NO_SUCH_SECRET" in refused.value.message


def test_a_gateway_with_a_leak_is_a_gateway(tmp_path: Path) -> None:
    """The one that grows on purpose comes up and stops like the other; it is another program, not a switch."""

    async def start() -> list[str]:
        async with gateway.up(tmp_path, Config(), leaks=True) as grown:
            return psutil.Process(grown.pid).cmdline()

    assert [*gateway.LEAKY, "--state", str(tmp_path)] == anyio.run(start)[2:5]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--wall", "1m", "--sessions", "5"), "exclude each other"),
        (("--wall", "1m", "--days", "5"), "exclude each other"),
        (("--wall", "1m", "--kind", "api"), "exclude each other"),
        (("--wall", "soon"), "'soon' is no duration"),
        (("--wall", "4s"), "4s is too short"),
        (("--wall", ""), "is no duration"),
    ],
)
def test_usage(tmp_path: Path, args: tuple[str, ...], says: str) -> None:
    """What cannot be meant is refused before anything is started."""
    result = CommandLine(tmp_path / "state").run("soak", *args)

    assert 2 == result.code
    assert says in result.err
    assert not (tmp_path / "state").exists()


def test_without_the_extra_it_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started, with what to install."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tidegate.soak.wall.course.find_spec", lambda _: None)

    assert ConfigError.exit_code == main.run(["soak", "--wall", "1m"])
    assert how_to_install("models") in capsys.readouterr().err
