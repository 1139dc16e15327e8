"""The tree of the configuration: what can be set, and what it is by default."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import force_setattr

from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tidegate.config import secret
from tidegate.config.job import Job, Micros, chat_key
from tidegate.config.section import Section

OFFLINE = "offline"  # the provider, and the model, that needs no network
MAX_RESERVE = 16_384  # tokens

_BOUNDED = frozenset({"max_runtime", "archive_after", "delete_after", "delete_failed_after", "max_running"})
#: which keys each kind of session has
LIFECYCLE_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "chat": frozenset({"idle_after", "delete_after"}),
        "subagent": _BOUNDED | {"stall_after", "keep"},
        "cron": _BOUNDED | {"keep"},
        "hook": _BOUNDED,
        "api": _BOUNDED,
        "api_named": _BOUNDED - {"archive_after"} | {"idle_after"},
    }
)

#: the names of tools; the last ones exist with the offline model alone
TOOLS = (
    "list_files",
    "read_file",
    "write_file",
    "edit_file",
    "web_fetch",
    "skill",
    "session_status",
    "shell",
    "spawn_agent",
    "schedule_job",
    "remember",
    "recall",
    "forget",
    "emit",
    "wait",
)
OFFLINE_TOOLS = frozenset({"emit", "wait"})

#: what plugins and webhooks can be told of
EVENTS = (
    "session_created",
    "run_started",
    "run_finished",
    "before_compaction",
    "after_compaction",
    "session_completed",
    "session_archived",
    "session_deleted",
)


Count = Annotated[int, Meta(ge=1, le=1_000_000_000_000)]
Duration = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Dollars = Annotated[float, Meta(ge=0, le=1_000_000)]


def default_reserve(window: int) -> int:
    """Return how many tokens of a window are kept free for the answer where nothing says so."""
    return min(window // 4, MAX_RESERVE)


class Gateway(Section, frozen=True, kw_only=True):
    """Where the gateway listens, and for whom."""

    host: str = "127.0.0.1"
    #: 0 takes a free one
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8420
    #: names beside the loopback ones and `host` that a Host header may hold
    allowed_hosts: tuple[str, ...] = ()
    #: how long open runs may go on once the gateway is asked to stop
    drain_ms: Duration = 10 * SECOND_MS
    #: a proxy that ends TLS stands in front
    trusted_proxy: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None


class Store(Section, frozen=True, kw_only=True):
    """Where sessions are kept: empty or ``sqlite:`` is the embedded store in the state folder."""

    url: str = ""


Window = Annotated[int, Meta(ge=256, le=1_000_000_000)]


class Model(Section, frozen=True, kw_only=True):
    """Which model answers, where an agent names no other."""

    #: ``offline``, a preset, or the name of one of the `Config.providers`
    provider: str = OFFLINE
    name: str = ""
    #: empty is the preset's
    base_url: str = ""
    api_key_env: str = ""
    api_key_file: Path | None = None
    #: tokens
    context_window: Window = 128_000
    #: tokens kept free for the answer; by default a quarter of the window, at most `MAX_RESERVE`
    reserve: Count = 0
    timeout_ms: Positive = 120 * SECOND_MS

    def __post_init__(self) -> None:
        """Fill in the reserve where none was set."""
        if not self.reserve:
            force_setattr(self, "reserve", default_reserve(self.context_window))


class Provider(Section, frozen=True, kw_only=True):
    """Somebody who has models; empty and unset is what the preset or `Model` says."""

    #: a preset; empty is the one of the section's own name, else an endpoint that speaks as OpenAI does
    type: str = ""
    base_url: str = ""
    api_key_env: str = ""
    api_key_file: Path | None = None
    timeout_ms: Positive = 120 * SECOND_MS
    #: tokens
    context_window: Window | UnsetType = UNSET
    reserve: Count | UnsetType = UNSET


class Agent(Section, frozen=True, kw_only=True):
    """One agent, and the most that one of its runs may take."""

    #: instead of the name in `Model`: ``PROVIDER/MODEL`` or a name at the provider of `Model`
    model: str = ""
    #: what answers in its place where it fails, in order
    fallback: str | tuple[str, ...] = ()
    #: how much it thinks before it answers
    thinking: Literal["default", "off", "low", "medium", "high"] = "default"
    instructions: str = ""
    #: names of tools; None is all
    tools: tuple[str, ...] | None = None
    #: what a busy session does with a new message
    busy: Literal["queue", "interrupt"] = "queue"
    #: names of the tools that jobs have which it makes; None is those that only read
    job_tools: tuple[str, ...] | None = None
    #: names of the agents that it may ask, beside one like itself
    may_spawn: tuple[str, ...] = ()
    #: the folder that its files are in; None is `folder.workspace`
    workspace: Path | None = None
    #: folders of skills, whose word counts after the workspace's and before the user's
    skills: tuple[Path, ...] = ()
    #: names of skills; None is all
    allow_skills: tuple[str, ...] | None = None
    max_steps: Count = 50
    max_tokens: Count = 2_000_000
    max_time_ms: Positive = 30 * MINUTE_MS
    #: micro-dollars a day; None is no limit
    spend_micros: Micros | None = None

    @property
    def fallbacks(self) -> Sequence[str]:
        """The fallback models, however many were written."""
        return [self.fallback] if isinstance(self.fallback, str) else self.fallback


class Lifecycle(Section, frozen=True, kw_only=True):
    """What differs from the default policy of one kind; None is never, which chats alone may have."""

    max_runtime_ms: Positive | UnsetType = UNSET
    stall_after_ms: Positive | UnsetType = UNSET
    archive_after_ms: Duration | UnsetType = UNSET
    idle_after_ms: Duration | UnsetType | None = UNSET
    delete_after_ms: Duration | UnsetType | None = UNSET
    delete_failed_after_ms: Duration | UnsetType = UNSET
    keep: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET
    max_running: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType = UNSET


class Compaction(Section, frozen=True, kw_only=True):
    """How a long conversation is made shorter."""

    #: the most that one may take
    deadline_ms: Annotated[int, Meta(ge=SECOND_MS, le=HOUR_MS)] = 2 * MINUTE_MS
    #: of a summary; never more than an eighth of what the model may read
    summary_bytes: Annotated[int, Meta(ge=256, le=60_000)] = 8 << 10
    #: the first message of a user is read beside the summary for ever
    keep_first: bool = False
    #: the last turns whose results of tools are read whole
    whole_results: Annotated[int, Meta(ge=1, le=1_000)] = 3


class Sweep(Section, frozen=True, kw_only=True):
    """How often at least the sweeper wakes."""

    interval_ms: Annotated[int, Meta(ge=SECOND_MS, le=HOUR_MS)] = 60 * SECOND_MS


class Backup(Section, frozen=True, kw_only=True):
    """A verified copy of the store, once a night."""

    enabled: bool = True
    #: local time, ``HH:MM``
    at: str = "03:30"
    #: how many of them
    keep: Annotated[int, Meta(ge=1, le=1_000)] = 7
    #: None is ``backups/`` in the state folder
    folder: Path | None = None

    @property
    def minutes(self) -> int:
        """The time as minutes after midnight."""
        hour, _, minute = self.at.partition(":")
        return int(hour) * 60 + int(minute)


class Runs(Section, frozen=True, kw_only=True):
    """How many runs there may be."""

    #: interactive runs at a time, runs of jobs and hooks, runs of sub-agents
    slots: Annotated[int, Meta(ge=1, le=10_000)] = 32
    cron_slots: Annotated[int, Meta(ge=1, le=10_000)] = 8
    subagent_slots: Annotated[int, Meta(ge=1, le=10_000)] = 16
    #: queued runs a lane
    queue: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    #: queued runs a session
    session_queue: Annotated[int, Meta(ge=1, le=1_000_000)] = 100


class Approvals(Section, frozen=True, kw_only=True):
    """How a person is asked."""

    #: a call that nobody has decided on by then is not carried out
    expire_after_ms: Annotated[int, Meta(ge=SECOND_MS, le=365 * DAY_MS)] = DAY_MS


class Memory(Section, frozen=True, kw_only=True):
    """What agents remember beyond a conversation."""

    #: facts of one agent; the least valuable makes room
    max_facts: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    #: tokens of facts in a prompt, at most
    prompt_tokens: Annotated[int, Meta(ge=0, le=100_000)] = 800
    #: what becomes of what a session has said when it is deleted
    on_session_delete: Literal["keep", "delete"] = "keep"
    #: before older entries are packed away, the model is asked what of them to remember
    flush: bool = True
    #: ``PROVIDER/MODEL``, or a name at the provider of `Model`: what knows the meaning of texts; empty is none
    embeddings: str = ""


class Egress(Section, frozen=True, kw_only=True):
    """Where requests may go beyond the public network, and where never; addresses, networks and names."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


