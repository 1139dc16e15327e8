import json
import re
from pathlib import Path

import pytest

from command_line import CommandLine, key_of
from gateway_process import TOKEN, GatewayProcess
from terminal import terminal


@pytest.fixture
def nowhere(tmp_path: Path) -> CommandLine:
    """Return the command line on a folder without a gateway."""
    return CommandLine(tmp_path)


def test_not_running(nowhere: CommandLine) -> None:
    """Without a gateway, commands that need one end with 69 and say what to do."""
    for command in (["status"], ["sweep"], ["sessions", "list"], ["chat", "hi"]):
        told = nowhere.run(*command)
        assert (told.code, told.out) == (69, "")
        assert told.err == f"error: no gateway is running on {nowhere.state}\nhint: start it: tidegate up\n"
    assert nowhere.run("token").code == 69


def test_a_gateway_that_has_died(nowhere: CommandLine) -> None:
    """A card that a killed gateway left behind does not mislead anybody."""
    card = {"url": "http://127.0.0.1:1", "instance": "x", "config": None, "pid": 1}
    (nowhere.state / "gateway.json").write_text(json.dumps(card))
    (nowhere.state / "token").write_text("some-token-or-other")
    told = nowhere.run("status", "--json")
    assert (told.code, json.loads(told.err)["error"]["code"]) == (69, "unavailable")


def test_a_folder_is_held_once(tidegate_up: CommandLine) -> None:
    """A second gateway on the same folder ends with 75, and the first one goes on."""
    assert tidegate_up.run("up", "--port", "0").code == 75
    assert tidegate_up.run("status").code == 0


def test_status(tidegate_up: CommandLine) -> None:
    """People read what matters in a few lines; JSON has everything."""
    told = tidegate_up.run("status")
    assert told.code == 0
    for text in ("offline, not an LLM", "http://127.0.0.1:", "overdue", "orphans", "subagent", "archived"):
        assert text in told.out
    found = tidegate_up.json("status")
    assert {"version", "uptime_s", "boots", "model", "rss_bytes", "sessions", "storage"} <= set(found)


def test_token(tidegate_up: CommandLine) -> None:
    """The token stands alone on standard output."""
    token = (tidegate_up.state / "token").read_text().strip()
    assert tidegate_up.run("token") == (0, f"{token}\n", "")
    assert tidegate_up.json("token") == {"token": token}


def test_list(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Sessions are listed newest first, filtered, page after page; people see what becomes of each."""
    key = key_of(request)
    keys = [f"{key}:{number}" for number in range(3)]
    for one in keys:
        tidegate_up.run("chat", "/echo x", "--session", one)
    found = tidegate_up.json("sessions", "list", "--q", key, "--all")["sessions"]
    assert [head["key"] for head in found] == keys[::-1]
    assert len(tidegate_up.json("sessions", "list", "--q", key, "--limit", "2")["sessions"]) == 2
    assert tidegate_up.json("sessions", "list", "--q", key, "--in-state", "archived")["sessions"] == []
    assert tidegate_up.json("sessions", "list", "--q", key, "--kind", "cron")["sessions"] == []
    told = tidegate_up.run("sessions", "list", "--q", key).out
    assert told.splitlines()[0].split() == ["key", "kind", "state", "entries", "size", "next", "title"]
    assert told.count("archives in 30 d") == 3
    assert tidegate_up.run("sessions", "list", "--kind", "none").code == 1


def test_actions(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Each action is told for each session; one that refuses does not keep it from the others."""
    key = key_of(request)
    tidegate_up.run("chat", "/echo x", "--session", key)
    told = tidegate_up.run("sessions", "pin", "t:none", key)
    assert (told.code, told.out) == (1, f"pinned {key}\n")
    assert "there is no session 't:none'" in told.err
    assert tidegate_up.run("sessions", "archive", key).code == 1
    for action, done in (("unpin", "unpinned"), ("archive", "archived"), ("restore", "restored")):
        assert tidegate_up.run("sessions", action, key) == (0, f"{done} {key}\n", "")
    assert tidegate_up.json("sessions", "archive", key)["sessions"][0]["state"] == "archived"


def test_delete(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Nothing is deleted unless a person says yes or --yes does."""
    key = key_of(request)
    tidegate_up.run("chat", "/echo x", "--session", key)
    assert tidegate_up.run("sessions", "delete", key).code == 2
    assert tidegate_up.run("sessions", "show", key).code == 0
    assert tidegate_up.run("sessions", "delete", key, "--yes") == (0, f"deleted {key}\n", "")
    assert tidegate_up.run("sessions", "show", key).code == 1


def test_delete_asks(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """On a terminal a person is asked."""
    key = key_of(request)
    tidegate_up.run("chat", "/echo x", "--session", key)
    with terminal(tidegate_up, "sessions", "delete", key) as shown:
        shown.until("[y/N]")
        shown.type("y\n")
        shown.until(f"deleted {key}")


def test_stats_and_sweep(tidegate_up: CommandLine) -> None:
    """Counts and bytes are told by kind and state; a sweep tells what it did."""
    found = tidegate_up.json("sessions", "stats")
    assert set(found) == {"sessions", "session_bytes"}
    assert "subagent" in tidegate_up.run("sessions", "stats").out
    assert tidegate_up.run("sweep") == (0, "completed 0, archived 0, deleted 0, left 0\n", "")
    assert tidegate_up.json("sweep", "--dry-run") == {"completed": 0, "archived": 0, "deleted": 0, "left": 0}


def test_people_come_first_in_eighty_columns(tidegate_up: CommandLine) -> None:
    """Conversations of people stand above what jobs leave behind, and each line fits a terminal of 80 columns."""
    tidegate_up.run(
        "chat",
        "/echo a spring tide, and a title so long that it stands on no line of eighty columns",
        "--session",
        "t:me",
    )
    tidegate_up.run("jobs", "add", "later", "/echo spring tide", "--every", "1h")
    for _ in range(3):
        tidegate_up.run("jobs", "run", "later")
    kinds = [head["kind"] for head in tidegate_up.json("sessions", "list", "--all")["sessions"]]
    assert {"chat", "cron"} <= set(kinds)
    assert kinds == sorted(kinds, key=lambda kind: kind != "chat")
    with terminal(tidegate_up, "sessions", "list", "--q", "spring tide", columns=80) as shown:
        lines = shown.rest().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[-1] == "title"
    assert all(not line.startswith(" ") for line in lines)
    (mine,) = (line for line in lines if line.startswith("t:me "))
    assert mine.rstrip().endswith("…")


def test_logs(tmp_path: Path) -> None:
    """The latest events of the log are read from the running gateway: a line each, and an object each with --json."""
    (tmp_path / "state").mkdir(mode=0o755)  # which is told
    with GatewayProcess(tmp_path / "state"):
        check_logs(CommandLine(tmp_path / "state", {"TIDEGATE_TOKEN": TOKEN}))


def check_logs(line: CommandLine) -> None:
    """Look at what the command prints."""
    told = line.run("logs")
    assert (told.code, told.err) == (0, "")
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+ ", text) for text in told.out.splitlines())
    events = [json.loads(text) for text in line.run("logs", "--json").out.splitlines()]
    assert events
    assert all({"timestamp", "level", "event"} <= set(event) for event in events)
    page = json.loads(line.run("logs", "--json", "--limit", "1").out)
    assert page == events[-1]
