"""``tidegate restore``: brings a backup back, in place of what is there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli.backup import progress
from tidegate.cli.options import json_option, state_option
from tidegate.units import print_size

if TYPE_CHECKING:
    from tidegate.store.restore import Restored


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@state_option
@json_option
def restore(file: Path, state: Path | None, *, as_json: bool) -> None:
    """Put what FILE holds in place of the store; no gateway may be running.

    FILE is verified first. The present store is kept under backups/ in the state folder.
    """
    from tidegate import config, folder  # noqa: PLC0415 - `tidegate --help` must not pay for the store
    from tidegate.clock import SystemClock  # noqa: PLC0415
    from tidegate.store import lock  # noqa: PLC0415
    from tidegate.store.restore import restore as bring_back  # noqa: PLC0415

    home = config.state_folder(state)
    folder.prepare(home)
    held = lock.hold(home)
    try:
        held.describe("tidegate restore")
        with progress(is_shown=not as_json) as watch:
            restored = bring_back(home, file.absolute(), SystemClock().now(), watch)
    finally:
        held.release()
    _tell(restored, as_json=as_json)


def _tell(restored: "Restored", *, as_json: bool) -> None:
    contents = restored.contents
    kept = str(restored.kept) if restored.kept else None
    if as_json:
        overdue = restored.overdue_deletes
        print(json.dumps({**contents._asdict(), "overdue_deletes": overdue, "kept": kept}))
        return
    print(f"restored: {contents.sessions:,} sessions, {print_size(contents.bytes)}")
    if kept:
        print(f"the store that was there is kept: {kept}")
    if contents.open_runs:
        print(
            f"{contents.open_runs:,} runs were not done when the backup was made; the next start carries them out,"
            " those again that have been done since"
        )
    if restored.overdue_deletes:
        print(
            f"{restored.overdue_deletes:,} sessions are past the date of their deletion; they are held for the first"
            " hour, or until `tidegate sweep --confirm`: pin or restore what you want to keep"
        )
