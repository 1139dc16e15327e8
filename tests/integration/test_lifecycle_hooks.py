import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from calling_hooks import KEY, call, signed, written
from gateway_process import GatewayProcess, Json, error_of, refused_start, until
from plugin_package import install
from receiver import Receiver, Turn
from tidegate import signature

PLUGIN = """
import json, os, time

def _note(event):
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps([event.event, event.key, event.outcome, event.entries]) + "\\n")

session_created = run_started = run_finished = session_completed = session_archived = session_deleted = _note
"""
#: everything that somebody's code may do wrong, and at once
HOSTILE = """
import asyncio, os, sys, threading, time

def session_created(event):
    time.sleep(3600)

async def run_started(event):
    time.sleep(3600)

def run_finished(event):
    sys.exit(1)

async def session_completed(event):
    await asyncio.sleep(3600)
"""
SETTINGS = """
[egress]
allow = ["127.0.0.1"]

[plugins]
hooks = ["noting", "hostile"]
deadline = "1s"

[webhooks.pager]
url = "{url}"
secret_env = "SECRET"
events = ["session_created", "run_finished", "session_completed"]
"""
EVENTS = ("session_created", "run_started", "run_finished", "session_completed", "session_archived")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Install a plugin that takes notes and one that does everything wrong."""
    folder = tmp_path / "packages"
    folder.mkdir()
    install(folder, "noting", PLUGIN)
    install(folder, "hostile", HOSTILE)
    return folder


def gateway(tmp_path: Path, packages: Path, config: str) -> GatewayProcess:
    """Return a gateway that finds these packages."""
    paths = os.pathsep.join([str(packages), *sys.path])
    environment = {"SECRET": written(KEY), "PYTHONPATH": paths, "NOTES": str(tmp_path / "notes")}
    return GatewayProcess(tmp_path / "state", config=config, environment=environment)


def notes(tmp_path: Path) -> list[list[object]]:
    """Return what the plugin has noted."""
    file = tmp_path / "notes"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def ask(running: GatewayProcess) -> None:
    """Have a session of a request that names none."""
    messages = [{"role": "user", "content": "/echo hi"}]
    response = running.http.post("/v1/chat/completions", json={"model": "main", "messages": messages})
    assert response.status_code == 200, response.text


def calls(running: GatewayProcess) -> dict[tuple[str, str], int]:
    """Return what became of events, without the zeros."""
    found: dict[tuple[str, str], int] = {}
    for line in running.http.get("/metrics").text.splitlines():
        if line.startswith("tidegate_hook_calls_total{"):
            _, event, _, outcome, _ = line.split('"')
            count = int(float(line.rpartition(" ")[2]))
            found |= {(event, outcome): count} if count else {}
    return found


def verified(body: bytes, headers: dict[str, str]) -> Json:
    """Return what a delivery says, once its signature was checked."""
    sent = signature.sign([KEY], headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == sent.signature
    return dict(json.loads(body))


def test_plugins_and_webhooks_are_told(tmp_path: Path, packages: Path) -> None:
    """Both hear of a session's life; a plugin that hangs, blocks and exits costs nobody else anything."""
    with Receiver() as receiver, gateway(tmp_path, packages, SETTINGS.format(url=receiver.url)) as running:
        for _ in range(3):
            ask(running)
        until(lambda: len(notes(tmp_path)) == 15)
        until(lambda: len(receiver.delivered) == 9)
        told = [verified(one.body, dict(one.headers)) for one in receiver.delivered]
        keys = {one["data"]["key"] for one in told}
        assert len(keys) == 3
        for key in keys:
            mine = [one["type"] for one in told if one["data"]["key"] == key]
            assert mine == ["session_created", "run_finished", "session_completed"]
            assert [note[0] for note in notes(tmp_path) if note[1] == key] == list(EVENTS)
        finished = next(one["data"] for one in told if one["type"] == "run_finished")
        assert (finished["outcome"], finished["kind"], finished["entries"]) == ("ok", "api", 2)
        until(lambda: calls(running).get(("session_created", "timed_out")))
        assert all(calls(running)[event, "ok"] == 3 for event in EVENTS)
        assert running.say("chat:1", "/echo still there")["reply"] == "still there"


