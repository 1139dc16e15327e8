"""``tidegate up``: one process in the foreground, ready to talk to."""

import asyncio
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli.options import config_option, state_option
from tidegate.errors import TidegateError

if TYPE_CHECKING:
    from tidegate.app import Gateway
    from tidegate.config import Config


@click.command()
@click.option("--host", help="Address to serve at; elsewhere than loopback needs TLS or a trusted proxy.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to serve at; 0 takes a free one.")
@click.option("--store", "store_url", help="Where the store is; empty for the embedded one.")
@click.option(
    "--new-store", is_flag=True, help="Begin with an empty store where there was one and it is gone."
)
@state_option
@config_option
def up(  # noqa: PLR0913 - one for each option
    host: str | None,
    port: int | None,
    store_url: str | None,
    state: Path | None,
    config: Path | None,
    *,
    new_store: bool,
) -> None:
    """Start the gateway in the foreground."""
    from tidegate import config as configuration  # noqa: PLC0415 - `tidegate --help` must not pay for it

    folder = configuration.state_folder(state)
    path = configuration.find(config, folder)
    settings = configuration.override(configuration.read(path), host=host, port=port, store_url=store_url)
    if new_store:
        from tidegate.store import marker  # noqa: PLC0415 - the same

        marker.forget(folder)
    serve(settings, folder, path, lambda gateway: announce(gateway, folder))


def serve(settings: "Config", folder: Path, path: Path | None, on_start: Callable[["Gateway"], None]) -> None:
    """Serve a gateway in this process until a signal ends it; *on_start* is told once it is up."""
    import uvloop  # noqa: PLC0415 - `tidegate --help` must not pay for the server

    from tidegate import app, log, stdio  # noqa: PLC0415
    from tidegate.runtime.allocator import Allocator  # noqa: PLC0415
    from tidegate.runtime.allowance import address_bytes  # noqa: PLC0415
    from tidegate.runtime.process import close_to_others  # noqa: PLC0415

    stdio.OUTPUT.begin()
    close_to_others()
    sys.setswitchinterval(0.001)
    log.setup()
    _drop_warnings()
    Allocator().spare(address_bytes())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(app.serve(settings, folder, path, on_start))
    except BaseExceptionGroup as group:
        raise next(ours(group), group) from group


def _drop_warnings() -> None:
    """Let libraries warn nobody, unless Python was asked to (``-W``, ``PYTHONWARNINGS``).

    Python keeps the text of each warning for ever, and some have in them what a provider has sent.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def announce(gateway: "Gateway", folder: Path) -> None:
    """Say in five lines what there is; the token only to a terminal, never into a log."""
    url = gateway.instance.url
    is_offline = gateway.inside.config.model.provider == "offline"
    lines = (
        f"Tidegate is up: {url}/{f'#token={gateway.token}' if sys.stdout.isatty() else ''}",
        f"data:  {folder} (embedded store)",
        f"model: {gateway.instance.model}",
        "add a real one: `tidegate config init`, then fill in [model]"
        if is_offline
        else "talk: `tidegate chat`",
        "stop:  Ctrl-C; nothing is lost",
    )
    print("\n".join(lines), flush=True)


def ours(group: BaseException) -> Iterator[TidegateError]:
    """Yield the errors of this house in a group of errors."""
    if isinstance(group, TidegateError):
        yield group
    for error in group.exceptions if isinstance(group, BaseExceptionGroup) else ():
        yield from ours(error)