class Subagents(Section, frozen=True, kw_only=True):
    """How far a tree of sub-agents may grow; finished ones do not count."""

    depth: Annotated[int, Meta(ge=0, le=8)] = 2
    #: of one parent
    children: Annotated[int, Meta(ge=1, le=1_000)] = 5
    #: of one root
    descendants: Annotated[int, Meta(ge=1, le=10_000)] = 25


class Limits(Section, frozen=True, kw_only=True):
    """What the gateway may take in all; None is what the machine suggests."""

    #: bytes of the store that are in use
    disk_bytes: Annotated[int, Meta(ge=16 << 20)] | None = None
    #: bytes of anonymous memory
    memory_bytes: Annotated[int, Meta(ge=1 << 20)] | None = None
    #: micro-dollars a day; None is no limit
    spend_micros: Micros | None = None


class Hook(Section, frozen=True, kw_only=True):
    """What a call of one webhook from outside starts."""

    #: names of environment variables, and files, that hold a secret each; any of them may have signed
    secret_env: tuple[str, ...] = ()
    secret_file: tuple[Path, ...] = ()
    #: by default the first one
    agent: str = ""
    #: what the agent is told, as in `template`
    template: str = "{body}"
    #: ``isolated``: a session of its own for each call; ``chat:KEY``: a message in that chat
    session: str = "isolated"
    #: names of tools out of the agent's; None is those that only read
    tools: tuple[str, ...] | None = None
    max_body_bytes: Annotated[int, Meta(ge=1, le=1 << 20)] = 256 << 10
    #: calls a minute
    rate: Annotated[int, Meta(ge=1, le=60_000)] = 60

    @property
    def chat(self) -> str | None:
        """The key of the chat that it writes to."""
        name = self.session.partition(":")[2]
        return chat_key(name) if name else None

    def secrets(self, name: str) -> Sequence[bytes]:
        """Return its secrets.

        Raises:
            ConfigError: One is missing, or is none.
        """
        return secret.read(f"[hooks.{name}]", self.secret_env, self.secret_file)


