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

    from tidegate.soak.course import Now
    from tidegate.soak.plan import Plan

KINDS = ("api", "api_named", "chat")
SESSIONS = 20_000
TERMINAL_EVERY_S = 0.2
PLAIN_EVERY_S = 5.0


class Asked(TypedDict):
    """The options that say what comes."""

    sessions: int | None
    days: int | None
    kind: str | None
    seed: int
    config: Path | None


@click.command()
@click.option("--sessions", type=click.IntRange(1, 100_000_000), help="How many come (default: 20,000).")
@click.option("--days", type=click.IntRange(1, 36_500), help="Instead of a number: so many virtual days.")
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
    """Let sessions come and go for virtual months, in a folder of their own; exit 1 if anything grew."""
    from tidegate import log  # noqa: PLC0415 - `tidegate --help` must not pay for the gateway
    from tidegate.soak import course, report, verdict, virtual  # noqa: PLC0415
    from tidegate.soak import plot as drawing  # noqa: PLC0415

    log.setup(logging.WARNING)
    plan = _plan(**asked)
    if plot is not None:
        drawing.check(plot)
    with _folder(keep) as folder, _progress(plan.sessions) as progress:
        try:
            facts = virtual.run(lambda loop: course.soak(loop, folder, plan, progress, leaks=plant_leak))
        except BaseExceptionGroup as group:
            raise next(ours(group), group) from group
    checks = verdict.judge(plan, facts)
    if as_json:
        print(json.dumps(report.document(plan, facts, checks), indent=2))
    else:
        print("\n".join(report.words(plan, facts, checks)))
    if plot is not None:
        for place in drawing.draw(plot, plan, facts, report.sentence(checks)):
            click.echo(f"drawn: {place}", err=True)
    if verdict.what_grew(checks):
        sys.exit(1)


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

    given = {name for name, value in asked.items() if value is not None}
    for pair in (("kind", "config"), ("kind", "days"), ("days", "sessions")):
        if given.issuperset(pair):
            raise click.UsageError(
                "--{} and --{} exclude each other".format(*pair), click.get_current_context()
            )
    days, seed = asked["days"], asked["seed"]
    wanted = None if days else asked["sessions"] or SESSIONS
    if asked["kind"] is not None:
        return Scenario(kind=PolicyName(asked["kind"]), sessions=wanted or SESSIONS, seed=seed)
    if asked["config"] is not None:
        path = asked["config"].absolute()
        return Own(path=path, given=configuration.read(path), wanted=wanted, days=days, seed=seed)
    return Everyday(wanted=wanted, days=days, seed=seed)


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

    def __init__(self, progress: "Progress", sessions: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=sessions)
        self._shown_s = 0.0

    def wants(self) -> bool:
        """Whether it is time to draw it again."""
        return time.monotonic() - self._shown_s >= TERMINAL_EVERY_S

    def show(self, now: "Now") -> None:
        """Draw it."""
        from tidegate.soak import report  # noqa: PLC0415

        self._shown_s = time.monotonic()
        self._progress.update(self._task, completed=now.done, description=report.status(now))
        self._progress.refresh()


@contextmanager
def _progress(sessions: int) -> Iterator[Bar | Lines]:
    """Lend what shows how far it is; always on standard error."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        yield Bar(progress, sessions)


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
