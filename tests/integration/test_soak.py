import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from command_line import CommandLine, command, limited
from tidegate.cli import main
from tidegate.soak import verdict

# A soak waits for its disk some thousand times; on a free machine these take 3 to 5 s.
LIMIT_S = 90


def environment(place: Path) -> Mapping[str, str]:
    """Return the environment of a soak whose temporary folder is made in *place*."""
    return {**CommandLine(place / "state").environment, "TMPDIR": str(place)}


def soak(place: Path, *args: str) -> subprocess.Popen[bytes]:
    """Start a soak."""
    return subprocess.Popen(
        command("soak", *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(place)
    )


def test_four_hundred_sessions_are_flat(tmp_path: Path) -> None:
    """Thirty virtual days end with 0, JSON alone on stdout, progress on stderr, and nothing left behind."""
    with soak(tmp_path, "--kind", "api", "--sessions", "400", "--json") as process, limited(process, LIMIT_S):
        out, err = process.communicate()
    told = json.loads(out)

    assert (0, "flat", []) == (process.returncode, told["verdict"], told["grew"])
    assert (400, "FULL", 10) == tuple(
        told["conditions"][key] for key in ("sessions", "durability", "concurrency")
    )
    assert told["conditions"]["virtual_days"] > 29
    assert all(check["ok"] for check in told["checks"])
    assert b"of 400 sessions" in err
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["api_named", "chat"])
def test_conversations_are_flat(tmp_path: Path, kind: str) -> None:
    """Sessions with a name go too, and the words end with the verdict."""
    with soak(tmp_path, "--kind", kind, "--sessions", "60") as process, limited(process, LIMIT_S):
        out, _ = process.communicate()

    assert (0, "Flat.") == (process.returncode, out.decode().splitlines()[-1])


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
        main.run(["soak", "--sessions", "40", "--json", "--plant-leak"])

    assert 1 == ended.value.code
    assert ["resident memory"] == json.loads(capsys.readouterr().out)["grew"]
    assert [] == list(tmp_path.iterdir())


def test_a_folder_can_be_kept(tmp_path: Path) -> None:
    """The folder that is named stays, and the doctor finds it sound."""
    line = CommandLine(tmp_path / "kept")
    with soak(tmp_path, "--sessions", "20", "--keep", str(line.state)) as process, limited(process, LIMIT_S):
        process.communicate()
    assert 0 == process.returncode
    assert 0 == line.run("doctor", "--scrub").code
    again = line.run("soak", "--sessions", "20", "--keep", line.state)

    assert 2 == again.code
    assert again.err.startswith(f"error: --keep: {str(line.state)!r} is not an empty folder")
    assert (line.state / "tidegate.db").exists()
