"""A picture of a soak: memory, sessions and disk over the run, beside the published curve of a gateway that grew."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.clock import DAY_MS, MINUTE_MS
from tidegate.errors import ConfigError, StorageFailed
from tidegate.extras import how_to_install
from tidegate.soak import report
from tidegate.soak.course import Facts
from tidegate.soak.plan import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
#: minutes of real time and MB resident, as its users published them: 22 skills, 12 jobs; then it was killed
PUBLISHED = ((0, 200), (7, 660), (30, 850))
DEAD_AT_MIN = 60
MB = 1_000_000

_OURS, _THEIRS, _FAINT = "#1f6f8b", "#b23a48", "#777777"


def check(file: Path) -> None:
    """See that pictures can be drawn, before a long run.

    Raises:
        ConfigError: What draws them is not installed.
        StorageFailed: There is no folder for them.
    """
    if not file.absolute().parent.is_dir():
        raise StorageFailed(f"{str(file)!r} cannot be written: its folder is not there")
    if find_spec("matplotlib") is None:
        raise ConfigError("drawing a plot needs what is not installed", hint=how_to_install("plot"))


def draw(file: Path, plan: Plan, facts: Facts, verdict: str) -> Sequence[Path]:
    """Draw a PNG and an SVG beside each other, named as *file* but for the suffix; return where they are.

    Raises:
        StorageFailed: They cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy, and an extra

    figure = Figure(figsize=(11, 7), layout="constrained")
    ((ours, theirs), (sessions, disk)) = figure.subplots(2, 2)
    theirs.sharey(ours)
    _memory(ours, facts)
    _published(theirs)
    _line(sessions, facts, [float(reading.stored) for reading in facts.readings], "sessions stored")
    _line(disk, facts, [reading.disk_bytes / MB for reading in facts.readings], "main file, MB")
    figure.suptitle(f"{facts.done:,} sessions ({plan.name}) in {report.span(facts)}: {verdict}")
    return _written(figure, file)


def _memory(axes: "Axes", facts: Facts) -> None:
    _line(axes, facts, [reading.rss_bytes / MB for reading in facts.readings], "resident memory, MB")
    axes.set_ylim(0, 1_000)
    axes.set_title("Tidegate, this run")


def _published(axes: "Axes") -> None:
    minutes, sizes = zip(*PUBLISHED, strict=True)
    axes.plot(minutes, sizes, color=_THEIRS, marker="o")
    axes.plot([minutes[-1], DEAD_AT_MIN], [sizes[-1]] * 2, color=_THEIRS, linestyle=":")
    axes.plot([DEAD_AT_MIN], [sizes[-1]], color=_THEIRS, marker="x", markersize=10)
    axes.annotate(
        "dead", (DEAD_AT_MIN, sizes[-1]), xytext=(-34, 8), textcoords="offset points", color=_THEIRS
    )
    axes.set_title("the published curve of another gateway")
    axes.set_xlabel("minutes of real time")
    axes.grid(alpha=0.3)


def _line(axes: "Axes", facts: Facts, values: Sequence[float], label: str) -> None:
    unit_ms = DAY_MS if facts.is_virtual else MINUTE_MS
    times = [reading.passed_ms / unit_ms for reading in facts.readings]
    axes.plot(times, values, color=_OURS, marker="." if len(values) == 1 else None)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("virtual days" if facts.is_virtual else "minutes")
    axes.set_ylabel(label)
    axes.tick_params(colors=_FAINT)
    axes.grid(alpha=0.3)


def _written(figure: "Figure", file: Path) -> Sequence[Path]:
    bare = file.with_suffix("") if file.suffix in SUFFIXES else file
    places = [bare.with_name(f"{bare.name}{suffix}") for suffix in SUFFIXES]
    for place in places:
        try:
            figure.savefig(place, dpi=120)
        except OSError as error:
            raise StorageFailed(f"{str(place)!r} cannot be written: {error.strerror}") from error
    return places
