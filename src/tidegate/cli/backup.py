"""``tidegate backup``: a verified copy of the store in one file, gateway running or not."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tidegate.cli.options import json_option, state_option
from tidegate.units import print_size

Watch = Callable[[str, float], None]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace an older backup of this name.")
@state_option
@json_option
def backup(file: Path, state: Path | None, *, force: bool, as_json: bool) -> None:
    """Copy the store into FILE: what was stored when the copy began, verified before it gets its name.

    The token, the keys of models, the configuration and the workspace are not in it.
    """
    from tidegate import config  # noqa: PLC0415 - `tidegate --help` must not pay for the store
    from tidegate.store.backup import Rules, back_up  # noqa: PLC0415
    from tidegate.store.sqlite import NAME  # noqa: PLC0415

    started = time.monotonic()
    with progress(is_shown=not as_json) as watch:
        path = config.state_folder(state) / NAME
        contents = back_up(path, file.absolute(), Rules(is_forced=force, watch=watch))
    took_s = round(time.monotonic() - started, 2)
    if as_json:
        print(json.dumps({"file": str(file.absolute()), **contents._asdict(), "took_s": took_s}))
    else:
        print(
            f"{file}: {print_size(contents.bytes)}, {contents.sessions:,} sessions, copied and verified in {took_s} s"
        )


@contextmanager
def progress(*, is_shown: bool) -> Iterator[Watch]:
    """Show on a terminal how far it is."""
    if not (is_shown and sys.stderr.isatty()):
        yield lambda _what, _share: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks = {"copying": bar.add_task("copying", total=1.0)}

        def watch(what: str, share: float) -> None:
            if what not in tasks:
                bar.update(tasks["copying"], completed=1.0)
                tasks[what] = bar.add_task(what, total=None)
            bar.update(tasks[what], completed=share)

        yield watch
