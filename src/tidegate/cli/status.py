"""``tidegate status``: how the running gateway is, in one look."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

import click

from tidegate.cli.client import Client
from tidegate.cli.options import json_option, state_option
from tidegate.cli.table import Counts, count_table
from tidegate.cli.text import plain
from tidegate.clock import SECOND_MS
from tidegate.units import print_money, print_size, print_span


class Backup(TypedDict):
    """How the nightly backups stand."""

    enabled: bool
    next_at: str | None
    last_at: str | None
    last_bytes: int | None
    failure: str | None


class Disk(TypedDict):
    """How the budget on the disk stands, in bytes."""

    level: str
    limit: int
    live: int
    free: int
    reserve: int | None
    evicted: Mapping[str, int]
    trend: str | None


class Pressure(TypedDict):
    """How near the gateway is to its bounds."""

    memory_bytes: int
    memory_limit_bytes: int
    levels: Mapping[str, str]


class ShortOf(TypedDict):
    """A limit of an agent or a job that is nearly reached, in dollars."""

    of: str
    name: str
    today: float
    limit: float
    level: str


class Spend(TypedDict):
    """What models have cost today, in dollars."""

    today: float
    limit: float | None
    gateway_level: str
    unpriced: int
    unpriced_models: Sequence[str]
    short: Sequence[ShortOf]


class Fault(TypedDict):
    """What went wrong in one part and was put aside."""

    count: int
    at: str | None
    item: str | None
    error: str | None
    failing_since: str | None
    stuck: bool


class Window(TypedDict):
    """How many tokens a model takes, as its provider has said."""

    model: str
    tokens: int
    said_at: str


class Status(TypedDict):
    """The status, as far as people see it."""

    version: str
    url: str
    uptime_s: int
    boots: int
    model: str
    learnt_windows: Sequence[Window]
    rss_bytes: int
    trend: str | None
    level: str | None
    pressure: Pressure
    sessions: Counts
    session_bytes: Counts
    storage: Mapping[str, int]
    disk: Disk
    orphans: Mapping[str, int]
    overdue: int
    holds_deletes: bool
    backup: Backup
    spend: Spend
    faults: Mapping[str, Fault]


@click.command()
@state_option
@json_option
def status(state: Path | None, *, as_json: bool) -> None:
    """Show how the gateway is."""
    found = Client(state).get("/api/status")
    if as_json:
        click.echo(json.dumps(found))
    else:
        _show(cast("Status", found))


def _show(found: Status) -> None:
    click.echo(f"Tidegate {found['version']} is up for {print_span(found['uptime_s'] * SECOND_MS)}")
    _line("url", found["url"])
    _line("model", found["model"])
    for window in found["learnt_windows"]:
        _line(
            "window",
            f"{window['model']} takes {window['tokens']:,} tokens, as it said at {window['said_at']}",
        )
    starts = "1 start" if found["boots"] == 1 else f"{found['boots']} starts"
    _line("memory", print_size(found["rss_bytes"]))
    _line("level", _level(found))
    _line("trend", f"{found['trend'] or 'not known'}; {starts}")
    _line("storage", ", ".join(f"{part} {print_size(size)}" for part, size in found["storage"].items()))
    _line("disk", _disk(found["disk"]))
    _line("spend", _spend(found["spend"]))
    _line("overdue", str(found["overdue"]))
    _line("orphans", ", ".join(f"{name} {count}" for name, count in found["orphans"].items() if count) or "0")
    _line("backup", _backup(found["backup"]))
    for part, fault in found["faults"].items():
        if fault["count"]:
            _line("fault", f"{part}: {plain(put_aside(fault))}")
    if found["holds_deletes"]:
        _line("held", "the clock is in doubt, or the store was restored, so nothing is deleted;")
        _line("", "`tidegate sweep --confirm` lets it go on")
    click.echo()
    count_table(found["sessions"])


def put_aside(fault: Fault) -> str:
    """Say in a line what went wrong in a part since the start."""
    about = f" {fault['item']}:" if fault["item"] else ""
    since = f"; nothing but faults since {fault['failing_since']}" if fault["failing_since"] else ""
    return f"{fault['count']:,}, last {fault['at']}:{about} {fault['error']}{since}"


def _disk(found: Disk) -> str:
    share = f"{found['live'] / found['limit']:.0%} of {print_size(found['limit'])}"
    said = [
        f"{found['level']}, {share} in use",
        found["trend"] or "",
        f"{print_size(found['free'])} left on it",
    ]
    said += ["the reserve is out"] if found["reserve"] is None else []
    gone = [f"{count} {group}" for group, count in found["evicted"].items() if count]
    said += [f"gone to make room: {', '.join(gone)}"] if gone else []
    return "; ".join(filter(None, said))


def _level(found: Status) -> str:
    pressure = found["pressure"]
    used, limit = print_size(pressure["memory_bytes"]), print_size(pressure["memory_limit_bytes"])
    others = [f"{name} {word}" for name, word in pressure["levels"].items() if word != "normal"]
    return ", ".join([f"{found['level']}: {used} of {limit}", *others])


def _spend(found: Spend) -> str:
    said = [f"{_dollars(found['today'])} dollars today"]
    if found["limit"] is not None:
        said = [
            f"{found['gateway_level']}, {_dollars(found['today'])} of {_dollars(found['limit'])} dollars today"
        ]
    said += [
        f"{one['of']} {one['name']} {one['level']}, {_dollars(one['today'])} of {_dollars(one['limit'])}"
        for one in found["short"][:5]
    ]
    if found["unpriced"]:
        models = ", ".join(map(plain, found["unpriced_models"][:5]))
        answers = "1 answer is" if found["unpriced"] == 1 else f"{found['unpriced']:,} answers are"
        said += [f"{answers} unpriced ({models})"]
    return "; ".join(said)


def _dollars(amount: float) -> str:
    return print_money(amount * 1_000_000)


def _backup(found: Backup) -> str:
    if not found["enabled"]:
        return "off"
    last = (
        f"last {found['last_at']}, {print_size(found['last_bytes'] or 0)}" if found["last_at"] else "none yet"
    )
    failure = f"; failed: {found['failure']}" if found["failure"] else ""
    return f"{last}, next {found['next_at']}{failure}"


def _line(name: str, value: str) -> None:
    click.echo(plain(f"{name:<9}{value}"))