def test_a_compaction_is_told_before_and_after(tmp_path: Path, packages: Path) -> None:
    """Who wants to hear of compactions is told which entries a summary takes the place of, and never what they say."""
    events = 'events = ["before_compaction", "after_compaction"]'
    config = SETTINGS.format(url="{url}").replace('"noting", "hostile"', "")
    config = "\n".join(events if line.startswith("events") else line for line in config.splitlines())
    with Receiver() as receiver, gateway(tmp_path, packages, config.format(url=receiver.url)) as running:
        for number in range(6):
            running.say("c", f"/echo {number} {'tide ' * 50}")
        answer = running.http.post("/api/sessions/c/compact")
        until(lambda: len(receiver.delivered) == 2)
        told = [verified(one.body, dict(one.headers)) for one in receiver.delivered]

    assert answer.status_code == 200, answer.text
    assert {"before_compaction", "after_compaction"} == {one["type"] for one in told}
    assert {("c", "chat", 1)} == {
        (one["data"]["key"], one["data"]["kind"], one["data"]["first_seq"]) for one in told
    }
    assert all(one["data"]["last_seq"] >= 8 for one in told)
    assert "tide" not in json.dumps(told)


def test_webhooks_survive_a_kill(tmp_path: Path, packages: Path) -> None:
    """What was told while the receiver was away, before the process was killed, arrives after the next start."""
    with Receiver([Turn(status=500)]) as receiver:
        running = gateway(
            tmp_path, packages, SETTINGS.format(url=receiver.url).replace('"noting", "hostile"', "")
        )
        with running:
            ask(running)
            receiver.wait()
            running.signal(signal.SIGKILL)
            running.wait()
        with running:
            until(lambda: len(receiver.delivered) >= 4)
        first, *rest = receiver.delivered
        assert first.id in {one.id for one in rest}
        types = {verified(one.body, dict(one.headers))["type"] for one in rest}
        assert types == {"session_created", "run_finished", "session_completed"}


def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    """The start is refused with exit code 78 and the name."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "tidegate.toml").write_text('[plugins]\nhooks = ["absent"]\n')
    code, said = refused_start(state)
    assert code == 78
    assert "'absent' is not installed" in said


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            '[plugins]\nhooks = ["no way"]\n',
            "tidegate.toml:2: [plugins] hooks: 'no way' is no name of a plugin",
        ),
        ('[plugins]\nhooks = ["a", "a"]\n', "'a' stands there twice"),
        ('[plugins]\ndeadline = "0s"\n', "tidegate.toml:2: [plugins] deadline: must be longer than 0s"),
        ('[plugins]\ndeadline = "1h"\n', "must be at most 5m"),
        (
            '[webhooks.w]\nurl = "https://example.com"\nsecret_env = "X"\nevents = ["run_finishd"]\n',
            "tidegate.toml:4: [webhooks.w] events: there is no event 'run_finishd'",
        ),
        ('[telemetry]\notlp_endpoint = "collector:4317"\n', "this is no address of a collector"),
    ],
)
def test_wrong_settings(tmp_path: Path, config: str, said: str) -> None:
    """They stop the start with file, line and what is wrong."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "tidegate.toml").write_text(config)
    code, error = refused_start(state)
    assert code == 78
    assert said in error


def test_a_circle_of_hooks_ends(tmp_path: Path) -> None:
    """A webhook that leads into a hook whose sessions it is told of goes round eight times, and is then given up."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    config = f"""
[gateway]
port = {port}
[egress]
allow = ["127.0.0.1"]
[webhooks.self]
url = "http://127.0.0.1:{port}/hooks/again"
secret_env = "SECRET"
events = ["session_created"]
[hooks.again]
secret_env = "SECRET"
template = "/echo round"
rate = 6000
"""
    with GatewayProcess(
        tmp_path / "state", config=config, environment={"SECRET": written(KEY)}, port=port
    ) as gateway:
        gateway.say("c", "/echo begin")
        [dead] = until(lambda: gateway.get("/api/outbox", state="dead")["deliveries"])
        assert (dead["attempts"], dead["error"]) == (1, "answered 508")
        assert len(gateway.get("/api/sessions", kind="hook")["sessions"]) == 8
        refused = call(gateway, "again", {}, "m", headers={**signed(b"{}", "m"), "tidegate-hops": "9"})
        assert error_of(refused) == (508, "hook_loop")
