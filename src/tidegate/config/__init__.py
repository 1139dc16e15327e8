"""The configuration: one frozen tree, read from one TOML file.

Whatever is unknown or makes no sense stops the start with file, line, key and a suggestion; only the first
such thing is told. Durations are attributes in ms (``drain_ms``) and text in the file (``drain = "10s"``).
Secrets are never kept here: the tree knows under which name or in which file to look for the key.
"""

import os
from pathlib import Path

from msgspec.structs import replace

from tidegate.config.job import Job
from tidegate.config.job import table as job_table
from tidegate.config.rules import build, check
from tidegate.config.section import WrongError, load, placed, written
from tidegate.config.tree import (
    LIFECYCLE_KEYS,
    Agent,
    Alerts,
    Approvals,
    Backup,
    Compaction,
    Config,
    Egress,
    Gateway,
    Hook,
    Lifecycle,
    Limits,
    Memory,
    Model,
    ModelPrice,
    Plugins,
    Provider,
    Runs,
    Store,
    Subagents,
    Sweep,
    Telemetry,
    Webhook,
)
from tidegate.errors import ConfigError

__all__ = [
    "FILE_NAME",
    "LIFECYCLE_KEYS",
    "Agent",
    "Alerts",
    "Approvals",
    "Backup",
    "Compaction",
    "Config",
    "Egress",
    "Gateway",
    "Hook",
    "Job",
    "Lifecycle",
    "Limits",
    "Memory",
    "Model",
    "ModelPrice",
    "Plugins",
    "Provider",
    "Runs",
    "Store",
    "Subagents",
    "Sweep",
    "Telemetry",
    "Webhook",
    "config_home",
    "effective",
    "example",
    "find",
    "override",
    "places",
    "read",
    "state_folder",
]

FILE_NAME = "tidegate.toml"


def example() -> str:
    """Return a commented configuration that changes nothing: each key stands there with its default."""
    return (Path(__file__).parent / "example.toml").read_text(encoding="utf-8")


def state_folder(option: Path | None = None) -> Path:
    """Return where the state lies: *option*, ``TIDEGATE_HOME`` or the XDG state folder, in this order."""
    named = option or os.environ.get("TIDEGATE_HOME")
    folder = Path(named).expanduser() if named else _xdg("XDG_STATE_HOME", ".local/state") / "tidegate"
    return folder.absolute()


def config_home() -> Path:
    """Return the user's folder for configurations."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def places(state: Path) -> tuple[Path, Path]:
    """Return where a configuration is looked for when none is named, the first one first."""
    return state / FILE_NAME, config_home() / "tidegate" / FILE_NAME


def find(config: Path | None, state: Path) -> Path | None:
    """Return the file to read: *config*, else the one in *state*, else the user's; None where there is none.

    Raises:
        ConfigError: *config* is named and does not exist.
    """
    if config is None:
        return next((place for place in places(state) if os.path.lexists(place)), None)
    if not os.path.lexists(config):
        raise ConfigError(f"{config}: there is no such file", hint="`tidegate config init` writes one")
    return config.absolute()


def read(path: Path | None) -> Config:
    """Read a configuration; None is the default one.

    Raises:
        ConfigError: The file cannot be read, or something in it is unknown or makes no sense.
    """
    if path is None:
        return Config()
    text, document = load(path)
    try:
        config = build(document, path.absolute().parent)
        check(config)
    except WrongError as error:
        raise placed(error, path, text) from error
    return config


def override(
    config: Config, *, host: str | None = None, port: int | None = None, store_url: str | None = None
) -> Config:
    """Return *config* with what the command line says instead.

    Raises:
        ConfigError: This makes no sense together.
    """
    gateway = replace(
        config.gateway,
        host=config.gateway.host if host is None else host,
        port=config.gateway.port if port is None else port,
    )
    changed = replace(
        config, gateway=gateway, store=config.store if store_url is None else Store(url=store_url)
    )
    try:
        check(changed)
    except WrongError as error:
        raise ConfigError(str(error), hint=error.hint) from error
    return changed


def effective(config: Config) -> dict[str, object]:
    """Return the whole tree as JSON can hold it, in the shape of the file; it has no secret to hide."""
    return {
        "gateway": written(config.gateway),
        "store": written(config.store),
        "model": written(config.model),
        "providers": {name: written(provider) for name, provider in config.providers.items()},
        "agents": {name: written(agent) for name, agent in config.agents.items()},
        "lifecycle": {kind: written(lifecycle) for kind, lifecycle in config.lifecycle.items()},
        "sweep": written(config.sweep),
        "runs": written(config.runs),
        "egress": written(config.egress),
        "approvals": written(config.approvals),
        "subagents": written(config.subagents),
        "limits": written(config.limits),
        "jobs": [job_table(job) for job in config.jobs],
        "hooks": {name: written(hook) for name, hook in config.hooks.items()},
        "webhooks": {name: written(webhook) for name, webhook in config.webhooks.items()},
        "alerts": written(config.alerts),
        "prices": {name: written(price) for name, price in config.prices.items()},
        "plugins": written(config.plugins),
        "telemetry": written(config.telemetry),
        "backup": written(config.backup),
        "compaction": written(config.compaction),
        "memory": written(config.memory),
    }


def _xdg(variable: str, below_home: str) -> Path:
    """Return an XDG folder; a relative one is ignored, as the specification asks."""
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():
        return named
    try:
        return Path.home() / below_home
    except RuntimeError:
        raise ConfigError(
            "there is no home folder", hint="name a folder with --state or TIDEGATE_HOME"
        ) from None
