"""Which tables a configuration has, and which values make sense together."""

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import replace

from tidegate import __version__
from tidegate.config import hooks, memory, plugins, prices
from tidegate.config import job as jobs
from tidegate.config.job import Job
from tidegate.config.place import Keys, item
from tidegate.config.preset import PRESETS
from tidegate.config.section import Section, Table, WrongError, section, suggestion, table_of
from tidegate.config.source import sources
from tidegate.config.tree import (
    LIFECYCLE_KEYS,
    OFFLINE,
    OFFLINE_TOOLS,
    TOOLS,
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
    Plugins,
    Provider,
    Runs,
    Store,
    Subagents,
    Sweep,
    Telemetry,
    Webhook,
)
from tidegate.egress.address import rule

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_URL = re.compile(
    r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?"
)

_SECTIONS: Mapping[str, type[Section]] = MappingProxyType(
    {
        "gateway": Gateway,
        "store": Store,
        "model": Model,
        "sweep": Sweep,
        "runs": Runs,
        "egress": Egress,
        "approvals": Approvals,
        "subagents": Subagents,
        "plugins": Plugins,
        "telemetry": Telemetry,
        "limits": Limits,
        "alerts": Alerts,
        "backup": Backup,
        "compaction": Compaction,
        "memory": Memory,
    }
)

#: sections that releases to come will have
LATER: Mapping[str, str] = MappingProxyType(
    {
        "channels": "messengers",
        "mcp": "tools of MCP servers",
        "persons": "persons",
        "search": "web searches",
        "voice": "voices",
    }
)

_NAMED = ("providers", "agents", "jobs", "lifecycle", "hooks", "webhooks", "prices")


def build(document: Table, folder: Path) -> Config:
    """Build the tree from a file that lies in *folder*; how its values fit together is not looked at yet.

    Raises:
        WrongError: Something is unknown, of the wrong type or out of range.
    """
    parts: Table = {}
    for name, value in document.items():
        at: Keys = (name,)
        if name == "providers":
            parts[name] = _providers(table_of(value, at), folder)
        elif name == "agents":
            parts[name] = _agents(table_of(value, at), folder)
        elif name == "lifecycle":
            parts[name] = _lifecycle(table_of(value, at), folder)
        elif name == "jobs":
            parts[name] = _jobs(value, folder)
        elif name == "hooks":
            parts[name] = hooks.named(Hook, table_of(value, at), at, folder)
        elif name == "webhooks":
            parts[name] = hooks.named(Webhook, table_of(value, at), at, folder)
        elif name == "prices":
            parts[name] = prices.named(table_of(value, at), folder)
        elif name in _SECTIONS:
            parts[name] = section(_SECTIONS[name], value, at, folder)
        else:
            _refuse(name, value)
    return replace(Config(), **parts)


def _refuse(name: str, value: object) -> None:
    if name in LATER:
        what = f"{LATER[name]} come with a later release than this one, {__version__}"
        raise WrongError((name,), None, what, "leave it out until then")
    hint = suggestion(name, [*_SECTIONS, *_NAMED])
    if isinstance(value, dict | list):
        raise WrongError((name,), None, "there is no such section", hint)
    raise WrongError((), name, "a key stands in a section", hint)


def _providers(table: Table, folder: Path) -> Mapping[str, Provider]:
    for name in table:
        if not _NAME.fullmatch(name) or name == OFFLINE:
            hint = "use 1 to 64 characters of a-z 0-9 _ -, the first one a letter or a digit"
            raise WrongError(("providers", name), None, "this is no name for a provider", hint)
    found = {name: section(Provider, value, ("providers", name), folder) for name, value in table.items()}
    return MappingProxyType(found)


def _agents(table: Table, folder: Path) -> Mapping[str, Agent]:
    for name in table:
        if not _NAME.fullmatch(name):
            hint = "use 1 to 64 characters of a-z 0-9 _ -, the first one a letter or a digit"
            raise WrongError(("agents", name), None, "this is no name for an agent", hint)
    names = sorted(table, key=lambda name: name != "main")
    agents = {name: section(Agent, table[name], ("agents", name), folder) for name in names}
    for name, agent in agents.items():
        for other in agent.may_spawn:
            if other not in agents:
                raise WrongError(
                    ("agents", name), "may_spawn", f"there is no agent {other!r}", suggestion(other, agents)
                )
    return MappingProxyType(agents or {"main": Agent()})


def _jobs(value: object, folder: Path) -> Sequence[Job]:
    if not isinstance(value, list):
        raise WrongError((), "jobs", "expected a list of tables", "write [[jobs]] above each of them")
    found: dict[str, Job] = {}
    for number, one in enumerate(value):
        at: Keys = ("jobs", item(number))
        values = {key: _text(entry) for key, entry in table_of(one, at).items()}
        job = section(Job, values, at, folder)
        problem = jobs.problem(job)
        if problem is not None:
            raise WrongError(at, problem.key, problem.what, problem.hint)
        if job.name in found:
            raise WrongError(at, "name", f"there is another job {job.name!r}", "give each its own name")
        found[job.name] = job
    return tuple(found.values())


