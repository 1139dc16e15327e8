"""A gateway with a leak planted in it, for ``tidegate soak --wall --plant-leak``: a program of its own, no command.

``python -m tidegate.cli.leaky`` does what ``tidegate up`` does, and then keeps 1 KiB of each session that comes. The
gateway itself has no switch for this.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidegate.cli.options import config_option, state_option
from tidegate.cli.up import announce, serve

if TYPE_CHECKING:
    from tidegate.app import Gateway


@click.command()
@state_option
@config_option
def leaky(state: Path | None, config: Path | None) -> None:
    """Start a gateway that grows."""
    from tidegate import config as configuration  # noqa: PLC0415 - as in `up`
    from tidegate.soak.leak import Leak  # noqa: PLC0415

    folder = configuration.state_folder(state)
    path = configuration.find(config, folder)

    def plant(gateway: "Gateway") -> None:
        gateway.inside.store.listen(Leak().on_commit)
        announce(gateway, folder)

    serve(configuration.read(path), folder, path, plant)


if __name__ == "__main__":
    leaky()
