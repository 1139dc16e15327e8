import os
import plistlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import CommandLine
from gateway_process import GatewayProcess
from tidegate.cli.unit import Plan, plist, quoted, unit

ANALYZE = shutil.which("systemd-analyze")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a service of systemd")


def plan(state: Path, *, is_sandboxed: bool = True) -> Plan:
    """Return a plan on a state folder."""
    return Plan(
        name="tidegate",
        python=Path(sys.executable),
        state=state,
        config=state / "a $HOME.toml",
        environment=state / "x y.env",
        writable=(),
        stop_s=30,
        max_bytes=1 << 30,
        is_sandboxed=is_sandboxed,
    )


def system(folder: Path, script: str) -> Mapping[str, str]:
    """Return the environment in which `systemctl` is *script*."""
    folder.mkdir()
    command = folder / "systemctl"
    command.write_text(f'#!/bin/sh\necho "$*" >> {folder}/calls\n{script}\n')
    command.chmod(0o700)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
@pytest.mark.parametrize("is_sandboxed", [True, False])
def test_systemd_understands_it(tmp_path: Path, *, is_sandboxed: bool) -> None:
    """Systemd reads the unit without a complaint, whatever the path of the state folder holds."""
    state = tmp_path / """a b%h"c'd\\e"""
    path = tmp_path / "tidegate.service"
    path.write_text(unit(plan(state, is_sandboxed=is_sandboxed)))
    done = subprocess.run(
        [str(ANALYZE), "verify", "--user", str(path)],
        capture_output=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("PrivateUsers=yes" in path.read_text()) is is_sandboxed


@given(text=st.text(st.characters(blacklist_categories=["Cc", "Cs"])))
def test_a_word_of_a_unit(text: str) -> None:
    """A quoted word, read as systemd reads it, is the text again."""
    word = quoted(text)
    assert word[0] == word[-1] == '"'
    read = word[1:-1].replace("%%", "\0").replace("$$", "\1").replace("\\\\", "\2").replace('\\"', "\3")
    assert not {"%", "$", "\\", '"'} & set(read)
    assert read.translate({0: "%", 1: "$", 2: "\\", 3: '"'}) == text


def test_launchd_agent(tmp_path: Path) -> None:
    """The agent of macOS starts the same command, and is XML whatever the path holds."""
    text = plist(plan(tmp_path / "<a & b>"), tmp_path / "log")
    agent = plistlib.loads(text.encode())
    assert agent["ProgramArguments"] == plan(tmp_path / "<a & b>").command
    assert "Written by `tidegate service install`" in text


def test_dry_run(tmp_path: Path) -> None:
    """What would be written is printed, and nothing is written; the token is no part of it."""
    line = CommandLine(tmp_path, {"TIDEGATE_TOKEN": "a-secret-of-some-length"})
    told = line.run("service", "install", "--dry-run", "--memory", "2GB")
    assert (told.code, told.err) == (0, "")
    assert "Type=notify\n" in told.out
    assert f"MemoryMax={2 << 30}\n" in told.out
    assert "a-secret" not in told.out
    assert told.out == line.json("service", "install", "--dry-run", "--memory", "2GB")["text"]
    assert list(tmp_path.iterdir()) == []
    for wrong in (["--memory", "much"], ["--name", "../x"], ["--name", ""]):
        assert line.run("service", "install", "--dry-run", *wrong).code == 2


@pytest.mark.parametrize("script", ["exit 1", None])
def test_without_systemd(tmp_path: Path, script: str | None) -> None:
    """Where systemd is not there or does not answer, nothing is written, and the command ends with 69."""
    environment = {"PATH": str(tmp_path)} if script is None else system(tmp_path / "bin", script)
    line = CommandLine(tmp_path / "state", environment)
    told = line.run("service", "install")
    assert (told.code, told.out) == (69, "")
    assert "nothing was written" in told.err
    assert "--dry-run" in told.err
    assert not (tmp_path / "state").exists()
    assert line.run("service", "status").code == 1
    assert line.run("service", "remove").code == 1


def test_every_folder_that_is_written_is_listed(tmp_path: Path) -> None:
    """Workspaces and backups outside the state folder are told and writable; the state folder is always."""
    state, work, copies = (tmp_path / name for name in ("state", "work", "copies"))
    work.mkdir()
    config = tmp_path / "mine.toml"
    config.write_text(
        f'[agents.main]\nworkspace = "{work}"\n[agents.b]\nworkspace = "{work}"\n[backup]\nfolder = "{copies}"\n'
    )
    line = CommandLine(state, system(tmp_path / "bin", "exit 0"))
    told = line.run("service", "install", "--config", config)
    assert (told.code, told.err) == (0, "")
    assert [f"it writes to {folder}" for folder in (state, work, copies)] == told.out.splitlines()[1:4]
    unit_file = state / "xdg/systemd/user/tidegate.service"
    assert f'ReadWritePaths="{state}" "{work}" "{copies}"\n' in unit_file.read_text()
    assert copies.is_dir()


def test_with_systemd(tmp_path: Path) -> None:
    """Where it answers, it is told; --now starts the service; what another hand has written stays."""
    line = CommandLine(tmp_path, system(tmp_path / "bin", "exit 0"))
    calls = tmp_path / "bin/calls"
    assert line.json("service", "install", "--now", "--name", "tide")["is_started"] is True
    assert calls.read_text().splitlines()[1:] == ["--user daemon-reload", "--user enable --now tide"]
    assert line.run("service", "install", "--name", "tide").code == 0
    unit_file = tmp_path / "xdg/systemd/user/tide.service"
    unit_file.write_text("[Service]\n")
    assert line.run("service", "install", "--name", "tide").code == 1
    assert line.run("service", "remove", "--name", "tide").code == 1
    assert unit_file.read_text() == "[Service]\n"
    assert line.run("service", "install", "--name", "tide", "--force").code == 0
    assert line.run("service", "status", "--name", "tide").code == 0
    calls.unlink()
    assert line.run("service", "remove", "--name", "tide").code == 0
    assert calls.read_text().splitlines()[-2:] == ["--user disable --now tide", "--user daemon-reload"]


def test_systemd_fails(tmp_path: Path) -> None:
    """What systemd says when it refuses is told."""
    script = 'case "$*" in *enable*) echo no such luck >&2; exit 1;; esac'
    line = CommandLine(tmp_path, system(tmp_path / "bin", script))
    told = line.run("service", "install", "--now")
    assert (told.code, "no such luck" in told.err) == (69, True)


def test_a_gateway_tells_its_supervisor(tmp_path: Path) -> None:
    """READY=1 comes once it answers, WATCHDOG=1 again and again, STOPPING=1 when it is asked to stop."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "s"))
        heard.settimeout(15)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "s"), "WATCHDOG_USEC": "30000"}
        with GatewayProcess(tmp_path / "state", environment=environment) as gateway:
            assert heard.recv(100) == b"READY=1"
            assert httpx.get(f"{gateway.url}/readyz", trust_env=False).status_code == 200
            assert [heard.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            gateway.signal()
            assert b"STOPPING=1" in iter(lambda: heard.recv(100), b"")
            assert gateway.wait() == 0