def _text(value: object) -> object:
    """Return an instant as the text that TOML has it from."""
    return value.isoformat() if isinstance(value, datetime) else value


def _lifecycle(table: Table, folder: Path) -> Mapping[str, Lifecycle]:
    kinds = {}
    for kind, value in table.items():
        at: Keys = ("lifecycle", kind)
        if kind not in LIFECYCLE_KEYS:
            raise WrongError(at, None, "there is no such kind", suggestion(kind, LIFECYCLE_KEYS))
        for key, one in table_of(value, at).items():
            _check_lifecycle(kind, key, one)
        kinds[kind] = section(Lifecycle, value, at, folder)
    return MappingProxyType(kinds)


def _check_lifecycle(kind: str, key: str, value: object) -> None:
    at, keys = ("lifecycle", kind), LIFECYCLE_KEYS[kind]
    if key not in keys:
        twin = {"archive_after": "idle_after", "idle_after": "archive_after"}.get(key)
        hint = f"did you mean {twin!r}?" if twin in keys else suggestion(key, keys)
        raise WrongError(at, key, f"there is no such key for {kind}", hint)
    if value == "never" and kind != "chat":
        raise WrongError(at, key, '"never" is accepted for chat alone', "pin a session to keep it")


def check(config: Config) -> None:
    """Refuse what makes no sense together.

    Raises:
        WrongError: The first such thing.
    """
    _check_names(config.gateway)
    _check_exposure(config.gateway)
    _check_store(config.store)
    for name, provider in config.providers.items():
        _check_provider(name, provider, config.model)
    _check_model(config.model, config.providers)
    for name, agent in config.agents.items():
        _check_agent(name, agent, config)
        _check_tools(name, agent, config)
    _check_egress(config.egress)
    _check_jobs(config)
    _check_night(config.backup)
    memory.check(config)
    hooks.check(config)
    prices.check(config)
    plugins.check(config)
    _check_telemetry(config.telemetry)


def _check_names(gateway: Gateway) -> None:
    at, hint = ("gateway",), "write the name or the address alone, without scheme, brackets, port or path"
    if not _is_host(gateway.host):
        raise WrongError(at, "host", f"{gateway.host[:80]!r} is no name or address to listen on", hint)
    for name in gateway.allowed_hosts:
        if not _is_host(name):
            raise WrongError(at, "allowed_hosts", f"{name[:80]!r} is no host name", hint)
    if not 0 <= gateway.port <= 65_535:
        raise WrongError(at, "port", "must be between 0 and 65535")


def _check_exposure(gateway: Gateway) -> None:
    at = ("gateway",)
    for key, path, other in (
        ("tls_cert", gateway.tls_cert, gateway.tls_key),
        ("tls_key", gateway.tls_key, gateway.tls_cert),
    ):
        if path and not other:
            raise WrongError(at, key, "tls_cert and tls_key belong together", "set both")
        if path and not os.access(path, os.R_OK):
            raise WrongError(at, key, f"{str(path)!r} cannot be read")
    if not (_is_loopback(gateway.host) or gateway.tls_cert or gateway.trusted_proxy):
        what = f"{gateway.host!r} is open to other machines, and nothing encrypts"
        hint = "set tls_cert and tls_key, or trusted_proxy = true where a proxy that ends TLS stands in front"
        raise WrongError(at, "host", what, hint)


def _check_store(store: Store) -> None:
    if store.url.startswith(("postgres:", "postgresql:", "postgresql+")):
        raise WrongError(
            ("store",), "url", "PostgreSQL is not in this version", 'leave it empty, or write "sqlite:"'
        )
    if store.url not in {"", "sqlite:"}:
        hint = 'leave it empty, or write "sqlite:", for the embedded store in the state folder'
        raise WrongError(("store",), "url", "this store is not known", hint)


def _check_provider(name: str, provider: Provider, model: Model) -> None:
    at = ("providers", name)
    if provider.type and provider.type not in PRESETS:
        raise WrongError(at, "type", "this type is not known", suggestion(provider.type, PRESETS))
    if not (provider.type or provider.base_url or name in PRESETS):
        hint = f'add base_url = "...", or type = "..." with one of {", ".join(PRESETS)}'
        raise WrongError(at, None, "it is not said which provider this is", hint)
    _check_url(at, provider.base_url)
    _check_key(at, provider)
    window = provider.context_window if isinstance(provider.context_window, int) else model.context_window
    if isinstance(provider.reserve, int) and provider.reserve >= window:
        raise WrongError(at, "reserve", f"must be less than context_window, {window}")


