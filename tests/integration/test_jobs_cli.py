import json

from command_line import CommandLine


def test_jobs(tidegate_up: CommandLine) -> None:
    """A job is added, listed, run, paused, resumed, looked back at and removed."""
    added = tidegate_up.run("jobs", "add", "tea", "/echo tea", "--every", "1h", "--deliver", "chat:tea")
    assert (0, "added tea: in 60 min\n") == (added.code, added.out)
    listed = tidegate_up.run("jobs", "list").out.splitlines()
    assert ["name", "when", "next", "agent", "session", "state", "origin"] == listed[0].split()
    assert any(line.split()[:3] == ["tea", "every", "1h"] for line in listed)
    ran = tidegate_up.run("jobs", "run", "tea")
    assert ran.out.startswith("runs in cron:")
    assert "paused tea\n" == tidegate_up.run("jobs", "pause", "tea").out
    assert "paused" in tidegate_up.run("jobs", "list").out
    assert "resumed tea: in 60 min\n" == tidegate_up.run("jobs", "resume", "tea").out
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
