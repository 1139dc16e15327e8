"""The forecast as people and programs get it: from a configuration, from what a gateway left, from one that runs."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import CommandLine
from gateway_process import TOKEN, GatewayProcess, error_of
from tidegate.bounded import Registry
from tidegate.clock import DAY_MS, HOUR_MS, SystemClock
from tidegate.domain.arrival import SERIES
from tidegate.domain.policy import DEFAULTS
from tidegate.domain.sample import COARSE, Range, Slot
from tidegate.store.sqlite import SqliteStore
from tidegate.units import print_size

CONFIG = """
[limits]
disk = "100MB"
memory = "256MB"
[lifecycle.api]
max_running = 1000
[[jobs]]
name = "minutely"
cron = "* * * * *"
prompt = "go"
[[jobs]]
name = "hourly"
every = "1h"
prompt = "go"
"""
KINDS = ["chat", "subagent", "cron", "hook", "api", "api_named"]


def watched(state: Path) -> None:
    """Leave two days of samples in a folder: 100 api sessions and 3 chats an hour."""

    async def keep() -> None:
        store = await SqliteStore.open(state, SystemClock(), DEFAULTS, Registry())
        start = SystemClock().now() - 2 * DAY_MS
        slots = [
            Slot(
                step_ms=COARSE.step_ms,
                number=hour,
                at=start + hour * HOUR_MS,
                boot=0,
                values={name: Range(0, 0, 0) for name in SERIES}
                | {"born.api": Range(0, 0, 100 * hour), "born.chat": Range(0, 0, 3 * hour)},
            )
            for hour in range(49)
        ]
        await store.samples.keep(slots)
        await store.close()

    state.mkdir(exist_ok=True)
    asyncio.run(keep())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway on a folder in which one has run before."""
    state = tmp_path_factory.mktemp("gateway") / "state"
    watched(state)
    with GatewayProcess(state, config=CONFIG) as running:
        yield running


def test_a_configuration_alone(tmp_path: Path) -> None:
    """Without a gateway and a store the schedules are exact, the rest is assumed, and both are told."""
    path = tmp_path / "own.toml"
    path.write_text(CONFIG)
    line = CommandLine(tmp_path / "none")
    found = line.json("forecast", "--config", path)
    told = line.run("forecast", "--config", path)

    assert KINDS == list(found["kinds"])
    assert ("scheduled", 1_464) == (found["kinds"]["cron"]["basis"], found["kinds"]["cron"]["per_day"])
    assert ("assumed", 1_440) == (found["kinds"]["api"]["basis"], found["kinds"]["api"]["per_day"])
    assert (100 << 20, 256 << 20) == (found["disk"]["limit_bytes"], found["memory"]["limit_bytes"])
    assert (None, None) == (found["kinds"]["chat"]["stays_s"], found["kinds"]["chat"]["live"])
    assert (0, "") == (told.code, told.err)
    for words in (
        "no store, so nothing is measured",
        "measured rates need 1 h of a running gateway",
        "assumed rates (--rate KIND=N/h takes another one): chat 5/d, subagent 10/h, api 60/h, api_named 10/d",
        "assumed sizes: 43.0 KB a session, 14.0 KB archived",
        "now: cron keeps 500 of a job and outcome",
        "at 10 x: ",
        "never",
    ):
        assert words in told.out
    level = sum(kind["disk_bytes"] or 0 for kind in found["kinds"].values())
    assert f"now, disk: grows by 70.0 KB a day beside {print_size(level)} that level off, limit" in told.out
    assert not (tmp_path / "none").exists()


def test_more_comes(tmp_path: Path) -> None:
    """At a scale, with a rate of one's own: what is refused, and when the disk passes its limit, in words."""
    path = tmp_path / "own.toml"
    path.write_text(CONFIG)
    line = CommandLine(tmp_path / "none")
    told = line.run(
        "forecast", "--config", path, "--scale", "500", "--rate", "api=10000/h", "--rate", "chat=0/d"
    ).out
    found = line.json("forecast", "--config", path, "--scale", "500", "--rate", "api=10000/h")

    assert "at 500 x: " in told
    assert "api is refused above 1,000 running: needs 13,889" in told
    assert "disk passes 100.0 MB in " in told
    assert (500, "asked") == (found["scale"], found["kinds"]["api"]["basis"])
    assert {"disk", "max_running", "keep"} <= {one["budget"] for one in found["breaks"]}
    assert "at " not in CommandLine(tmp_path).run("forecast", "--scale", "1").out.split("kind", 1)[0]


