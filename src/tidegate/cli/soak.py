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
from typing import TYPE_CHECKING

import click

from tidegate.cli.options import json_option
from tidegate.cli.up import ours
from tidegate.errors import StorageFailed

if TYPE_CHECKING:
    from rich.progress import Progress

    from tidegate.soak.course import Now

KINDS = ("api", "api_named", "chat")
TERMINAL_EVERY_S = 0.2
PLAIN_EVERY_S = 5.0


@click.command()
@click.option("--kind", type=click.Choice(KINDS), default="api", show_default=True, help="What comes.")
@click.option(
    "--sessions",
    type=click.IntRange(1, 100_000_000),
    default=20_000,
    show_default=True,
    help="How many of them.",
)
@click.option("--seed", type=click.IntRange(0, 2**32), default=0, help="Another one is another mix of talks.")
@click.option("--plant-leak", is_flag=True, help="Keep 1 KiB a session on purpose, to see it noticed.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Use this folder, which must be empty or not there, and leave it (default: a temporary one).",
)
@json_option
def soak(kind: str, sessions: int, seed: int, keep: Path | None, **flags: bool) -> None:
    """Let sessions come and go for virtual months, in a folder of their own; exit 1 if anything grew."""
    from tidegate import log  # noqa: PLC0415 - `tidegate --help` must not pay for the gateway
    from tidegate.domain.session import PolicyName  # noqa: PLC0415
    from tidegate.soak import course, report, verdict, virtual  # noqa: PLC0415
    from tidegate.soak.scenario import Scenario  # noqa: PLC0415

    log.setup(logging.WARNING)
    scenario = Scenario(kind=PolicyName(kind), sessions=sessions, seed=seed)
    with _folder(keep) as folder, _progress(sessions) as progress:
        try:
            facts = virtual.run(
                lambda loop: course.soak(loop, folder, scenario, progress, leaks=flags["plant_leak"])
            )
        except BaseExceptionGroup as group:
            raise next(ours(group), group) from group
    checks = verdict.judge(scenario, facts)
    if flags["as_json"]:
        print(json.dumps(report.document(scenario, facts, checks), indent=2))
    else:
        print("\n".join(report.words(scenario, facts, checks)))
    if verdict.what_grew(checks):
        sys.exit(1)


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
