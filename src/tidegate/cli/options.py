"""Options that many commands share; they stand after the subcommand."""

from pathlib import Path

import click

state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The state folder (default: TIDEGATE_HOME, else the XDG state folder).",
)
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration (default: tidegate.toml in the state folder, else in the XDG config folder).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
