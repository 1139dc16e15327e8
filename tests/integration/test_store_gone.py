import shutil
import subprocess
import time
from pathlib import Path

import pytest

from gateway_process import TOKEN, WAIT_S, GatewayProcess, command, environment, refused_start

DATABASE = ("tidegate.db", "tidegate.db-wal", "tidegate.db-shm")


def take_away(state: Path) -> None:
    """Remove the database, as a hand that slips would."""
    for name in DATABASE:
        (state / name).unlink(missing_ok=True)


def restore(state: Path, file: Path) -> int:
    """Bring a backup back and return the exit code."""
    line = [*command()[:-1], "restore", str(file), "--state", str(state), "--json"]
    return subprocess.run(
        line, env=environment({}), timeout=WAIT_S, capture_output=True, check=False
    ).returncode


@pytest.mark.parametrize("what", ["folder", "database", "replaced"])
def test_a_store_that_goes_ends_the_gateway(tmp_path: Path, what: str) -> None:
    """Within seconds there is one clear line and exit code 74; nothing is written into a file that is gone."""
    gateway = GatewayProcess(tmp_path / "state")
    gateway.start()
    try:
        gateway.say("a", "/echo hello")
        gone = time.monotonic()
        if what == "folder":
            shutil.rmtree(gateway.state)
        elif what == "database":
            take_away(gateway.state)
        else:
            shutil.copy(gateway.state / "tidegate.db", tmp_path / "copy")
            (tmp_path / "copy").rename(gateway.state / "tidegate.db")
        assert gateway.process.wait(WAIT_S) == 74
        assert time.monotonic() - gone < 10
        said = gateway.log.read_text()
        assert "while the gateway was running" in said
        assert "Traceback" not in said
    finally:
        gateway.kill()


def test_no_start_without_the_store_that_was(tmp_path: Path) -> None:
    """A start without the database is 74 with what helps; a restore brings it back, `--new-store` begins anew."""
    state, kept = tmp_path / "state", tmp_path / "kept.db"
    with GatewayProcess(state) as gateway:
        gateway.say("a", "/echo hello")
        line = [*command()[:-1], "backup", str(kept), "--state", str(state)]
        subprocess.run(line, env=environment({"TIDEGATE_TOKEN": TOKEN}), timeout=WAIT_S, check=True)
    take_away(state)

    code, said = refused_start(state)
    assert (code, "tidegate restore FILE" in said, "--new-store" in said) == (74, True, True)
    assert not (state / "tidegate.db").exists()

    assert restore(state, kept) == 0
    with GatewayProcess(state) as gateway:
        assert gateway.texts("a") == ["/echo hello", "hello"]
    take_away(state)

    assert refused_start(state)[0] == 74
    with subprocess.Popen(
        [*command(), "--state", str(state), "--port", "0", "--new-store"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment({"TIDEGATE_TOKEN": TOKEN}),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"Tidegate is up")
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert (state / "gateway.store").exists()
    with GatewayProcess(state) as gateway:
        assert gateway.get("/api/sessions")["sessions"] == []


def test_a_store_from_before_the_mark_gets_it(tmp_path: Path) -> None:
    """A store that is there without the mark is opened, and marked."""
    state = tmp_path / "state"
    with GatewayProcess(state) as gateway:
        gateway.say("a", "/echo hello")
    (state / "gateway.store").unlink()
    with GatewayProcess(state) as gateway:
        assert gateway.texts("a") == ["/echo hello", "hello"]
    assert (state / "gateway.store").exists()