def _check_model(model: Model, providers: Mapping[str, Provider]) -> None:
    at = ("model",)
    known = [OFFLINE, *PRESETS, *providers]
    if model.provider not in known:
        raise WrongError(at, "provider", "this provider is not known", suggestion(model.provider, known))
    if model.provider != OFFLINE and not model.name:
        raise WrongError(
            at, "name", f"provider {model.provider!r} needs the name of a model", 'add name = "..."'
        )
    _check_url(at, model.base_url)
    _check_key(at, model)
    for key in ("base_url", "api_key_env", "api_key_file") if model.provider in providers else ():
        if getattr(model, key):
            hint = f"write {key} below [providers.{model.provider}]"
            raise WrongError(at, key, f"provider {model.provider!r} has a section of its own", hint)
    if model.reserve >= model.context_window:
        raise WrongError(at, "reserve", f"must be less than context_window, {model.context_window}")


def _check_agent(name: str, agent: Agent, config: Config) -> None:
    """Refuse a model that nobody has."""
    for source in sources(config, agent):
        key = "fallback" if source.name in agent.fallbacks else "model"
        if not source.is_offline and not source.model:
            what = f"{source.name!r} names no model"
            raise WrongError(("agents", name), key, what, "write PROVIDER/MODEL")
        if source.is_offline and source.name not in {OFFLINE, config.model.name}:
            hint = "write PROVIDER/MODEL with a [providers.PROVIDER] section, or set [model] provider"
            raise WrongError(("agents", name), key, f"no provider is set that has {source.name!r}", hint)


def _check_url(at: Keys, url: str) -> None:
    if url and not _URL.fullmatch(url):
        hint = 'write for example "https://api.openai.com/v1", without login, query or fragment'
        raise WrongError(at, "base_url", "this is no address of an API", hint)


def _check_key(at: Keys, place: Model | Provider) -> None:
    if place.api_key_env and place.api_key_file:
        raise WrongError(
            at, "api_key_file", "api_key_env names a place for the key already", "keep one of the two"
        )
    if place.api_key_env and not _VARIABLE.fullmatch(place.api_key_env):
        hint = "write the name of the variable, never the key itself"
        raise WrongError(at, "api_key_env", "this is no name of an environment variable", hint)


def _check_jobs(config: Config) -> None:
    for number, job in enumerate(config.jobs):
        if job.agent is not None and job.agent not in config.agents:
            hint = suggestion(job.agent, config.agents)
            raise WrongError(("jobs", item(number)), "agent", f"there is no agent {job.agent!r}", hint)
        way, _, name = job.deliver.partition(":")
        if way == "webhook" and name not in config.webhooks:
            what, hint = f"there is no webhook {name!r}", suggestion(name, config.webhooks)
            raise WrongError(("jobs", item(number)), "deliver", what, hint)


def _check_tools(name: str, agent: Agent, config: Config) -> None:
    at = ("agents", name)
    is_offline = any(source.is_offline for source in sources(config, agent))
    known = [tool for tool in TOOLS if is_offline or tool not in OFFLINE_TOOLS]
    for key, tools in (("tools", agent.tools), ("job_tools", agent.job_tools)):
        for tool in tools or ():
            if tool not in known:
                raise WrongError(at, key, f"there is no tool {tool[:80]!r}", suggestion(tool, known))
    if agent.workspace is not None and not agent.workspace.is_dir():
        what = f"{str(agent.workspace)!r} is no folder"
        raise WrongError(at, "workspace", what, "create it first; the default one is made by itself")


def _check_egress(egress: Egress) -> None:
    hint = 'write for example "10.0.0.5", "192.168.1.0/24" or "intranet.example"'
    for key, entries in (("allow", egress.allow), ("deny", egress.deny)):
        for entry in entries:
            try:
                rule(entry)
            except ValueError:
                what = f"{entry[:80]!r} is no address, network or name"
                raise WrongError(("egress",), key, what, hint) from None


def _check_night(backup: Backup) -> None:
    if not _TIME.fullmatch(backup.at):
        raise WrongError(
            ("backup",), "at", f"{backup.at[:80]!r} is no time of day", 'write for example "03:30"'
        )


def _check_telemetry(telemetry: Telemetry) -> None:
    if telemetry.otlp_endpoint and not _URL.fullmatch(telemetry.otlp_endpoint):
        hint = 'write for example "http://127.0.0.1:4318", without login, query or fragment'
        raise WrongError(("telemetry",), "otlp_endpoint", "this is no address of a collector", hint)


def _is_host(text: str) -> bool:
    try:
        return bool(_HOST.fullmatch(text) or ipaddress.ip_address(text))
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
