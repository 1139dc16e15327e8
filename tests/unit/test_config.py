import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tidegate import config
from tidegate.clock import DAY_MS, HOUR_MS, MINUTE_MS
from tidegate.config.section import Section
from tidegate.config.source import sources
from tidegate.domain.policy import DEFAULTS, Policies, policies
from tidegate.domain.session import PolicyName
from tidegate.errors import ConfigError

Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a configuration and return where it lies."""

    def write(text: str) -> Path:
        path = tmp_path / "tidegate.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_defaults(written: Written) -> None:
    """No file and an empty file are the same, and what the documentation says."""
    default = config.read(None)
    assert config.read(written("")) == default
    assert (default.gateway.host, default.gateway.port, default.gateway.drain_ms) == (
        "127.0.0.1",
        8420,
        10_000,
    )
    assert (default.model.provider, default.model.reserve) == ("offline", 16_384)
    assert list(default.agents) == ["main"]
    assert (default.runs.slots, default.sweep.interval_ms) == (32, MINUTE_MS)


def test_everything_can_be_set(written: Written) -> None:
    """Each section reaches its place in the tree."""
    path = written(
        """
[gateway]
host = "::1"
port = 0
allowed_hosts = ["gate.example.org", "10.0.0.7"]
drain = "0s"
[store]
url = "sqlite:"
[model]
provider = "openai"
name = "gpt-5"
base_url = "http://[::1]:8000/v1"
api_key_file = "key.txt"
context_window = 8_000
timeout = "5m"
[agents.helper]
model = "small"
instructions = "Be brief."
tools = []
max_time = "90s"
[sweep]
interval = "1h"
[runs]
slots = 1
""",
    )
    read = config.read(path)
    assert read.gateway == config.Gateway(
        host="::1", port=0, allowed_hosts=("gate.example.org", "10.0.0.7"), drain_ms=0
    )
    assert read.model.api_key_file == path.parent / "key.txt"
    assert (read.model.reserve, read.model.timeout_ms) == (2_000, 5 * MINUTE_MS)
    assert dict(read.agents) == {
        "helper": config.Agent(model="small", instructions="Be brief.", tools=(), max_time_ms=90_000)
    }
    assert (read.sweep.interval_ms, read.runs.slots, read.runs.queue) == (HOUR_MS, 1, 1_000)


def test_main_comes_first(written: Written) -> None:
    """The agent called main leads; the others keep the order of the file."""
    assert list(config.read(written("[agents.z]\n[agents.main]\n[agents.a]\n")).agents) == ["main", "z", "a"]


def test_the_tree_is_frozen() -> None:
    """Nothing can be changed once it is read."""
    default = config.read(None)
    with pytest.raises(AttributeError):
        default.gateway.port = 1  # type: ignore[misc]  # that it cannot be set is the point
    with pytest.raises(TypeError):
        default.agents["x"] = config.Agent()  # type: ignore[index]  # likewise


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """Files of editors that begin them with a mark, and end lines with CRLF, are read."""
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbf[gateway]\r\nport = 1\r\n")
    assert config.read(path).gateway.port == 1


def test_other_hosts_need_tls_or_a_proxy(written: Written, tmp_path: Path) -> None:
    """Beyond loopback the gateway starts only behind a proxy or with TLS files that are there."""
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).touch()
    for way in ("trusted_proxy = true", "tls_cert = 'c.pem'\ntls_key = 'k.pem'"):
        assert config.read(written(f"[gateway]\nhost = '0.0.0.0'\n{way}")).gateway.host == "0.0.0.0"  # noqa: S104  # that is the case
    for host in ("localhost", "127.0.0.9", "::1"):
        assert config.read(written(f"[gateway]\nhost = '{host}'")).gateway.host == host


def test_the_command_line_is_held_to_the_same() -> None:
    """What replaces a value is checked as the file is."""
    changed = config.override(config.Config(), port=0, store_url="sqlite:")
    assert (changed.gateway.port, changed.store.url) == (0, "sqlite:")
    assert changed.gateway.host == "127.0.0.1"
    for change in ({"host": "192.0.2.1"}, {"port": 70_000}, {"store_url": "postgresql://x"}):
        with pytest.raises(ConfigError):
            config.override(config.Config(), **change)


def test_the_kinds_are_those_of_the_domain() -> None:
    """Every policy has its keys, and each key is one that it knows."""
    assert set(config.LIFECYCLE_KEYS) == {name.value for name in PolicyName}
    fields = {field.encode_name for field in msgspec.structs.fields(config.Lifecycle)}
    assert set().union(*config.LIFECYCLE_KEYS.values()) == fields


def test_policies_without_changes_are_the_defaults() -> None:
    """A configuration that is silent about the lifecycle leaves it as it is."""
    assert policies({}) == DEFAULTS


def test_policies_with_changes(written: Written) -> None:
    """What is set replaces the default of its kind; what is not set stays."""
    text = """
