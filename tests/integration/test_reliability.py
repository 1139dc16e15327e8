"""What is damaged, or fails in passing, in a gateway that somebody uses: real processes, real databases."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import httpx

from command_line import command
from gateway_process import TOKEN, GatewayProcess, environment, until
from plugin_package import install

#: breaks what the writer's thread does between two operations, once somebody says so
BREAKING = """
from tidegate.store import writer

def run_finished(event):
    if event.key != "breaking":
        return

    def live_pages(connection):
        raise MemoryError

    writer._live_pages = live_pages
"""


def spoil(state: Path, query: str) -> None:
    """Change the database of a gateway that is stopped."""
    with closing(apsw.Connection(str(state / "tidegate.db"))) as database:
        database.execute(query)


def said(*args: str | Path) -> str:
    """Return what a command prints."""
    done = subprocess.run(
        command(*args),
        capture_output=True,
        check=True,
        timeout=20,
        env=environment({"TIDEGATE_TOKEN": TOKEN}),
    )
    return done.stdout.decode()


def faults(running: GatewayProcess, part: str) -> dict[str, Any]:
    """Return what the status says of a part."""
    return dict(running.get("/api/status")["faults"][part])


def test_a_damaged_transcript(tmp_path: Path) -> None:
    """The run ends as failed, in words; the gateway lives, others are answered, and the fault is named."""
    with GatewayProcess(tmp_path / "state") as running:
        running.say("ada", "hello")
        assert running.stop() == 0
        spoil(running.state, "UPDATE entries SET checksum = checksum + 1")
        running.start()
        assert running.say("ada", "are you there?")["reply"] == ""
        (run,) = running.get("/api/runs", session="ada", limit=1)["runs"]
        assert (run["state"], run["outcome"]) == ("done", "failed")
        assert "is damaged" in run["error"]
        assert running.say("bob", "/echo hi")["reply"] == "hi"
        fault = faults(running, "runner")
        assert (fault["count"], fault["item"]) == (1, "ada")
        assert "is damaged" in fault["error"]
        told = said("status", "--state", running.state)
        assert "runner: 1, last" in told
        assert running.http.get("/readyz").json() == {"ready": True}


def test_a_job_whose_zone_is_unknown(tmp_path: Path) -> None:
    """It is put aside with its attempts, its problem is shown, and the jobs behind it run."""
    with GatewayProcess(tmp_path / "state") as running:
        for name in ("broken", "sound"):
            job = {"name": name, "prompt": "/echo hi", "cron": "* * * * *", "timezone": "Europe/Berlin"}
            assert running.http.post("/api/jobs", json=job).status_code == 200
        assert running.stop() == 0
        spoil(
            running.state,
            "UPDATE jobs SET definition = replace(definition, 'Europe/Berlin', 'Mars/Olympus'), wakes_at = 1,"
            " next_at = 1, fired_through = 1 WHERE name = 'broken'",
        )
        spoil(running.state, "UPDATE jobs SET wakes_at = 2, next_at = 2 WHERE name = 'sound'")
        running.start()
        until(lambda: running.get("/api/jobs/broken")["problem"])
        assert "Mars/Olympus" in running.get("/api/jobs/broken")["problem"]
        assert running.get("/api/jobs/sound")["problem"] is None
        assert "Mars/Olympus" in said("jobs", "list", "--json", "--state", running.state)
        assert faults(running, "jobs")["item"] == "broken"
        first = faults(running, "jobs")["count"]
        until(lambda: faults(running, "jobs")["count"] > first)  # it is tried again
        until(lambda: running.get("/api/jobs/sound")["next_at"] > "2026")
        assert running.say("bob", "/echo hi")["reply"] == "hi"


def test_a_run_that_cannot_be_claimed(tmp_path: Path) -> None:
    """At the head of its lane it holds up nobody behind it, and after three attempts it ends as failed."""
    with GatewayProcess(tmp_path / "state") as running:
        running.say("ada", "hello")
        assert running.stop() == 0
        spoil(
            running.state,
            "INSERT INTO runs (id, session, lane, origin, state, created_at, prompt)"
            " SELECT 'POISONED', id, 'interactive', 'message', 'queued', created_at, x'7b' FROM sessions",
        )
        running.start()
        assert running.say("bob", "/echo hi")["reply"] == "hi"
        fault = until(lambda: faults(running, "runner") if faults(running, "runner")["count"] else None)
        assert fault is not None
        assert "JSON" in fault["error"] or "Expected" in fault["error"] or "truncated" in fault["error"]
        assert running.say("bob", "/echo again")["reply"] == "again"
        until(lambda: running.get("/api/runs/POISONED")["state"] == "done")
        assert running.get("/api/runs/POISONED")["outcome"] == "failed"
        assert running.say("ada", "/echo on")["reply"] == "on"  # in the same session
        assert not any(running.get("/api/status")["orphans"].values())


def test_a_writer_that_fails(tmp_path: Path) -> None:
    """Outside of any operation it ends the process at once, with one clear last line and exit code 74."""
    packages = tmp_path / "packages"
    packages.mkdir()
    install(packages, "breaking", BREAKING)
    running = GatewayProcess(
        tmp_path / "state",
        config='[plugins]\nhooks = ["breaking"]\n',
        environment={"PYTHONPATH": os.pathsep.join([str(packages), *sys.path])},
    )
    running.start()
    try:
        running.say("ada", "hello")
        running.send("breaking", "hello")
        until(lambda: not _is_answered(running))
        assert running.wait() == 74
    finally:
        running.kill()
    lines = running.log.read_text().splitlines()
    assert lines[-1] == "error: the thread that writes has failed: MemoryError"
    assert not [line for line in lines if "Traceback" in line]


def _is_answered(running: GatewayProcess) -> bool:
    try:
        return running.send("bob", "hello").status_code == 202
    except httpx.TransportError:
        return False
