"""``tidegate config``: where the configuration lies, what is in effect, whether it is sound, a first one."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import click

from tidegate.cli.file import make_folder, replacing
from tidegate.cli.options import config_option, json_option, state_option
from tidegate.config import (
    FILE_NAME,
    LIFECYCLE_KEYS,
    Config,
    effective,
    example,
    find,
    places,
    read,
    state_folder,
    toml,
)
from tidegate.config.source import sources
from tidegate.domain.policy import Policy, policies
from tidegate.errors import ConfigError
from tidegate.units import print_duration


@click.group()
def config() -> None:
    """Show, check or write the configuration."""


@config.command()
@config_option
@state_option
@json_option
def path(config: Path | None, state: Path | None, *, as_json: bool) -> None:
    """Print which file is read."""
    folder = state_folder(state)
    found = find(config, folder)
    if as_json:
        looked_in = [str(place) for place in places(folder)]
        click.echo(json.dumps({"path": found and str(found), "looked_in": looked_in}))
    elif found:
        click.echo(found)
    else:
        click.echo(
            f"no file: the defaults hold; looked for {' and '.join(map(str, places(folder)))}", err=True
        )


@config.command()
@config_option
@state_option
@json_option
def show(config: Path | None, state: Path | None, *, as_json: bool) -> None:
    """Print the configuration in effect, defaults included."""
    tree = _in_effect(read(find(config, state_folder(state))))
    click.echo(json.dumps(tree, indent=2) if as_json else "\n".join(toml.lines(tree)))


@config.command()
@config_option
@state_option
@json_option
def check(config: Path | None, state: Path | None, *, as_json: bool) -> None:
    """Say whether the configuration can be used; what is wrong ends with exit code 78."""
    folder = state_folder(state)
    found = find(config, folder)
    tree = read(found)
    _rehearse(tree, folder)
    if as_json:
        click.echo(json.dumps({"path": found and str(found), "ok": True}))
        return
    click.echo(f"OK: {found}" if found else "OK: no file, so the defaults hold")
    for line in _found(tree):
        click.echo(f"  {line}")


@config.command()
@config_option
@state_option
@json_option
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(config: Path | None, state: Path | None, *, as_json: bool, force: bool) -> None:
    """Write a commented configuration, by default into the state folder."""
    target = (config or state_folder(state) / FILE_NAME).absolute()
    if os.path.lexists(target) and not force:
        raise ConfigError(f"{target}: this file exists already", hint="--force replaces it")
    make_folder(target.parent)
    with replacing(target) as file:
        file.write(example())
    click.echo(json.dumps({"path": str(target)}) if as_json else f"wrote {target}")


def _rehearse(tree: Config, folder: Path) -> None:
    """Build what a start builds: whatever would be refused then is refused now."""
    import asyncio  # noqa: PLC0415 - what other commands need not wait for
    import logging  # noqa: PLC0415

    from tidegate import app, log  # noqa: PLC0415

    log.setup(logging.ERROR)
    asyncio.run(app.rehearse(tree, folder))


def _found(tree: Config) -> Iterator[str]:
    """Yield in a few lines what a configuration sets up, and what it still needs from outside."""
    agents = list(tree.agents)
    main = sources(tree, tree.agents[agents[0]])[0]
    yield f"serves {tree.gateway.host}:{tree.gateway.port}"
    yield f"{len(agents)} agent{'s' * (len(agents) > 1)}: {', '.join(agents)}"
    yield "model: offline, not an LLM" if main.is_offline else f"model: {main.model} at {main.base_url}"
    if tree.lifecycle:
        yield f"lifecycle changed for {', '.join(tree.lifecycle)}"
    for name in sorted(tree.prices.keys() - _models(tree)):
        yield f"note: [prices.{json.dumps(name)}] is for no model that an agent here has"


def _models(tree: Config) -> set[str]:
    """Return the names under which the models of all agents may have a price."""
    found = [one for agent in tree.agents.values() for one in sources(tree, agent)]
    return {one.name for one in found} | {one.model for one in found}


def _in_effect(tree: Config) -> dict[str, object]:
    """Return the tree with the whole policy of each kind instead of what the file changes of it."""
    kinds = {name.value: _policy(name.value, policy) for name, policy in policies(tree.lifecycle).items()}
    return effective(tree) | {"lifecycle": kinds}


def _policy(kind: str, policy: Policy) -> dict[str, object]:
    table: dict[str, object] = {}
    for key in sorted(LIFECYCLE_KEYS[kind]):
        if key in {"keep", "max_running"}:
            table[key] = getattr(policy, key)
            continue
        value = getattr(policy, "archive_after_ms" if key == "idle_after" else f"{key}_ms")
        if value is not None:
            table[key] = print_duration(value)
        elif kind == "chat":
            table[key] = "never"
    return table
