import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate import config
from tidegate.config.place import MAX_DOTS
from tidegate.errors import ConfigError

JOB = "[[jobs]]\nname = 'x'\nevery = '1h'\nprompt = 'p'\n"

Written = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a configuration and return where it lies."""

    def write(text: str) -> Path:
        path = tmp_path / "tidegate.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path: Path | None) -> ConfigError:
    """Read what cannot be read, and return why."""
    with pytest.raises(ConfigError) as caught:
        config.read(path)
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "what", "hint"),
    [
        ("[gatway]\nport = 1", 1, "[gatway]: there is no such section", "did you mean 'gateway'?"),
        ("[jobs]\nname = 'x'", 1, "jobs: expected a list of tables", "write [[jobs]]"),
        ("[[jobs]]\nname = 'x'", 1, "[[jobs]] prompt: it says nothing", "write what the agent is to do"),
        (JOB + JOB.replace("'1h'", "'1s'"), 7, "[[jobs]] every: must be at least 1m", ""),
        (JOB + JOB, 6, "[[jobs]] name: there is another job 'x'", "its own name"),
        (JOB + "agent = 'nobody'", 5, "[[jobs]] agent: there is no agent 'nobody'", ""),
        (JOB + "cron = '@daily'", 5, "[[jobs]] cron: every and cron exclude each other", "set one of"),
        (
            JOB + "at = 2026-12-01T09:00:00",
            3,
            "[[jobs]] every: at and every exclude each other",
            "set one of",
        ),
        (
            JOB.replace("every = '1h'", "at = 2026-12-01"),
            3,
            "[[jobs]] at: expected text in quotes, not a date",
            "",
        ),
        (
            JOB.replace("every", "evry"),
            3,
            "[[jobs]] evry: there is no such key here",
            "did you mean 'every'?",
        ),
        ("port = 1", 1, "port: a key stands in a section", "there is agents, "),
        ("gateway = 1", 1, "gateway: expected one table", "write [gateway]"),
        ("[[gateway]]", 1, "gateway: expected one table", "write [gateway]"),
        ("[gateway]\n\n# x\nprot = 1", 4, "[gateway] prot: there is no such key", "did you mean 'port'?"),
        ("[gateway]\nport = 70000", 2, "[gateway] port: must be at most 65535", ""),
        ("[gateway]\nport = -1", 2, "port: must be at least 0", ""),
        ("[gateway]\nport = nan", 2, "port: expected a whole number, not a number with a fraction", ""),
        ("[gateway]\nport = inf", 2, "port: expected a whole number, not a number with a fraction", ""),
        ("[gateway]\nport = '80'", 2, "port: expected a whole number, not text in quotes", ""),
        ("[gateway]\nport = true", 2, "port: expected a whole number, not true or false", ""),
        ("[gateway]\nport = 2024-01-01", 2, "port: expected a whole number, not a date", ""),
        ("[gateway]\nport = " + "9" * 400, 2, "port: must be at most 65535", ""),
        ("[gateway]\ndrain = 10", 2, 'drain: expected a duration in quotes, such as "30s"', ""),
        ("[gateway]\ndrain = '10'", 2, "drain: '10' is no duration", 'write for example "30s"'),
        ("[gateway]\ndrain = 'never'", 2, "drain: 'never' is no duration", "write"),
        ("[gateway]\nhost = ''", 2, "host: '' is no name or address", "alone"),
        ("[gateway]\nhost = '[::1]'", 2, "host: '[::1]' is no name or address", "brackets"),
        ("[gateway]\nhost = '0.0.0.0'", 2, "host: '0.0.0.0' is open to other machines", "trusted_proxy"),
        ("[gateway]\nallowed_hosts = ['a:80']", 2, "allowed_hosts: 'a:80' is no host name", "port"),
        ("[gateway]\nallowed_hosts = [1]", 2, "expected text in quotes in the list, not a whole number", ""),
        ("[gateway]\ntls_cert = 'c.pem'", 2, "tls_cert: tls_cert and tls_key belong together", "both"),
        ("[gateway]\ntls_key = ''", 2, "tls_key: expected the path of a file", ""),
        ("[gateway]\ntls_cert = 'a'\ntls_key = 'b'", 2, "tls_cert: '", ""),
        ("[backup]\nat = '24:00'", 2, "at: '24:00' is no time of day", "03:30"),
        ("[backup]\nat = 330", 2, "at: expected text in quotes, not a whole number", ""),
        ("[backup]\nkeep = 0", 2, "keep: must be at least 1", ""),
        ("[store]\nurl = 'postgresql://u:pw@h/d'", 2, "url: PostgreSQL is not in this version", "sqlite:"),
        ("[store]\nurl = 'mysql://u:pw@h/d'", 2, "url: this store is not known", "sqlite:"),
        (
            "[model]\nprovider = 'openia'",
            2,
            "provider: this provider is not known",
            "did you mean 'openai'?",
        ),
        ("[model]\nprovider = 'openai'", 1, "name: provider 'openai' needs the name of a model", "add name"),
        ("[model]\nbase_url = 'https://u:pw@h/v1'", 2, "base_url: this is no address", "without login"),
        ("[model]\nbase_url = 'ftp://h/v1'", 2, "base_url: this is no address", "https://"),
        ("[model]\napi_key = 'sk-pw'", 2, "api_key: there is no such key here", "did you mean 'api_key_"),
        ("[model]\napi_key_env = 'sk-pw'", 2, "api_key_env: this is no name", "never the key itself"),
        ("[model]\napi_key_env = 'A'\napi_key_file = 'b'", 3, "api_key_file: api_key_env names", "keep one"),
        ("[model]\ncontext_window = 0", 2, "context_window: must be at least 256", ""),
        (
            "[model]\ncontext_window = 1000\nreserve = 1000",
            3,
            "reserve: must be less than context_window",
            "",
        ),
        ("[model]\nreserve = 0", 2, "reserve: must be at least 1", ""),
        ("[model]\ntimeout = '0s'", 2, "timeout: must be longer than 0s", ""),
        ("[providers.offline]", 1, "[providers.offline]: this is no name for a provider", "a-z"),
        ("[providers.box]", 1, "[providers.box]: it is not said which provider this is", "add base_url"),
        ("[providers.box]\ntype = 'antropic'", 2, "type: this type is not known", "'anthropic'"),
        ("[providers.box]\nbase_url = 'box'", 2, "base_url: this is no address of an API", "https://"),
        ("[providers.groq]\napi_key = 'sk-pw'", 2, "there is no such key here", "'api_key_"),
        ("[providers.groq]\nreserve = 200_000", 2, "reserve: must be less than context_window", ""),
        (
            "[providers.work]\ntype = 'groq'\n[model]\nprovider = 'work'\nname = 'm'\napi_key_env = 'A'",
            6,
            "api_key_env: provider 'work' has a section of its own",
            "[providers.work]",
        ),
        ("[agents.main]\nmodel = 'gpt-5'", 2, "model: no provider is set that has 'gpt-5'", "PROVIDER/MODEL"),
        ("[agents.main]\nfallback = ['a/b']", 2, "fallback: no provider is set that has 'a/b'", ""),
        ("[providers.groq]\n[agents.main]\nmodel = 'groq/'", 3, "'groq/' names no model", "PROVIDER/MODEL"),
        ("[agents.main]\nthinking = 'much'", 2, "thinking: this value is not known", '"medium"'),
        ("[agents.main]\nfallback = 3", 2, "fallback: expected text in quotes, not a whole number", ""),
        ("[agents]\nmain = 'x'", 2, "[agents] main: expected one table", "write [agents.main]"),
        ("[agents.main]\n[agents.Big]", 2, "[agents.Big]: this is no name for an agent", "a-z"),
        ('[agents."a b"]', 1, '[agents."a b"]: this is no name for an agent', "a-z"),
        ("[agents.main]\nmax_step = 1", 2, "[agents.main] max_step: there is no such key", "'max_steps'"),
        ("[agents.main]\nmax_steps = 0", 2, "[agents.main] max_steps: must be at least 1", ""),
        ("[sweep]\ninterval = '999ms'", 2, "[sweep] interval: must be at least 1s", ""),
        ("[sweep]\ninterval = '2h'", 2, "[sweep] interval: must be at most 1h", ""),
        ("[runs]\nslots = 0", 2, "[runs] slots: must be at least 1", ""),
        ("[lifecycle.chats]", 1, "[lifecycle.chats]: there is no such kind", "did you mean 'chat'?"),
        ("[lifecycle.cron]\nkeep = -1", 2, "[lifecycle.cron] keep: must be at least 0", ""),
        ("[lifecycle.cron]\nmax_running = 0", 2, "max_running: must be at least 1", ""),
        ("[lifecycle.hook]\nmax_runtime = '0s'", 2, "max_runtime: must be longer than 0s", ""),
        ("[lifecycle.hook]\nkeep = 3", 2, "keep: there is no such key for hook", "there is"),
        ("[lifecycle.cron]\nstall_after = '3m'", 2, "stall_after: there is no such key for cron", ""),
        ("[lifecycle.chat]\ndelete_failed_after = '3d'", 2, "no such key for chat", "'delete_after'"),
        ("[lifecycle.chat]\narchive_after = '3d'", 2, "no such key for chat", "did you mean 'idle_after'?"),
        ("[lifecycle.cron]\nidle_after = '3d'", 2, "no such key for cron", "did you mean 'archive_after'?"),
        ("[lifecycle.api_named]\nidle_after = 'never'", 2, "accepted for chat alone", "pin a session"),
        ("[lifecycle.cron]\nmax_runtime = 'never'", 2, "accepted for chat alone", "pin a session"),
    ],
)
def test_nonsense_is_refused(written: Written, text: str, line: int, what: str, hint: str) -> None:
    """What is unknown or makes no sense is told with file, line, section and key, and never with a secret."""
    path = written(text)
    error = refusal(path)
    assert error.message.startswith(f"{path}:{line}: ")
    assert what in error.message
    assert hint in error.hint
    assert "pw" not in error.message + error.hint


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[gateway]\nport = \n", 2),
        ("\n\n[gateway\n", 3),
        ("[gateway]\nport = 1\nport = 2\n", 3),
        ("[gateway]\na = '''\nb\n", 3),
        ("[gateway]\n[gateway]\n", 2),
        ("[gateway]\nport = " + "9" * 5000, 2),
    ],
)
def test_what_is_no_toml(written: Written, text: str, line: int) -> None:
    """An error of syntax is told with its line."""
    path = written(text)
    assert refusal(path).message.startswith(f"{path}:{line}: this is no TOML")


def test_deep_nesting_is_refused(written: Written) -> None:
    """Lists in lists without end are an error like any other."""
    assert "nested too deep" in refusal(written("a = " + "[" * 50_000)).message


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("a" + ".a" * 100_000 + " = 1", True),
        ("[" + "a . " * 20_000 + "a]", True),
        ("a = {" + '"b".' * 20_000 + "c = 1}", True),
        ("a" + ".a" * MAX_DOTS + " = 1", False),
        ("a = 'a" + ".a" * 100 + "' # a" + ".a" * 100, False),
        ('a = """\na' + ".a" * 100 + '\n"""', False),
        ("a" * 200_000, False),
    ],
    ids=["key", "header", "inline", "few", "string and comment", "lines", "long word"],
)
def test_keys_without_end_are_refused(written: Written, text: str, *, is_so: bool) -> None:
    """A key with very many parts is refused before it is read, which would take minutes; dots elsewhere are none."""
    assert ("more than 16 dots" in refusal(written(text)).message) == is_so


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder, a missing file, a pipe, a huge file and one that is not UTF-8 are refused by name."""
    pipe, huge, latin = tmp_path / "pipe", tmp_path / "huge", tmp_path / "latin"
    os.mkfifo(pipe)
    huge.write_bytes(b"#" * (256 * 1024 + 1))
    latin.write_bytes(b"# ok\n# caf\xe9\n")
    assert refusal(tmp_path).message == f"{tmp_path}: cannot be read: Is a directory"
    assert "No such file" in refusal(tmp_path / "none").message
    assert "is a pipe" in refusal(pipe).message
    assert "larger than 262144 bytes" in refusal(huge).message
    assert refusal(latin).message == f"{latin}:2: this is not UTF-8"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(written: Written) -> None:
    """A file that may not be read is refused with the reason."""
    path = written("")
    path.chmod(0)
    assert "Permission denied" in refusal(path).message
