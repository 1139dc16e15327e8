import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from command_line import CommandLine, Process, limited
from gateway_process import TOKEN, GatewayProcess, error_of, until
from tidegate.units import print_size

RESTART_S = 60  # two starts and two looks, ten seconds apart
MEMORY = ("rss_bytes", "anonymous_bytes", "python_heap_bytes", "native_gap_bytes", "sqlite_bytes")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway until it has taken its first sample."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state") as running:
        until(lambda: running.get("/api/growth")["names"])
        yield running


def test_growth(gateway: GatewayProcess) -> None:
    """The usual series are answered with points, a unit and a verdict, which needs six hours."""
    found = gateway.get("/api/growth")

    assert {"trend", "trend_of", "uptime_s", "boots", "span", "step_s", "columns", "series", "names"} <= set(
        found
    )
    assert ("1h", 10, 1) == (found["span"], found["step_s"], found["boots"])
    assert found["trend"].startswith("needs 6 h, first answer ")
    series = found["series"]["rss_bytes"]
    assert ("bytes", found["trend"], "unknown") == (
        series["unit"],
        series["trend"],
        series["verdict"]["shape"],
    )
    assert found["columns"] == ["at", "min", "max", "last", "boot"]
    assert all(len(point) == 5 and point[4] == 1 for point in series["points"])
    assert series["points"][-1][3] == series["now"] > 20 << 20
    assert set(found["series"]) <= set(found["names"])


@pytest.mark.parametrize(("span", "step_s"), [("1h", 10), ("1d", 60), ("90d", 600)])
def test_spans(gateway: GatewayProcess, span: str, step_s: int) -> None:
    """Each span is answered in its step, the slot in the making included."""
    found = gateway.get("/api/growth", span=span, series="tasks")
    assert (span, step_s) == (found["span"], found["step_s"])
    assert len(found["series"]["tasks"]["points"]) >= 1


def test_a_beginning_names_many(gateway: GatewayProcess) -> None:
    """A name that ends in a star is the beginning of names."""
    found = gateway.get("/api/growth", series="sessions.chat.*,tasks", points=1)
    states = ["active", "archived", "completed", "created"]
    assert [*(f"sessions.chat.{state}" for state in states), "tasks"] == list(found["series"])
    assert {1} == {len(series["points"]) for series in found["series"].values()}


@pytest.mark.parametrize(
    "query", [{"span": "2h"}, {"series": "none"}, {"series": "tasks,"}, {"points": "0"}, {"points": "-1"}]
)
def test_bad_input(gateway: GatewayProcess, query: dict[str, str]) -> None:
    """What makes no sense is refused, with a hint."""
    response = gateway.http.get("/api/growth", params=query)
    assert (400, "bad_request") == error_of(response)


def test_metrics_and_status(gateway: GatewayProcess) -> None:
    """The last sample is in the metrics, and the verdict in the status."""
    lines = [line.rsplit(" ", 1) for line in gateway.http.get("/metrics").text.splitlines() if line[0] != "#"]
    values = {name: float(value) for name, value in lines}
    status = gateway.get("/api/status")

    assert all(values[f"tidegate_{name}"] > 0 for name in (*MEMORY, "tasks", "threads", "files"))
    gap = values["tidegate_anonymous_bytes"] - values["tidegate_python_heap_bytes"]
    assert values["tidegate_native_gap_bytes"] == pytest.approx(gap, rel=1e-4)
    assert status["trend"].startswith("needs 6 h, first answer ")
    assert (1, 1) == (values["tidegate_boots"], status["boots"])


def test_history_goes_on_after_a_restart(tmp_path: Path) -> None:
    """A gateway that is stopped writes what it has sampled; the next one shows both lives."""
    gateway = GatewayProcess(tmp_path / "state")
    for _ in range(2):
        with gateway:
            until(lambda: gateway.get("/api/growth")["series"])
    with gateway:
        points = gateway.get("/api/growth", series="rss_bytes")["series"]["rss_bytes"]["points"]
    assert [1, 2] == sorted({point[4] for point in points} - {3})
    assert sorted(points) == points


