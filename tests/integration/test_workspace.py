import signal
from pathlib import Path

import psutil
import pytest

from gateway_process import GatewayProcess, refused_start, until


def test_files_are_written_and_read(tmp_path: Path) -> None:
    """An agent writes into the workspace of the state folder and reads from it; what lies beside is closed."""
    with GatewayProcess(tmp_path / "state") as gateway:
        assert gateway.say("a", "/write notes/today.md first line")["reply"] == "wrote notes/today.md"
        assert gateway.say("a", "/read notes/today.md")["reply"] == "first line"
        assert "may not hold '..'" in gateway.say("a", "/read ../token")["reply"]
        assert (
            "leads out of the workspace" in gateway.say("a", f"/read {tmp_path}/state/tidegate.db")["reply"]
        )
        assert "there is no tool 'shell'" in gateway.say("a", "/run true")["reply"]
    assert (tmp_path / "state/workspace/notes/today.md").read_text() == "first line"


def test_each_agent_has_its_workspace(tmp_path: Path) -> None:
    """A folder of an agent's own is used as it is."""
    (tmp_path / "mine").mkdir()
    config = f'[agents.main]\n[agents.other]\nworkspace = "{tmp_path}/mine"\n'
    with GatewayProcess(tmp_path / "state", config=config) as gateway:
        gateway.say("a", "/write a text", agent="other")
        assert "there is no 'a'" in gateway.say("b", "/read a")["reply"]
    assert (tmp_path / "mine/a").read_text() == "text"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            '[agents.main]\ntools = ["read_file",\n "read_fil"]\n',
            "toml:2: [agents.main] tools: there is no tool",
        ),
        ('[agents.main]\nworkspace = "none"\n', "tidegate.toml:2: [agents.main] workspace:"),
        ('[agents.main]\nworkspace = "."\n', "the state folder lies in it"),
        (
            '\n[egress]\nallow = ["10.0.0.0/99"]\n',
            "tidegate.toml:3: [egress] allow: '10.0.0.0/99' is no address",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start(tmp_path: Path, config: str, text: str) -> None:
    """What does not exist or cannot be used is told with file and line; exit 78."""
    (tmp_path / "tidegate.toml").write_text(config)
    code, said = refused_start(tmp_path)
    assert code == 78
    assert text in said


def sleepers(state: Path) -> list[psutil.Process]:
    """Return the processes that sleep in the workspace of a gateway."""
    found = psutil.process_iter(["name", "cwd"])
    place = str(state / "workspace")
    return [one for one in found if one.info["name"] == "sleep" and one.info["cwd"] == place]


def test_kill_9_leaves_no_program(tmp_path: Path) -> None:
    """A person allows a call; when the gateway is killed meanwhile, the program dies with it, with all its children."""
    with GatewayProcess(tmp_path / "state", config='[agents.main]\ntools = ["shell"]\n') as gateway:
        gateway.send("a", "/run sh -c 'sleep 7006.5 & setsid sleep 7006.5 & wait'")
        (asked,) = until(lambda: gateway.get("/api/approvals", state="pending")["approvals"])
        gateway.http.post(f"/api/approvals/{asked['id']}", json={"decision": "once"})
        until(lambda: len(sleepers(gateway.state)) == 2)
        gateway.signal(signal.SIGKILL)
        gateway.wait()
        until(lambda: not sleepers(gateway.state))
        gateway.start()
        entries = until(lambda: [text for text in gateway.texts("a") if "interrupted" in text])
        assert entries[0].startswith("interrupted")


def test_cancelling_a_run_ends_its_program(tmp_path: Path) -> None:
    """A run that is cancelled leaves neither a program nor a descriptor."""
    with GatewayProcess(tmp_path / "state", config='[agents.main]\ntools = ["shell"]\n') as gateway:
        counts = []
        for at in range(3):
            gateway.send(f"a{at}", "/run sleep 7006.5")
            (asked,) = until(lambda: gateway.get("/api/approvals", state="pending")["approvals"])
            gateway.http.post(f"/api/approvals/{asked['id']}", json={"decision": "once"})
            until(lambda: sleepers(gateway.state))
            gateway.post(f"/api/sessions/a{at}/cancel")
            until(lambda: not sleepers(gateway.state))
            until(lambda: not psutil.Process(gateway.pid).children())
            counts.append(psutil.Process(gateway.pid).num_fds())
        assert counts[-1] <= counts[0]
