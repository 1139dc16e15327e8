"""``tidegate soak``: months of sessions against real gateway code in a few minutes, and whether it stayed flat."""

import json
import logging
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from tidegate.cli.options import json_option
from tidegate.cli.up import ours
from tidegate.errors import StorageFailed

if TYPE_CHECKING:
    from rich.progress import Progress

    from tidegate.soak.course import Facts, Now
    from tidegate.soak.plan import Plan

KINDS = ("api", "api_named", "chat")
SESSIONS = 20_000
LEAST_WALL_MS = 5_000
EXCLUSIVE = (
    ("wall", "sessions"),
    ("wall", "days"),
    ("wall", "kind"),
    ("kind", "config"),
    ("kind", "days"),
    ("days", "sessions"),
)
TERMINAL_EVERY_S = 0.2
PLAIN_EVERY_S = 5.0


class Asked(TypedDict):
    """The options that say what comes."""

    sessions: int | None
    days: int | None
    #: ms
    wall: int | None
    kind: str | None
    seed: int
    config: Path | None


@click.command()
@click.option("--sessions", type=click.IntRange(1, 100_000_000), help="How many come (default: 20,000).")
@click.option("--days", type=click.IntRange(1, 36_500), help="Instead of a number: so many virtual days.")
@click.option(
    "--wall",
    callback=lambda _context, _option, text: None if text is None else _duration(text),
    metavar="T",
    help="Instead: in real time, for so long (30m, 24h), over HTTP, with a scripted model.",
)
@click.option(
    "--kind", type=click.Choice(KINDS), help="Sessions of one kind instead of the built-in scenario."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Your own configuration instead of the built-in scenario; nothing in it reaches out.",
)
@click.option("--seed", type=click.IntRange(0, 2**32), default=0, help="Another one is another mix of talks.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw it, as FILE.png and FILE.svg (extra: plot).",
)
@click.option("--plant-leak", is_flag=True, help="Keep 1 KiB a session on purpose, to see it noticed.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Use this folder, which must be empty or not there, and leave it (default: a temporary one).",
)
@json_option
def soak(
    keep: Path | None, plot: Path | None, *, plant_leak: bool, as_json: bool, **asked: Unpack[Asked]
) -> None:
    """Let sessions come and go for virtual months; exit 1 if anything grew, 2 if too few came to tell."""
    from tidegate import log  # noqa: PLC0415 - `tidegate --help` must not pay for the gateway
    from tidegate.soak import plot as drawing  # noqa: PLC0415
    from tidegate.soak import report  # noqa: PLC0415
    from tidegate.soak.verdict import Verdict, judge, verdict  # noqa: PLC0415

    log.setup(logging.WARNING)
    plan = _plan(**asked)
    if plot is not None:
        drawing.check(plot)
    with _folder(keep) as folder, _progress() as progress:
        try:
            facts = _carried_out(plan, folder, progress, leaks=plant_leak)
        except BaseExceptionGroup as group:
            raise next(ours(group), group) from group
    checks = judge(plan, facts)
    if as_json:
        print(json.dumps(report.document(plan, facts, checks), indent=2))
    else:
        print("\n".join(report.words(plan, facts, checks)))
    if plot is not None:
        for place in drawing.draw(plot, plan, facts, report.sentence(facts, checks)):
            click.echo(f"drawn: {place}", err=True)
    sys.exit({Verdict.FLAT: 0, Verdict.GREW: 1, Verdict.TOO_SHORT: 2}[verdict(facts, checks)])


def _carried_out(plan: "Plan", folder: Path, progress: "Bar | Lines", *, leaks: bool) -> "Facts":
    """Carry a plan out, on the clock that it is for."""
    from tidegate.soak.wall.plan import Wall  # noqa: PLC0415 - as above

    if isinstance(plan, Wall):
        from tidegate.soak.wall import course as real  # noqa: PLC0415

        real.check()
        return real.run(folder, plan, progress, leaks=leaks)
    from tidegate.soak import course, virtual  # noqa: PLC0415

    return virtual.run(lambda loop: course.soak(loop, folder, plan, progress, leaks=leaks))


