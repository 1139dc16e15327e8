"""``tidegate jobs``: what runs by the clock, and what became of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import quote

import click

from tidegate.cli.answer import Firing, Job, Json
from tidegate.cli.client import Client, Request
from tidegate.cli.completion import job_names
from tidegate.cli.due import due, here, local
from tidegate.cli.options import json_option, state_option
from tidegate.cli.output import print_json
from tidegate.cli.table import table

COLUMNS = ("name", "when", "next", "agent", "session", "state", "origin")
HISTORY = ("instant", "outcome", "result", "session", "note")

name_argument = click.argument("name", shell_complete=job_names)


@click.group()
def jobs() -> None:
    """Make agents work by the clock."""


@jobs.command("list")
@state_option
@json_option
def list_(state: Path | None, *, as_json: bool) -> None:
    """List jobs by name."""
    found = cast("Iterator[Job]", Client(state).pages("/api/jobs", "jobs", {}, None))
    if as_json:
        print_json({}, "jobs", found)
    else:
        table(dict.fromkeys(COLUMNS, "left"), map(_row, found), spare=("origin", "agent", "session"))


@jobs.command()
@click.argument("name")
@click.argument("prompt")
@click.option("--at", metavar="INSTANT", help='Once, for example "2026-12-01T09:00:00+01:00".')
@click.option("--every", metavar="DURATION", help='For example "30m"; 1m at least.')
@click.option("--cron", metavar="EXPRESSION", help='For example "0 9 * * 1-5", or @daily.')
@click.option("--timezone", metavar="ZONE", help="Of --cron, for example Europe/Berlin (default: UTC).")
@click.option("--agent", metavar="NAME", help="Which agent (default: the first one).")
@click.option("--session", metavar="KEY", help="A conversation to run in (default: a new session each time).")
@click.option("--deliver", metavar="TARGET", help="Where answers go: chat:KEY or webhook:NAME.")
@click.option(
    "--missed", type=click.Choice(["once", "skip"]), help="Whether a missed instant is made up for."
)
@click.option("--max-lateness", metavar="DURATION", help="What is later does not run (default: 1d).")
@click.option("--overlap", type=click.Choice(["forbid", "allow"]), help="Whether it may run while it runs.")
@click.option("--jitter", metavar="DURATION", help="Up to so much later, by chance.")
@click.option("--max-runtime", metavar="DURATION", help="How long a run may take.")
@click.option("--allow-tool", "allow_tools", multiple=True, metavar="TOOL", help="Needs no approval.")
@click.option("--tool", "tools", multiple=True, metavar="TOOL", help="Only these tools, instead of all.")
@click.option("--alert-after", type=click.IntRange(1), metavar="N", help="Tell of N failures in a row.")
@click.option("--spend", metavar="DOLLARS", help="How much it may cost in a day.")
@click.option("--paused", is_flag=True, default=None, help="Do not run it yet.")
@state_option
@json_option
def add(state: Path | None, *, as_json: bool, **values: object) -> None:
    """Make a job that gives PROMPT to an agent; one of --at, --every and --cron says when."""
    body = {key: value for key, value in values.items() if value is not None and value != ()}
    job = cast("Job", Client(state).post("/api/jobs", body))
    _tell(job, f"added {job['name']}: {_next(job)}", as_json=as_json)


@jobs.command()
@name_argument
@state_option
@json_option
def run(name: str, state: Path | None, *, as_json: bool) -> None:
    """Run a job now, beside its schedule."""
    job = Client(state).post(_path(name, "run"))
    _tell(job, f"runs in {job['run_session']}", as_json=as_json)


@jobs.command()
@name_argument
@state_option
@json_option
def pause(name: str, state: Path | None, *, as_json: bool) -> None:
    """Let a job rest; what comes meanwhile is not made up for."""
    _tell(_patch(state, name, {"paused": True}), f"paused {name}", as_json=as_json)


@jobs.command()
@name_argument
@state_option
@json_option
def resume(name: str, state: Path | None, *, as_json: bool) -> None:
    """Let a job go on from now, and forget its failures."""
    job = _patch(state, name, {"paused": False})
    _tell(job, f"resumed {name}: {_next(cast('Job', job))}", as_json=as_json)


@jobs.command()
@name_argument
@state_option
@json_option
def rm(name: str, state: Path | None, *, as_json: bool) -> None:
    """Remove a job with its history; what it has running is cancelled."""
    _tell(Client(state).delete(_path(name)), f"removed {name}", as_json=as_json)


@jobs.command()
@name_argument
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, newest first."
)
@state_option
@json_option
def history(name: str, limit: int, state: Path | None, *, as_json: bool) -> None:
    """Show what became of a job's instants, newest first."""
    pages = Client(state).pages(_path(name, "firings"), "firings", {}, limit)
    found = cast("Iterator[Firing]", pages)
    if as_json:
        print_json({}, "firings", found)
    else:
        table(dict.fromkeys(HISTORY, "left"), map(_history_row, found), spare=("note", "session"))


def _row(job: Job) -> Sequence[str]:
    where = job["session"] if job["deliver"] == "none" else job["deliver"]
    health = "paused" if job["paused"] else f"failed {job['failures']} times" if job["failures"] else "on"
    health = f"put aside: {job['problem']}" if job["problem"] else health
    return job["name"], _when(job), _next(job), job["agent"], where, health, job["origin"]


def _history_row(firing: Firing) -> Sequence[str]:
    outcome = firing["outcome"] if firing["count"] == 1 else f"{firing['outcome']} x{firing['count']}"
    result = "runs" if firing["open"] else firing["result"] or ""
    asked = " (asked for)" if firing["asked"] else ""
    return local(firing["instant"]), outcome + asked, result, firing["session"] or "", firing["note"]


def _when(job: Job) -> str:
    if job.get("cron"):
        return f"{job['cron']} ({job['timezone']})"
    return f"every {job['every']}" if job.get("every") else f"at {job.get('at')}"


def _next(job: Job) -> str:
    if job["paused"]:
        return "paused"
    return f"{due(job['next_at'])}, {here(job['next_at'])}" if job["next_at"] else "over"


def _patch(state: Path | None, name: str, body: Mapping[str, object]) -> Json:
    return cast("Json", Client(state).request(Request("PATCH", _path(name), body=body)))


def _path(name: str, part: str = "") -> str:
    path = f"/api/jobs/{quote(name, safe='')}"
    return f"{path}/{part}" if part else path


def _tell(answer: Mapping[str, object], text: str, *, as_json: bool) -> None:
    click.echo(json.dumps(answer) if as_json else text)
