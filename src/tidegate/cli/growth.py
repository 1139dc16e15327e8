"""``tidegate growth``: how the running gateway grows, as a chart, a line for each series, and a verdict."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypedDict, cast

import click
from click.core import ParameterSource

from tidegate.cli import chart
from tidegate.cli.chart import Column
from tidegate.cli.client import Client
from tidegate.cli.explain import explain
from tidegate.cli.options import json_option, state_option
from tidegate.cli.text import plain
from tidegate.cli.week import summary
from tidegate.clock import SECOND_MS
from tidegate.errors import TidegateError, Unavailable
from tidegate.units import print_size, print_span

SPANS = ("1h", "1d", "90d")
EVERY_S = 10.0
AGAIN_S = 1.0  # while no gateway answers
WIDEST = 120
LINE = 24  # of a chart in one line

span_option = click.option(
    "--span", type=click.Choice(SPANS), default="1h", show_default=True, help="How far back."
)
series_option = click.option(
    "--series", metavar="NAMES", help="Which series, with commas; the first one is drawn large."
)
watch_option = click.option("--watch", is_flag=True, help="Go on until Ctrl-C.")

Points = Sequence[tuple[float, float, float, float, int]]


class Series(TypedDict):
    """One series of an answer."""

    unit: str
    now: float | None
    trend: str
    points: Points


class Growth(TypedDict):
    """What the gateway answers, as far as people see it."""

    trend: str
    trend_of: str
    uptime_s: int
    boots: int
    span: str
    series: Mapping[str, Series]


@click.group(invoke_without_command=True)
@span_option
@series_option
@watch_option
@state_option
@json_option
@click.pass_context
def growth(ctx: click.Context, /, **options: object) -> None:
    """Show how the gateway grows."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show, **options)
    elif any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in options):
        raise click.UsageError(f"options stand after `growth {ctx.invoked_subcommand}`")


growth.add_command(explain)
growth.add_command(summary)


@growth.command()
@span_option
@series_option
@watch_option
@state_option
@json_option
def show(state: Path | None, span: str, series: str | None, *, watch: bool, as_json: bool) -> None:
    """Show a chart, a line for each series, and the verdict."""
    read = partial(_read, state, span, series)
    if watch:
        _watch(read, _large(series), as_json=as_json)
    elif as_json:
        click.echo(json.dumps(read()))
    else:
        for text in drawn(read(), _large(series), _width()):
            click.echo(text)


def drawn(found: Growth, large: str | None, width: int) -> Iterator[str]:
    """Yield the lines of a page: the verdict, the *large* series as a chart, each of the others in a line."""
    up = print_span(found["uptime_s"] * SECOND_MS)
    starts = "1 start" if found["boots"] == 1 else f"{found['boots']} starts"
    yield f"{found['trend']} · up {up} · {starts}" if _is_wide() else f"{found['trend']}; up {up}; {starts}"
    all_series = found["series"]
    name = large if large in all_series else found["trend_of"]
    name = name if name in all_series else next(iter(all_series), "")
    if name:
        yield from _chart(name, all_series[name], found["span"], width)
    others = {other: series for other, series in all_series.items() if other != name}
    yield from _lines(others)


def _chart(name: str, series: Series, span: str, width: int) -> Iterator[str]:
    yield ""
    yield f"{plain(name)}, {span}: {_now(series)}, {series['trend']}"
    columns = _columns(series["points"])
    yield from chart.chart(columns, width, _printed(series["unit"]), chart.style())
    if series["points"]:
        first, last = (time.localtime(series["points"][index][0]) for index in (0, -1))
        shape = "%H:%M" if span == "1h" else "%d %b %H:%M"
        yield f"{time.strftime(shape, first)} to {time.strftime(shape, last)}"


def _lines(all_series: Mapping[str, Series]) -> Iterator[str]:
    """Yield a line for each series: its name, its chart, what it is now, and whether that is going anywhere."""
    if not all_series:
        return
    yield ""
    names = max(map(len, all_series))
    style = chart.style()
    nows = {name: _now(series) for name, series in all_series.items()}
    widest = max(map(len, nows.values()))
    for name, series in all_series.items():
        small = chart.line(_columns(series["points"]), LINE, style)
        trend = "" if series["trend"].startswith("needs") else f"  {series['trend']}"
        yield f"{plain(name):<{names}}  {small:<{LINE}}  {nows[name]:>{widest}}{trend}"


def _watch(read: Callable[[], Growth], large: str | None, *, as_json: bool) -> None:
    """Show it again and again: in place on a terminal, else a line each time; a restart is waited for."""
    is_screen = sys.stdout.isatty() and not as_json
    found = read()
    try:
        while True:
            if as_json:
                click.echo(json.dumps(found))
            elif is_screen:
                click.clear()
                click.echo("\n".join([*drawn(found, large, _width()), "", "Ctrl-C ends"]))
            else:
                click.echo(_brief(found))
            before, found = found, _next(read)
            if found["boots"] != before["boots"] and not is_screen:
                click.echo(f"the gateway was started anew, start {found['boots']}", err=as_json)
    except KeyboardInterrupt:
        return


def _next(read: Callable[[], Growth]) -> Growth:
    """Wait, and read again as soon as a gateway answers; that one does not is said once."""
    time.sleep(EVERY_S)
    is_told = False
    while True:
        try:
            return read()
        except TidegateError as error:
            if not _is_passing(error):
                raise
            if not is_told:
                click.echo(plain(f"waiting: {error}"), err=True)
            is_told = True
            time.sleep(AGAIN_S)


def _is_passing(error: TidegateError) -> bool:
    """Whether a gateway that is stopped and started again can be behind an error."""
    return isinstance(error, Unavailable) or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _brief(found: Growth) -> str:
    series = found["series"].get(found["trend_of"])
    now = "" if series is None else f"{found['trend_of']} {_now(series)}, "
    return (
        f"{time.strftime('%H:%M:%S')} {now}{found['trend']}, up {print_span(found['uptime_s'] * SECOND_MS)}"
    )


def _read(state: Path | None, span: str, series: str | None) -> Growth:
    return cast("Growth", Client(state).get("/api/growth", span=span, series=series))


def _columns(points: Points) -> list[Column]:
    return [Column(point[3], point[4]) for point in points]


def _large(series: str | None) -> str | None:
    return series.split(",")[0] if series else None


def _now(series: Series) -> str:
    now = series["now"]
    return "-" if now is None else _printed(series["unit"])(now)


def _printed(unit: str) -> Callable[[float], str]:
    if unit == "bytes":
        return print_size
    return _milliseconds if unit == "microseconds" else "{:,.0f}".format


def _milliseconds(value: float) -> str:
    return f"{value / 1_000:.1f} ms"


def _is_wide() -> bool:
    return chart.style().marks == chart.BLOCKS


def _width() -> int:
    return min(WIDEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 80