def test_what_came_last_is_counted(tmp_path: Path) -> None:
    """A gateway that is stopped between two samples has what came since the first one in the week's line."""
    with GatewayProcess(tmp_path / "state") as gateway:
        until(lambda: gateway.get("/api/growth")["names"])
        for number in range(3):
            gateway.say(f"c{number}", "/echo hi")
        gateway.stop()
        gateway.start()
        until(lambda: gateway.get("/api/growth")["series"])
        assert 3 == gateway.get("/api/growth/summary")["came"]


def test_a_page(gateway: GatewayProcess) -> None:
    """People see the verdict with uptime and starts, a chart, and a line for each series; JSON has everything."""
    line = command_line(gateway)
    told = line.run("growth")
    assert (0, "") == (told.code, told.err)
    assert told.out.startswith("needs 6 h, first answer ")
    assert told.out.splitlines()[0].endswith("1 start")
    for text in ("anonymous_bytes, 1h:", "rss_bytes", "loop_lag_us", " to "):
        assert text in told.out
    assert told.out == told.out.replace("\x1b", "")
    assert {"trend", "series"} <= set(line.json("growth", "show", "--span", "1d"))


def test_one_series(gateway: GatewayProcess) -> None:
    """The series that is named is drawn large, what it is now in words."""
    line = command_line(gateway)
    told = line.run("growth", "show", "--series", "main_bytes,tasks").out.splitlines()
    now = line.json("growth", "--series", "main_bytes")["series"]["main_bytes"]["now"]
    assert told[2].startswith(f"main_bytes, 1h: {print_size(now)}, needs 6 h")
    assert told[-1].startswith("tasks")
    assert 1 == line.run("growth", "--series", "none").code
    assert 2 == line.run("growth", "--span", "1d", "show").code


def test_watch(gateway: GatewayProcess) -> None:
    """Where nobody sees a screen, watching prints a line each time, or JSON."""
    line = command_line(gateway)
    with line.start("growth", "--watch") as process, limited(process):
        assert process.stdout is not None
        assert b"needs 6 h" in process.stdout.readline()
        process.terminate()
    with line.start("growth", "--watch", "--json") as process, limited(process):
        assert process.stdout is not None
        assert "series" in json.loads(process.stdout.readline())
        process.terminate()


def test_watching_goes_on_across_a_restart(tmp_path: Path) -> None:
    """A gateway that is killed is waited for; once it is there again it is shown, as another start, at its new port."""
    gateway = GatewayProcess(tmp_path / "state")
    with gateway, ExitStack() as watching:
        pages, lines = (watching.enter_context(watch(gateway, *form)) for form in ((), ("--json",)))
        first = [said_by(process.stdout) for process in (pages, lines)]
        gateway.kill()
        waiting = [said_by(process.stderr) for process in (pages, lines)]
        gateway.start()
        told = [said_by(pages.stdout), said_by(lines.stderr)]
        again = [said_by(process.stdout) for process in (pages, lines)]
        for process in (pages, lines):
            process.send_signal(signal.SIGINT)
        rest = [process.communicate() for process in (pages, lines)]

    assert [(b"", b"")] * 2 == rest
    assert [0, 0] == [process.returncode for process in (pages, lines)]
    assert all(b"needs 6 h" in line for line in (*first, *again))
    assert all(line.startswith(b"waiting: no gateway is running on ") for line in waiting)
    assert [b"the gateway was started anew, start 2\n"] * 2 == told


@contextmanager
def watch(gateway: GatewayProcess, *form: str) -> Iterator[Process]:
    """Watch how a gateway grows."""
    with command_line(gateway).start("growth", "--watch", *form) as process, limited(process, RESTART_S):
        yield process


def said_by(stream: IO[bytes] | None) -> bytes:
    """Return the next line of a stream."""
    assert stream is not None
    return stream.readline()


def command_line(gateway: GatewayProcess) -> CommandLine:
    """Return the command line on the gateway's folder."""
    return CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN})