class ModelPrice(Section, frozen=True, kw_only=True):
    """What a model costs, in dollars for a million tokens; what is cached costs as much as what is not by default."""

    input: Dollars = 0.0
    output: Dollars = 0.0
    cached_input: Dollars | None = None
    cache_write: Dollars | None = None


class Alerts(Section, frozen=True, kw_only=True):
    """Who is told when something is wrong: one of the webhooks, a chat, or both; by default nobody."""

    webhook: str = ""
    #: the key of a chat
    chat: str = ""
    #: tell once a week how the gateway has grown
    weekly: bool = False


class Webhook(Section, frozen=True, kw_only=True):
    """Somebody outside who is told."""

    url: str = ""
    #: names out of `EVENTS` that it is told of, beside what jobs deliver
    events: tuple[str, ...] = ()
    #: as in `Hook`; every one of them signs
    secret_env: tuple[str, ...] = ()
    secret_file: tuple[Path, ...] = ()

    def secrets(self, name: str) -> Sequence[bytes]:
        """Return its secrets.

        Raises:
            ConfigError: One is missing, or is none.
        """
        return secret.read(f"[webhooks.{name}]", self.secret_env, self.secret_file)


class Plugins(Section, frozen=True, kw_only=True):
    """Whose code is told what happens to sessions and runs."""

    #: names of installed entry points
    hooks: tuple[str, ...] = ()
    #: of one call
    deadline_ms: Annotated[int, Meta(ge=1, le=5 * MINUTE_MS)] = 5 * SECOND_MS


class Telemetry(Section, frozen=True, kw_only=True):
    """Where spans of runs, model requests and tool calls go."""

    #: empty is nowhere
    otlp_endpoint: str = ""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file; `agents` is never empty and begins with ``main`` if that is one of them."""

    gateway: Gateway = Gateway()
    store: Store = Store()
    model: Model = Model()
    providers: Mapping[str, Provider] = MappingProxyType({})
    agents: Mapping[str, Agent] = MappingProxyType({"main": Agent()})
    lifecycle: Mapping[str, Lifecycle] = MappingProxyType({})
    sweep: Sweep = Sweep()
    runs: Runs = Runs()
    egress: Egress = Egress()
    approvals: Approvals = Approvals()
    subagents: Subagents = Subagents()
    limits: Limits = Limits()
    jobs: Sequence[Job] = ()
    hooks: Mapping[str, Hook] = MappingProxyType({})
    webhooks: Mapping[str, Webhook] = MappingProxyType({})
    alerts: Alerts = Alerts()
    prices: Mapping[str, ModelPrice] = MappingProxyType({})
    plugins: Plugins = Plugins()
    telemetry: Telemetry = Telemetry()
    backup: Backup = Backup()
    compaction: Compaction = Compaction()
    memory: Memory = Memory()
