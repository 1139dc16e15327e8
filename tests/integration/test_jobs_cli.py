import json
import re

from command_line import CommandLine
from gateway_process import until


def test_jobs(tidegate_up: CommandLine) -> None:
    """A job is added, listed, run, paused, resumed, looked back at and removed."""
    added = tidegate_up.run("jobs", "add", "tea", "/echo tea", "--every", "1h", "--deliver", "chat:tea")
    assert 0 == added.code
    assert re.fullmatch(r"added tea: in 60 min, (\d{4}-\d\d-\d\d )?\d\d:\d\d \S+\n", added.out)
    listed = tidegate_up.run("jobs", "list").out.splitlines()
    assert ["name", "when", "next", "agent", "session", "state", "origin"] == listed[0].split()
    assert any(line.split()[:3] == ["tea", "every", "1h"] for line in listed)
    ran = tidegate_up.run("jobs", "run", "tea")
    assert ran.out.startswith("runs in cron:")
    assert "paused tea\n" == tidegate_up.run("jobs", "pause", "tea").out
    assert "paused" in tidegate_up.run("jobs", "list").out
    assert tidegate_up.run("jobs", "resume", "tea").out.startswith("resumed tea: in 60 min, ")
    (firing,) = json.loads(tidegate_up.run("jobs", "history", "tea", "--json").out)["firings"]
    assert ("fired", True) == (firing["outcome"], firing["asked"])
    assert "fired (asked for)" in tidegate_up.run("jobs", "history", "tea").out
    assert "removed tea\n" == tidegate_up.run("jobs", "rm", "tea").out
    gone = tidegate_up.run("jobs", "run", "tea")
    assert (1, "error: there is no job 'tea'\n") == (gone.code, gone.err.splitlines(keepends=True)[0])


def test_a_job_that_makes_no_sense(tidegate_up: CommandLine) -> None:
    """What the gateway refuses is told with its remedy."""
    told = tidegate_up.run("jobs", "add", "x", "/echo x", "--cron", "nonsense")
    assert 1 == told.code
    assert told.err.startswith("error: cron: 'nonsense' is no cron expression\nhint: write five fields")


def test_a_job_says_its_zone_and_the_time_here(tidegate_up: CommandLine) -> None:
    """The expression stands beside the zone that it is read in, and what comes next in the reader's own time."""
    there = CommandLine(tidegate_up.state, {"TZ": "America/New_York"})
    added = there.run("jobs", "add", "zoned", "/echo x", "--cron", "0 9 1 1 *", "--timezone", "Asia/Tokyo")
    assert added.out.endswith("-12-31 19:00 EST\n")
    listed = there.run("jobs", "list").out
    assert "0 9 1 1 * (Asia/Tokyo)" in listed
    assert "-12-31 19:00 EST" in listed
    slip = there.run("jobs", "add", "z", "/echo x", "--cron", "0 9 * * *", "--timezone", "Tokio")
    assert "did you mean 'Asia/Tokyo'?" in slip.err


def test_an_answer_comes_into_the_conversation_of_the_command_line(tidegate_up: CommandLine) -> None:
    """What is delivered to chat:cli is read in `tidegate chat`: both are one conversation."""
    tidegate_up.run("jobs", "add", "brief", "/echo the brief", "--every", "1d", "--deliver", "chat:cli")
    tidegate_up.run("jobs", "run", "brief")
    assert until(lambda: "the brief" in tidegate_up.run("sessions", "show", "chat:cli").out)
    assert tidegate_up.run("sessions", "show", "cli").code == 1
    tidegate_up.run("jobs", "rm", "brief")