[lifecycle.chat]
idle_after = "never"
delete_after = "365d"
[lifecycle.cron]
archive_after = "0s"
delete_failed_after = "10d"
keep = 0
"""
    merged: Policies = policies(config.read(written(text)).lifecycle)
    chat, cron = merged[PolicyName.CHAT], merged[PolicyName.CRON]
    assert (chat.archive_after_ms, chat.delete_after_ms) == (None, 365 * DAY_MS)
    assert (cron.archive_after_ms, cron.delete_failed_after_ms, cron.keep) == (0, 10 * DAY_MS, 0)
    assert cron.max_running == DEFAULTS[PolicyName.CRON].max_running
    assert merged[PolicyName.HOOK] == DEFAULTS[PolicyName.HOOK]


def key_of(model: config.Model) -> str:
    """Return the key that a start with this model finds."""
    (found,) = sources(config.Config(model=model), config.Agent())
    return found.api_key()


def test_the_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is the value of the named variable; without one the gateway says so."""
    model = config.Model(provider="openai", name="m", api_key_env="TIDEGATE_TEST_KEY")
    monkeypatch.setenv("TIDEGATE_TEST_KEY", " k-1\n")
    assert key_of(model) == "k-1"
    monkeypatch.setenv("TIDEGATE_TEST_KEY", "")
    with pytest.raises(ConfigError, match="'TIDEGATE_TEST_KEY' is not set"):
        key_of(model)


def test_the_key_that_a_provider_is_known_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variable is looked at for the provider's own address alone, and must be set then; a local one needs none."""
    monkeypatch.setenv("GROQ_API_KEY", "k-1")
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)
    assert key_of(config.Model(provider="groq", name="m")) == "k-1"
    assert key_of(config.Model(provider="groq", name="m", base_url="http://10.0.0.7/v1")) == ""
    assert key_of(config.Model(provider="ollama", name="m")) == ""
    with pytest.raises(ConfigError, match="'MISTRAL_API_KEY' is not set"):
        key_of(config.Model(provider="mistral", name="m"))


def test_the_key_from_a_file(tmp_path: Path) -> None:
    """The key is what the file holds; a missing, empty or broken file is told without its contents."""
    path = tmp_path / "key"
    model = config.Model(provider="openai", name="m", api_key_file=path)
    for data in (None, b"", b"secret\nsecret", b"secret\xff", "secrét".encode()):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(ConfigError) as caught:
            key_of(model)
        assert str(path) in caught.value.message
        assert "secr" not in caught.value.message + caught.value.hint
    path.write_bytes(b"k-2\n")
    assert key_of(model) == "k-2"


PROVIDERS = """
[model]
provider = "openrouter"
name = "anthropic/claude"
[providers.anthropic]
context_window = 1_000_000
[providers.box]
base_url = "http://127.0.0.1:9/v1"
[providers.work]
type = "anthropic"
base_url = "https://work.example/v1"
reserve = 1_000
[agents.main]
[agents.a]
model = "anthropic/claude"
fallback = "box/tiny"
[agents.b]
model = "x-ai/grok"
fallback = ["work/claude", "x-ai/grok", "offline"]
"""


