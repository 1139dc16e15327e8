import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import apsw
import pytest

from command_line import CommandLine, Told
from gateway_process import TOKEN, GatewayProcess, until
from tidegate.store.backup import PART
from tidegate.store.sqlite import NAME

KEY = "sk-the-key-of-the-model"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that has been talked to."""
    with GatewayProcess(tmp_path / "state", environment={"MODEL_KEY": KEY}) as started:
        started.say("c", "/echo hello")
        yield started


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    """The command line on the state folder of that gateway."""
    return CommandLine(tmp_path / "state")


def code(told: Told) -> str:
    """Return the code of the error that a command told in JSON."""
    return str(json.loads(told.err)["error"]["code"])


def test_a_busy_gateway_is_backed_up_and_restored(
    gateway: GatewayProcess, line: CommandLine, tmp_path: Path
) -> None:
    """A backup beside senders holds what was answered before; restored in a new folder, a gateway goes on from it."""
    stop = threading.Event()

    def send() -> None:
        number = 0
        while not stop.is_set():
            gateway.say("busy", f"/echo {number}")
            number += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        until(lambda: gateway.http.get("/api/sessions/busy").status_code == 200)
        gateway.say("last", "/echo before the backup")
        made = line.json("backup", tmp_path / "copy.db")
    finally:
        stop.set()
        sender.join(10)
    other = CommandLine(tmp_path / "other")
    restored = other.json("restore", tmp_path / "copy.db")
    with GatewayProcess(other.state) as again:
        assert ["/echo before the backup", "before the backup"] == again.texts("last")
        assert "on" == again.say("busy", "/echo on")["reply"]

    assert (3, None) == (made["sessions"], restored["kept"])
    assert 0 == other.run("doctor", "--scrub").code


def test_no_secret_is_in_a_backup(tmp_path: Path) -> None:
    """Neither the token, given or made, nor the key of a model, nor the configuration is in a backup."""
    model = '[model]\nprovider = "openai"\nname = "m"\napi_key_env = "MODEL_KEY"\n'
    config = model + '[agents.main]\ninstructions = "secret-plan"\n'
    state = tmp_path / "state"
    state.mkdir()
    (state / "token").write_text("a-token-that-is-stored\n")
    with GatewayProcess(state, config=config, environment={"MODEL_KEY": KEY}) as gateway:
        gateway.send("c", "is in it")
        line = CommandLine(state)
        line.json("backup", tmp_path / "copy.db")
        card = json.loads((state / "gateway.json").read_text())
        data = (tmp_path / "copy.db").read_bytes()

        assert b"is in it" in data
        secrets = [TOKEN, "a-token-that-is-stored", KEY, "secret-plan", card["instance"], "MODEL_KEY"]
        assert [] == [secret for secret in secrets if secret.encode() in data]


def test_a_running_gateway_is_not_restored_nor_fixed(
    gateway: GatewayProcess, line: CommandLine, tmp_path: Path
) -> None:
    """While a gateway holds the folder both are refused with 75, and nothing is touched."""
    line.json("backup", tmp_path / "copy.db")
    for command in (("restore", tmp_path / "copy.db"), ("doctor", "--fix")):
        told = line.run(*command, "--json")

        assert (75, "folder_held") == (told.code, code(told))
    assert not (line.state / "backups").exists()
    assert ["/echo hello", "hello"] == gateway.texts("c")


def test_backup_refuses(gateway: GatewayProcess, line: CommandLine, tmp_path: Path) -> None:
    """Errors are clear: what is there is kept, what is no backup is never replaced, a missing folder is named."""
    (tmp_path / "thesis.txt").write_text("mine")
    line.json("backup", tmp_path / "copy.db")

    for args, expected in (
        ((tmp_path / "copy.db",), (1, "conflict")),
        ((tmp_path / "thesis.txt", "--force"), (1, "bad_request")),
        ((line.state / NAME, "--force"), (1, "bad_request")),
        ((tmp_path / "none" / "copy.db",), (1, "not_found")),
    ):
        told = line.run("backup", *args, "--json")
        assert expected == (told.code, code(told))
    assert "mine" == (tmp_path / "thesis.txt").read_text()
    assert (tmp_path / "copy.db").stat().st_size == line.json("backup", tmp_path / "copy.db", "--force")[
        "bytes"
    ]


def test_restore_tells_what_it_does(line: CommandLine, tmp_path: Path) -> None:
    """People are told what came back, where the old store is kept, and what will be done again."""
    with GatewayProcess(line.state) as gateway:
        gateway.say("c", "/echo hello")
    connection = apsw.Connection(str(line.state / NAME))
    connection.execute(
        "INSERT INTO runs (id, session, lane, origin, state, created_at, prompt) "
        "SELECT 'open', id, 'interactive', 'message', 'queued', 1, x'5b5d' FROM sessions; "
        "UPDATE sessions SET turn_at = 1, due_at = 1, due_to = 'deleted';"
    ).fetchall()
    connection.close()
    line.json("backup", tmp_path / "copy.db")
    told = line.run("restore", tmp_path / "copy.db")

    assert 0 == told.code
    assert "restored: 1 sessions" in told.out
    assert f"{line.state}/backups/replaced-" in told.out
    assert "1 runs were not done when the backup was made; the next start carries them out" in told.out
    assert "1 sessions are past the date of their deletion" in told.out
    with GatewayProcess(line.state) as gateway:
        status = gateway.get("/api/status")
        assert (True, 2) == (status["holds_deletes"], status["boots"])


def test_restore_refuses(line: CommandLine, tmp_path: Path) -> None:
    """A file that is none of ours is refused; the exit code says why."""
    (tmp_path / "text").write_text("hello")
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 9_000)
    for name, expected in (
        ("none", (1, "not_found")),
        ("text", (1, "bad_request")),
        ("damaged.db", (74, "corrupt")),
        (".", (1, "bad_request")),
    ):
        told = line.run("restore", tmp_path / name, "--json")
        assert expected == (told.code, code(told))
    assert not (line.state / NAME).exists()


def test_fix_repairs_and_says_so(line: CommandLine) -> None:
    """One line for each repair, then a new examination; the second time there is nothing to do."""
    with GatewayProcess(line.state) as gateway:
        gateway.say("c", "/echo hello")
    connection = apsw.Connection(str(line.state / NAME))
    connection.execute(
        "UPDATE tallies SET count = 99 WHERE family = 'session'; DELETE FROM sessions"
    ).fetchall()
    connection.close()
    assert 1 == line.run("doctor").code
    first, second = line.run("doctor", "--fix"), line.json("doctor", "--fix")

    assert (0, True) == (first.code, "fixed entry: 2 removed, kept in orphans-" in first.out)
    assert "fixed tallies: " in first.out
    assert ([], None) == (second["repairs"], second["backup"])
    assert {"ok", "not checked"} == {check["verdict"] for check in second["checks"]}


def test_fix_leaves_damage_and_says_what_to_do(line: CommandLine) -> None:
    """What only a backup has whole is left where it is: exit 1, the session and the remedy are named."""
    with GatewayProcess(line.state) as gateway:
        gateway.say("c", "/echo hello")
    connection = apsw.Connection(str(line.state / NAME))
    connection.execute("UPDATE entries SET checksum = 1 WHERE seq = 1")
    connection.close()
    told = line.run("doctor", "--fix")

    assert 1 == told.code
    assert "entry 1 of session c is damaged" in told.out
    assert "tidegate restore FILE" in told.err


def test_a_killed_backup_command_leaves_no_target(
    gateway: GatewayProcess, line: CommandLine, tmp_path: Path
) -> None:
    """Killed, stopped or interrupted: there is no target, and the next backup has the folder tidy again."""
    gateway.say("c", "/big 900000")
    target = tmp_path / "out" / "copy.db"
    target.parent.mkdir()
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        process = line.start("backup", target)
        found = until(partial(begun, process, target.parent))
        process.send_signal(number)
        process.communicate(timeout=10)
        assert found
        assert not target.exists() or target.stat().st_size > 900_000
        target.unlink(missing_ok=True)
    line.json("backup", target)
    assert [target] == list(target.parent.iterdir())
    assert not list(target.parent.glob(f"{PART}*"))


def begun(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Whether a backup has begun to write, or is over."""
    return bool(list(folder.iterdir())) or process.poll() is not None


def test_status_and_metrics_know_the_nights(gateway: GatewayProcess, line: CommandLine) -> None:
    """The state of the nightly backups stands in the status, for people and for Prometheus, before there is any."""
    backup = gateway.get("/api/status")["backup"]
    metrics = gateway.http.get("/metrics").text

    assert (True, str(line.state / "backups"), None) == (
        backup["enabled"],
        backup["folder"],
        backup["last_at"],
    )
    assert {"ok": 0, "failed": 0, "skipped": 0} == backup["counts"]
    for outcome in backup["counts"]:
        assert f'tidegate_backups_total{{outcome="{outcome}"}} 0.0' in metrics
    assert "tidegate_backup_timestamp_seconds NaN" in metrics
    (line.state / "token").write_text(TOKEN)
    assert "backup   none yet, next " in line.run("status").out


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_told(gateway: GatewayProcess, line: CommandLine, tmp_path: Path) -> None:
    """A target without room is an I/O error, and nothing stays there."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=True, timeout=10)  # noqa: S607
    try:
        told = line.run("backup", place / "copy.db", "--json")
        left = list(place.iterdir())
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)  # noqa: S607

    assert ((74, "disk_full"), []) == ((told.code, code(told)), left)