def test_what_a_gateway_left(tmp_path: Path) -> None:
    """Where none runs, its store tells the rates; another configuration has jobs of its own."""
    watched(tmp_path)
    (tmp_path / "tidegate.toml").write_text(CONFIG)
    line = CommandLine(tmp_path)
    found, told = line.json("forecast"), line.run("forecast").out
    other = line.json("forecast", "--config", tmp_path / "tidegate.toml")

    assert 2 * DAY_MS / 1_000 == found["observed_s"]
    assert {"chat": 72, "api": 2_400, "cron": 0} == {
        name: round(found["kinds"][name]["per_day"], 6) for name in ("chat", "api", "cron")
    }
    assert {"measured"} == {kind["basis"] for kind in found["kinds"].values()}
    assert "rates are those of the last 2 d of a running gateway" in told
    assert "assumed rates" not in told
    assert ("scheduled", "measured") == tuple(other["kinds"][name]["basis"] for name in ("cron", "api"))
    assert found["disk"]["now_bytes"] > 200_000


def test_the_running_gateway(gateway: GatewayProcess) -> None:
    """It is asked, and answers by what it has measured, under the configuration that it has."""
    gateway.say("notes", "/echo hello")
    line = CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN})
    found, told = gateway.get("/api/forecast", scale=10), line.run("forecast")

    assert (10, KINDS) == (found["scale"], list(found["kinds"]))
    assert (pytest.approx(24_000), "measured") == tuple(
        found["kinds"]["api"][key] for key in ("per_day", "basis")
    )
    assert (1, 100 << 20) == (found["kinds"]["chat"]["now"], found["disk"]["limit_bytes"])
    assert 10 << 20 < found["memory"]["now_bytes"] < found["memory"]["worst_bytes"]
    assert (0, "") == (told.code, told.err)
    assert told.out.startswith(f"the running gateway at {gateway.url}\n")
    assert "at 10 x: disk passes 100.0 MB in " in told.out
    assert line.json("forecast", "--scale", "10")["kinds"]["api"] == found["kinds"]["api"]
    assert 48 == line.json("forecast", "--rate", "cron=2/h")["kinds"]["cron"]["per_day"]


def test_another_configuration_beside_a_running_gateway(gateway: GatewayProcess, tmp_path: Path) -> None:
    """With --config it is that file that is foretold, by the rates that were measured."""
    path = tmp_path / "other.toml"
    path.write_text('[limits]\ndisk = "64MB"\n[lifecycle.api]\ndelete_after = "10d"\n')
    found = CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN}).json("forecast", "--config", path)

    assert (64 << 20, "measured") == (found["disk"]["limit_bytes"], found["kinds"]["api"]["basis"])
    assert found["kinds"]["api"]["live"] == pytest.approx(24_000, rel=0.01)


def test_samples_tell_how_many_came(gateway: GatewayProcess) -> None:
    """Each policy has a series."""
    assert set(SERIES) <= set(gateway.get("/api/growth")["names"])


@pytest.mark.parametrize(
    "query",
    [
        {"scale": "many"},
        {"scale": "-1"},
        {"scale": "nan"},
        {"scale": "inf"},
        {"scale": "1e7"},
        {"rate": "api"},
    ],
)
def test_bad_input(gateway: GatewayProcess, query: dict[str, str]) -> None:
    """What makes no sense is refused, with a hint."""
    assert (400, "bad_request") == error_of(gateway.http.get("/api/forecast", params=query))


@pytest.mark.parametrize(
    ("option", "value"), [("--scale", "-1"), ("--scale", "nan"), ("--rate", "robot=1/h")]
)
def test_bad_options(tmp_path: Path, option: str, value: str) -> None:
    """A usage error, told as one."""
    told = CommandLine(tmp_path).run("forecast", option, value, "--json")

    assert (2, "") == (told.code, told.out)
    assert "usage" == json.loads(told.err)["error"]["code"]
