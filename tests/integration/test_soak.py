import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from command_line import CommandLine, command, limited
from tidegate.cli import main
from tidegate.errors import ConfigError
from tidegate.extras import how_to_install
from tidegate.soak import verdict

pytestmark = pytest.mark.serial

# A soak waits for its disk some thousand times; on a free machine these take 3 to 5 s.
LIMIT_S = 90

CONFIG = """
[model]
provider = "openai"
name = "nobody"
api_key_env = "NO_SUCH_KEY"
[agents.main]
workspace = "{files}"
[agents.narrow]
max_steps = 1
tools = ["read_file"]
[lifecycle.api]
max_running = 2
delete_after = "1h"
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


def test_three_thousand_sessions_are_flat(tmp_path: Path) -> None:
    """Months on virtual time end with 0, JSON alone on stdout, progress on stderr, and nothing left behind."""
    with (
        soak(tmp_path, "--kind", "api", "--sessions", "3000", "--json") as process,
        limited(process, LIMIT_S),
    ):
        out, err = process.communicate()
    told = json.loads(out)

    assert (0, "flat", []) == (process.returncode, told["verdict"], told["grew"])
    assert (3_000, "FULL", 16) == tuple(
        told["conditions"][key] for key in ("sessions", "durability", "concurrency")
    )
    assert told["conditions"]["virtual_days"] > 29
    assert all(check["ok"] for check in told["checks"])
    assert b"of 3,000 sessions" in err
    assert [] == list(tmp_path.iterdir())


def test_nothing_grows_in_the_built_in_scenario(tmp_path: Path) -> None:
    """Every kind comes and goes, jobs end as they must, the 22 skills are stored once; too few to call it flat."""
    with soak(tmp_path, "--sessions", "300", "--json") as process, limited(process, LIMIT_S):
        out, _ = process.communicate()
    told = json.loads(out)
    conditions, checks = told["conditions"], {check["name"]: check for check in told["checks"]}
    born = conditions["by_kind"]

    assert (2, "too short", []) == (process.returncode, told["verdict"], told["grew"])
    assert {"api", "api_named", "chat", "cron", "subagent"} == set(born)
    assert 300 <= conditions["sessions"] == sum(born.values())
    assert {"cron ok", "cron failed", "cron timed_out", "subagent ok"} <= set(conditions["runs"])
    assert {"tree", "refused", "chat_from_archive"} <= set(conditions["talks"])
    assert (1, 22) == (checks["snapshots of skills"]["measured"], checks["stored skills"]["measured"])
    assert 0 < checks["stored sessions cron"]["measured"] < born["cron"]
    assert told["readings"][-1]["born"] == conditions["sessions"]


def test_an_own_configuration_is_carried_out(tmp_path: Path) -> None:
    """Its agents and jobs are carried out, its limits hold, and nothing of it reaches out or is written."""
    files = tmp_path / "files"
    files.mkdir()
    path = tmp_path / "own.toml"
    path.write_text(CONFIG.format(files=files))
    with (
        soak(tmp_path, "--config", str(path), "--sessions", "60", "--json") as process,
        limited(process, LIMIT_S),
    ):
        out, _ = process.communicate()
    conditions = json.loads(out)["conditions"]

    assert (2, str(path)) == (process.returncode, conditions["scenario"])
    assert conditions["by_kind"]["cron"] > 0
    assert "webhooks: not sent; answers of report go nowhere" in conditions["replaced"]
    assert [] == list(files.iterdir())


def test_a_plot_is_drawn(tmp_path: Path) -> None:
    """PNG and SVG lie beside each other, and are told on standard error."""
    picture = str(tmp_path / "run.png")
    with (
        soak(tmp_path, "--kind", "api", "--sessions", "20", "--plot", picture) as process,
        limited(process, LIMIT_S),
    ):
        _, err = process.communicate()

    assert 2 == process.returncode
    assert b"\x89PNG" == (tmp_path / "run.png").read_bytes()[:4]
    assert "</svg>" in (tmp_path / "run.svg").read_text()
    assert f"drawn: {tmp_path / 'run.svg'}" in err.decode()


def test_without_the_extra_a_plot_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the run, with what to install."""
    monkeypatch.setattr("tidegate.soak.plot.find_spec", lambda _: None)

    assert ConfigError.exit_code == main.run(["soak", "--plot", "run"])
    assert how_to_install("plot") in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ("--days", "1", "--sessions", "5"),
        ("--kind", "api", "--days", "1"),
        ("--kind", "api", "--config", "tidegate.toml"),
    ],
)
def test_options_that_exclude_each_other(tmp_path: Path, args: tuple[str, ...]) -> None:
    """Two that cannot both be meant are refused before anything is done."""
    result = CommandLine(tmp_path / "state").run("soak", *args)

    assert 2 == result.code
    assert "exclude each other" in result.err


@pytest.mark.parametrize("kind", ["api_named", "chat"])
def test_a_soak_too_short_to_judge_says_so(tmp_path: Path, kind: str) -> None:
    """Where a leak would not have been seen, nothing is called flat: the words say how many sessions it takes."""
    with soak(tmp_path, "--kind", kind, "--sessions", "60") as process, limited(process, LIMIT_S):
        out, _ = process.communicate()

    assert 2 == process.returncode
    assert (
        "Too short to judge: 60 sessions came, and 2,731 are needed to notice a leak of 1 KiB a session."
        " Nothing else grew."
    ) == out.decode().splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C in the middle ends it with 130; its folder is gone and nothing is on stdout."""
    with soak(tmp_path, "--sessions", "1000000") as process, limited(process, LIMIT_S):
        assert process.stderr is not None
        assert process.stdout is not None
        assert b"of 1,000,000 sessions" in process.stderr.readline()
        assert 1 == len(list(tmp_path.glob("tidegate-soak-*/tidegate.db")))
        process.send_signal(number)
        out = process.stdout.read()
        process.wait()

    assert (main.INTERRUPTED, b"") == (process.returncode, out)
    assert [] == list(tmp_path.iterdir())


def test_what_grew_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a bound that nothing meets, the command ends with 1 and names what grew."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(verdict, "GROWTH_BYTES", -(1 << 40))
    monkeypatch.setattr(verdict, "GROWTH_A_SESSION", -(1 << 40))
    with pytest.raises(SystemExit) as ended:
        main.run(["soak", "--kind", "api", "--sessions", "40", "--json", "--plant-leak"])

    assert 1 == ended.value.code
    assert ["resident memory"] == json.loads(capsys.readouterr().out)["grew"]
    assert [] == list(tmp_path.iterdir())


def test_a_folder_can_be_kept(tmp_path: Path) -> None:
    """The folder that is named stays, and the doctor finds it sound."""
    line = CommandLine(tmp_path / "kept")
    with (
        soak(tmp_path, "--kind", "api", "--sessions", "20", "--keep", str(line.state)) as process,
        limited(process, LIMIT_S),
    ):
        process.communicate()
    assert 2 == process.returncode
    assert 0 == line.run("doctor", "--scrub").code
    again = line.run("soak", "--sessions", "20", "--keep", line.state)

    assert 2 == again.code
    assert again.err.startswith(f"error: --keep: {str(line.state)!r} is not an empty folder")
    assert (line.state / "tidegate.db").exists()
