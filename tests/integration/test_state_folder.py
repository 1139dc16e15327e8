import os
import socket
import stat
from pathlib import Path

import msgspec
import pytest

from command_line import CommandLine
from gateway_process import TOKEN, GatewayProcess, refused_start
from tidegate.folder import CARD_FILE, Card


@pytest.mark.parametrize("name", ["token", "gateway.json", "gateway.lock", "tidegate.db"])
def test_a_start_does_not_wait_for_a_pipe(tmp_path: Path, name: str) -> None:
    """A pipe in the place of a file of the gateway's is refused at once, by name and with a remedy."""
    os.mkfifo(tmp_path / name)
    code, said = refused_start(tmp_path)
    assert code == 78
    assert f"{name}' is no plain file" in said
    assert "hint: " in said


def test_a_start_closes_what_is_open(tmp_path: Path) -> None:
    """A folder that others could read is their owner's alone once the gateway is up, and the log says so."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    with GatewayProcess(state) as gateway:
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert "folder_tightened" in gateway.log.read_text()


def test_a_token_from_a_windows_file_is_refused(tmp_path: Path) -> None:
    """A carriage return at the end of the token is named, by the gateway and by the commands, and not printed."""
    code, said = refused_start(tmp_path, TIDEGATE_TOKEN=f"{TOKEN}\r")
    assert code == 78
    assert "carriage return" in said
    assert TOKEN not in said
    with GatewayProcess(tmp_path / "state") as gateway:
        told = CommandLine(gateway.state, {"TIDEGATE_TOKEN": f"{TOKEN}\r"}).run("status")
    assert (told.code, "carriage return" in told.err) == (78, True)


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_the_token_goes_to_no_stranger(tmp_path: Path, mode: int) -> None:
    """A card that somebody else could have written is not believed: whoever is named there hears nothing."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0)
        port = stranger.getsockname()[1]
        card = Card(url=f"http://127.0.0.1:{port}", instance="i", config=None, pid=1)
        (tmp_path / CARD_FILE).write_bytes(msgspec.json.encode(card))
        tmp_path.chmod(mode)
        told = CommandLine(tmp_path, {"TIDEGATE_TOKEN": TOKEN}).run("status")
        assert (told.code, "others may write" in told.err) == (78, True)
        with pytest.raises(BlockingIOError):
            stranger.accept()
