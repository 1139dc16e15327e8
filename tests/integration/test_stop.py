import signal
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from command_line import CommandLine
from gateway_process import TOKEN, GatewayProcess, error_of, refused_start, until


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return where the state of a gateway goes."""
    return tmp_path / "state"


def is_running(gateway: GatewayProcess, key: str) -> bool:
    """Whether the session has a run that is being carried out and has called its tool."""
    runs = gateway.get("/api/runs", state="running")["runs"]
    return any(run["session"] == key and run["steps"] for run in runs)


def test_what_runs_may_end(state: Path) -> None:
    """SIGTERM lets a running run end and answers who waits for it; new messages are 503; then exit code 0."""
    with ThreadPoolExecutor() as threads, GatewayProcess(state) as gateway:
        waiting = threads.submit(gateway.say, "drained", "/sleep 1")
        until(lambda: is_running(gateway, "drained"))
        gateway.signal()
        until(lambda: gateway.http.get("/readyz").status_code == 503)
        refused = gateway.send("late", "/echo hi")
        assert error_of(refused) == (503, "stopping")
        assert int(refused.headers["retry-after"]) > 0
        assert gateway.http.get("/healthz").status_code == 200
        assert waiting.result()["reply"] == "slept 1"
        assert gateway.process.wait(10) == 0
        gateway.kill()
        gateway.start()
        assert gateway.texts("drained")[-1] == "slept 1"
        assert gateway.http.get("/api/sessions/late").status_code == 404


def test_stop_from_the_command_line(state: Path) -> None:
    """`tidegate stop` ends the gateway as a signal does, waits for its end, and finds none the next time."""
    with ThreadPoolExecutor() as threads, GatewayProcess(state) as gateway:
        line = CommandLine(state, {"TIDEGATE_TOKEN": TOKEN})
        waiting = threads.submit(gateway.say, "drained", "/sleep 1")
        until(lambda: is_running(gateway, "drained"))
        stopped = line.run("stop")
        assert (0, "") == (stopped.code, stopped.err)
        assert stopped.out == f"stopped {gateway.url}\n"
        assert waiting.result()["reply"] == "slept 1"
        assert gateway.process.wait(10) == 0
        assert line.run("stop").code == 69


def test_stop_does_not_wait_for_ever(state: Path) -> None:
    """What runs keeps its time to end; the command says when that is longer than its own patience."""
    with GatewayProcess(state, config='[gateway]\ndrain = "2s"\n') as gateway:
        gateway.send("slow", "/sleep 60")
        until(lambda: is_running(gateway, "slow"))
        told = CommandLine(state, {"TIDEGATE_TOKEN": TOKEN}).run("stop", "--timeout", "0.1")
        assert told.code == 69
        assert "has not ended after 0.1 s" in told.err
        assert gateway.process.wait(10) == 0


def test_what_takes_too_long_goes_on_later(state: Path) -> None:
    """A run longer than `drain` is left; who waits is told 503, and after the next start it is carried on."""
    with (
        ThreadPoolExecutor() as threads,
        GatewayProcess(state, config='[gateway]\ndrain = "1s"\n') as gateway,
    ):
        waiting = threads.submit(gateway.send, "long", "/sleep 2", once="k", wait=1)
        until(lambda: is_running(gateway, "long"))
        queued = threads.submit(gateway.send, "long", "/echo next", once="q", wait=1)
        until(lambda: len(gateway.get("/api/runs", state="queued")["runs"]) == 1)
        began = time.monotonic()
        gateway.signal()
        assert gateway.process.wait(10) == 0
        assert time.monotonic() - began < 3
        assert [error_of(told.result()) for told in (waiting, queued)] == [(503, "stopping")] * 2
        gateway.kill()
        gateway.start()
        answered = gateway.send("long", "/sleep 2", once="k", wait=1).json()
        assert answered["reply"] == "slept 2"
        assert gateway.send("long", "/echo next", once="q", wait=1).json()["reply"] == "next"
        assert [text for text in gateway.texts("long") if text.startswith("/")] == ["/sleep 2", "/echo next"]
        assert gateway.get("/api/status")["boots"] == 2


def test_a_second_signal_ends_at_once(state: Path) -> None:
    """A second signal does not wait for what runs; nothing that was acknowledged is lost."""
    with GatewayProcess(state) as gateway:
        run = gateway.send("cut", "/sleep 60").json()["run"]
        until(lambda: is_running(gateway, "cut"))
        acknowledged = [gateway.send(f"kept-{number}", f"/echo {number}") for number in range(20)]
        assert {response.status_code for response in acknowledged} == {202}
        began = time.monotonic()
        gateway.signal()
        until(lambda: gateway.http.get("/readyz").status_code == 503)
        gateway.signal()
        assert gateway.process.wait(10) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 5  # half of what it would wait
        gateway.kill()
        gateway.start()
        for number in range(20):
            until(lambda key=f"kept-{number}": gateway.session(key)["entries"] == 2)  # type: ignore[misc]
            assert gateway.texts(f"kept-{number}") == [f"/echo {number}", f"{number}"]
        assert gateway.get(f"/api/runs/{run}")["state"] in {"queued", "running"}
        assert gateway.post(f"/api/runs/{run}/cancel").json()["outcome"] == "cancelled"


def test_a_dawdler_holds_nothing_up(state: Path) -> None:
    """Connections that are idle, or in the middle of a head or a body, do not keep the gateway from stopping."""
    with GatewayProcess(state) as gateway, ExitStack() as connections:
        head = (
            f"POST /api/sessions/a/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        )
        for sent in ("", head, f"{head}Content-Length: 9\r\n\r\n{{"):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
            connection.sendall(sent.encode())
        assert gateway.http.get("/healthz").status_code == 200
        began = time.monotonic()
        gateway.signal()
        assert gateway.process.wait(10) == 0
        assert time.monotonic() - began < 3
        gateway.kill()
        gateway.start()


def test_a_folder_has_one_gateway(state: Path) -> None:
    """A second gateway on the same folder is exit 75 and says who holds it; the first one goes on."""
    with GatewayProcess(state) as gateway:
        code, said = refused_start(state)
        assert (code, gateway.url in said, str(gateway.pid) in said) == (75, True, True)
        assert gateway.say("on", "/echo still")["reply"] == "still"


def test_a_card_tells_where_it_is(state: Path) -> None:
    """While it runs `gateway.json` names its URL, for its owner alone; afterwards it is gone."""
    with GatewayProcess(state) as gateway:
        card = state / "gateway.json"
        assert gateway.url in card.read_text()
        assert card.stat().st_mode & 0o777 == 0o600
        assert gateway.stop() == 0
        assert not card.exists()
        gateway.start()


def test_a_taken_port_is_told(state: Path, tmp_path: Path) -> None:
    """A port that somebody else listens on is exit 69."""
    with GatewayProcess(state) as gateway:
        code, said = refused_start(tmp_path / "other", "--port", str(gateway.port))
        assert (code, "cannot be served" in said) == (69, True)


@pytest.mark.parametrize(
    ("place", "told"), [("file/state", (74, "cannot be written to")), ("file", (78, "is no folder"))]
)
def test_a_folder_that_cannot_be_is_told(tmp_path: Path, place: str, told: tuple[int, str]) -> None:
    """A state folder that cannot be made or written to is exit 74, and what is none is exit 78."""
    (tmp_path / "file").write_text("")
    code, said = refused_start(tmp_path / place)
    assert (code, told[1] in said) == (told[0], True)


def test_a_store_from_the_future_is_left_alone(state: Path) -> None:
    """A schema two versions ahead is exit 78 and stays as it is; one ahead is served."""
    with GatewayProcess(state) as gateway:
        gateway.say("kept", "/echo hi")
        assert gateway.stop() == 0
        version = schema(state)
        schema(state, version + 2)
        code, said = refused_start(state)
        assert (code, f"schema version {version + 2}" in said) == (78, True)
        assert schema(state) == version + 2
        schema(state, version + 1)
        gateway.start()
        assert gateway.texts("kept") == ["/echo hi", "hi"]


def schema(state: Path, version: int | None = None) -> int:
    """Return the version of a store's schema, after setting it."""
    connection = sqlite3.connect(state / "tidegate.db")
    try:
        if version is not None:
            connection.execute(f"PRAGMA user_version = {version}")
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


@pytest.mark.parametrize("token", ["", "short", "x" * 15])
def test_a_short_token_is_refused(state: Path, token: str) -> None:
    """A token of fewer than 16 characters in the environment is exit 78, and nothing is written in its place."""
    code, said = refused_start(state, TIDEGATE_TOKEN=token)
    assert (code, "TIDEGATE_TOKEN" in said) == (78, True)
    assert not (state / "token").exists()


def test_a_given_token_is_not_written(state: Path) -> None:
    """With a token in the environment no file holds one."""
    with GatewayProcess(state) as gateway:
        assert gateway.http.get("/api/status").status_code == 200
        assert not (state / "token").exists()