def test_where_models_are(written: Written) -> None:
    """PROVIDER/MODEL means a provider with a section of its own, all else a model of [model]'s provider."""
    read = config.read(written(PROVIDERS))
    found = {
        name: [(one.dialect.value, one.base_url, one.model) for one in sources(read, agent)]
        for name, agent in read.agents.items()
    }
    router = ("openai", "https://openrouter.ai/api/v1")
    assert found == {
        "main": [(*router, "anthropic/claude")],
        "a": [
            ("anthropic", "https://api.anthropic.com", "claude"),
            ("openai", "http://127.0.0.1:9/v1", "tiny"),
        ],
        "b": [
            (*router, "x-ai/grok"),
            ("anthropic", "https://work.example/v1", "claude"),
            (*router, "offline"),
        ],
    }
    rooms = {
        one.name: (one.window, one.reserve) for agent in read.agents.values() for one in sources(read, agent)
    }
    assert rooms["work/claude"] == (128_000, 1_000)
    assert sources(read, read.agents["a"])[0].reserve == 16_384
    assert sources(read, read.agents["b"])[-1].is_offline


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The named file comes first, then the state folder, then the XDG folder."""
    state, xdg = tmp_path / "state", tmp_path / "xdg"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(xdg))
    of_user, of_state, named = xdg / "tidegate/tidegate.toml", state / "tidegate.toml", tmp_path / "mine.toml"
    found = [config.find(None, state)]
    for path in (of_user, of_state):
        path.parent.mkdir(parents=True)
        path.touch()
        found.append(config.find(None, state))
    with pytest.raises(ConfigError, match="there is no such file"):
        config.find(named, state)
    named.touch()
    assert [*found, config.find(named, state)] == [None, of_user, of_state, named]


def test_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option comes first, then TIDEGATE_HOME, then the XDG folder; a relative one is ignored."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TIDEGATE_HOME", "")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert config.state_folder() == tmp_path / ".local/state/tidegate"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert config.state_folder() == tmp_path / "xdg/tidegate"
    monkeypatch.setenv("TIDEGATE_HOME", "~/home")
    assert config.state_folder() == tmp_path / "home"
    assert config.state_folder(tmp_path / "option") == tmp_path / "option"


def test_the_effective_tree_is_json() -> None:
    """The whole tree can be printed, with durations as they are written."""
    lifecycle = {"chat": config.Lifecycle(idle_after_ms=None)}
    tree = json.loads(json.dumps(config.effective(config.Config(lifecycle=lifecycle))))
    assert tree["gateway"]["drain"] == "10s"
    assert tree["agents"]["main"]["max_time"] == "30m"
    assert tree["lifecycle"] == {"chat": {"idle_after": "never"}}
    assert list(tree) == list(config.Config.__struct_fields__)


def test_the_example_is_the_default(written: Written) -> None:
    """The example changes nothing, neither as it is nor with each key taken in."""
    default = config.Config()
    assert config.read(written(config.example())) == default
    taken_in = re.sub(r"^#(?=\[|[a-z_]+ =)", "", config.example(), flags=re.MULTILINE)
    read = config.read(written(taken_in))
    assert msgspec.structs.replace(read, lifecycle=default.lifecycle, providers={}) == default
    assert read.providers == {"openai": config.Provider()}
    assert policies(read.lifecycle) == DEFAULTS
    assert set(read.lifecycle) == set(config.LIFECYCLE_KEYS)


def test_the_example_names_every_key() -> None:
    """Each key of each section stands in the example."""
    for section in Section.__subclasses__():
        for field in msgspec.structs.fields(section):
            assert re.search(rf"\b{field.encode_name}\b", config.example()), field.encode_name