def _plan(**asked: Unpack[Asked]) -> "Plan":
    """Return what was asked for.

    Raises:
        UsageError: Two of the options exclude each other.
    """
    from tidegate import config as configuration  # noqa: PLC0415
    from tidegate.domain.session import PolicyName  # noqa: PLC0415
    from tidegate.soak.everyday import Everyday  # noqa: PLC0415
    from tidegate.soak.own import Own  # noqa: PLC0415
    from tidegate.soak.scenario import Scenario  # noqa: PLC0415
    from tidegate.soak.wall.plan import Wall, pauses  # noqa: PLC0415

    given = {name for name, value in asked.items() if value is not None}
    for pair in EXCLUSIVE:
        if given.issuperset(pair):
            raise click.UsageError(
                "--{} and --{} exclude each other".format(*pair), click.get_current_context()
            )
    days, seed, wall = asked["days"], asked["seed"], asked["wall"]
    wanted = None if days else asked["sessions"] or SESSIONS
    if asked["kind"] is not None:
        return Scenario(kind=PolicyName(asked["kind"]), sessions=wanted or SESSIONS, seed=seed)
    if asked["config"] is not None:
        path = asked["config"].absolute()
        own = Own(path=path, given=configuration.read(path), wanted=wanted, days=days, seed=seed)
        return own if wall is None else Wall(said=own, wall_ms=wall)
    if wall is not None:
        return Wall(said=Everyday(wanted=SESSIONS, seed=seed, pauses=pauses(wall)), wall_ms=wall)
    return Everyday(wanted=wanted, days=days, seed=seed)


def _duration(text: str) -> int:
    """Return a duration in ms.

    Raises:
        BadParameter: It is none, or too short to see anything come and go.
    """
    from tidegate.units import duration_ms  # noqa: PLC0415 - as above

    try:
        wall_ms = duration_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--wall") from error
    if wall_ms < LEAST_WALL_MS:
        raise click.BadParameter(
            f"{text} is too short for sessions to come and go; 5s is the least", param_hint="--wall"
        )
    return wall_ms


class Lines:
    """Progress as a line every few seconds, for logs and pipes."""

    def __init__(self) -> None:
        self._shown_s = -math.inf

    def wants(self) -> bool:
        """Whether it is time for the next line."""
        return time.monotonic() - self._shown_s >= PLAIN_EVERY_S

    def show(self, now: "Now") -> None:
        """Print it."""
        from tidegate.soak import report  # noqa: PLC0415

        self._shown_s = time.monotonic()
        click.echo(report.status(now), err=True)


class Bar:
    """Progress as a bar on a terminal; it is drawn when shown, not by a thread of its own."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._task = progress.add_task("", total=1.0)
        self._shown_s = 0.0

    def wants(self) -> bool:
        """Whether it is time to draw it again."""
        return time.monotonic() - self._shown_s >= TERMINAL_EVERY_S

    def show(self, now: "Now") -> None:
        """Draw it."""
        from tidegate.soak import report  # noqa: PLC0415

        self._shown_s = time.monotonic()
        self._progress.update(self._task, completed=now.share, description=report.status(now))
        self._progress.refresh()


@contextmanager
def _progress() -> Iterator[Bar | Lines]:
    """Lend what shows how far it is; always on standard error."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        yield Bar(progress)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Lend a folder: a new one that is removed whatever happens, or the one to keep.

    Raises:
        StorageFailed: There is no place for one.
    """
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise click.UsageError(
                f"--keep: {str(keep)!r} is not an empty folder", click.get_current_context()
            )
        yield keep.absolute()
        return
    try:
        made = tempfile.TemporaryDirectory(prefix="tidegate-soak-", ignore_cleanup_errors=True)
    except OSError as error:
        hint = "name a folder with --keep or TMPDIR"
        raise StorageFailed(f"no temporary folder can be made: {error.strerror}", hint=hint) from error
    with made as path:
        yield Path(path)
