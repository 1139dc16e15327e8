import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tidegate.cli.config import config as group
from tidegate.config import Config, read
from tidegate.domain.policy import policies
from tidegate.errors import ConfigError, StorageFailed, TidegateError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no configuration of the machine be found."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "state"))


def run(*args: str | Path) -> Result:
    """Run one command of the group."""
    return CliRunner().invoke(group, [str(arg) for arg in args], catch_exceptions=False)


def refusal(*args: str | Path) -> TidegateError:
    """Run a command that fails, and return why."""
    with pytest.raises(TidegateError) as caught:
        run(*args)
    return caught.value


def test_path(tmp_path: Path) -> None:
    """The file that is read is printed alone; where there is none, standard output stays empty."""
    none = run("path")
    assert (none.exit_code, none.stdout) == (0, "")
    assert str(tmp_path / "state/tidegate.toml") in none.stderr
    named = tmp_path / "mine.toml"
    named.touch()
    assert run("path", "--config", named).stdout == f"{named}\n"
    assert json.loads(run("path", "--config", named, "--json").stdout)["path"] == str(named)
    assert json.loads(run("path", "--json").stdout)["path"] is None


def test_show_as_json() -> None:
    """The defaults are shown with every policy filled in."""
    tree = json.loads(run("show", "--json").stdout)
    assert tree["gateway"]["port"] == 8420
    assert tree["lifecycle"]["chat"] == {"delete_after": "never", "idle_after": "30d"}
    assert tree["lifecycle"]["subagent"]["stall_after"] == "10m"
    assert "delete_failed_after" not in tree["lifecycle"]["hook"]


def test_what_is_shown_can_be_read(tmp_path: Path) -> None:
    """The printed configuration is a configuration file, and means the same."""
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(
        '[gateway]\nallowed_hosts = ["a.example"]\n[agents.main]\ninstructions = "Say \\"é\\"\\n\\u007f"\n'
        'tools = ["read_file"]\n[agents.b]\n[lifecycle.cron]\nkeep = 3\n[model]\napi_key_env = "KEY"\n',
    )
    second.write_text(run("show", "--config", first).stdout)
    one, two = read(first), read(second)
    assert (two.gateway, two.model, two.agents) == (one.gateway, one.model, one.agents)
    assert policies(two.lifecycle) == policies(one.lifecycle)


def test_names_of_models_are_shown_in_quotes(tmp_path: Path) -> None:
    """A name with dots, slashes or worse is one key again when what is printed is read."""
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    names = ("gpt-4.1", "meta/llama 3", "gpt-5", 'a\u0007"b\u007f')
    tables = (f"[prices.{json.dumps(name)}]\ninput = 1.5\noutput = 2.0\n" for name in names)
    first.write_text("".join(tables).replace("\x7f", "\\u007f"))
    shown = run("show", "--config", first).stdout
    second.write_text(shown)
    assert set(names) == set(read(second).prices)
    assert read(first).prices == read(second).prices
    assert "\a" not in shown


def test_show_never_prints_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the variable is shown, not its value."""
    monkeypatch.setenv("TIDEGATE_TEST_KEY", "k-secret")
    path = tmp_path / "x.toml"
    path.write_text('[model]\napi_key_env = "TIDEGATE_TEST_KEY"\n')
    shown = run("show", "--config", path).stdout
    assert "TIDEGATE_TEST_KEY" in shown
    assert "k-secret" not in shown


def test_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that can be used is said to be; another one ends with exit code 78."""
    assert run("check").stdout.splitlines() == [
        "OK: no file, so the defaults hold",
        "  serves 127.0.0.1:8420",
        "  1 agent: main",
        "  model: offline, not an LLM",
    ]
    path = tmp_path / "x.toml"
    path.touch()
    assert json.loads(run("check", "--config", path, "--json").stdout) == {"path": str(path), "ok": True}
    path.write_text(
        '[model]\nprovider = "openai"\nname = "m"\napi_key_env = "TIDEGATE_TEST_KEY"\n[lifecycle.cron]\nkeep = 1\n'
    )
    monkeypatch.setenv("TIDEGATE_TEST_KEY", "k-secret")
    told = run("check", "--config", path).stdout
    assert told.startswith(f"OK: {path}\n")
    for text in ("model: m at https://api.openai.com/v1", "changed for cron"):
        assert text in told
    path.write_text("[gateway]\nprot = 1\n")
    error = refusal("check", "--config", path)
    assert isinstance(error, ConfigError)
    assert (error.exit_code, error.hint) == (78, "did you mean 'port'?")


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """A configuration that was asked for is never passed over."""
    for command in ("path", "show", "check"):
        assert isinstance(refusal(command, "--config", tmp_path / "none"), ConfigError)


def test_init(tmp_path: Path) -> None:
    """The first configuration goes into the state folder, for its owner alone, and is found there."""
    path = tmp_path / "state/tidegate.toml"
    assert run("init").stdout == f"wrote {path}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert read(path) == Config()
    assert run("path").stdout == f"{path}\n"
    assert list(path.parent.iterdir()) == [path]


def test_init_keeps_what_is_there(tmp_path: Path) -> None:
    """A file that exists is replaced by force alone."""
    path = tmp_path / "mine.toml"
    path.write_text("# mine\n")
    assert refusal("init", "--config", path).hint == "--force replaces it"
    assert path.read_text() == "# mine\n"
    assert json.loads(run("init", "--config", path, "--force", "--json").stdout) == {"path": str(path)}
    assert path.read_text() != "# mine\n"


def test_init_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A place that cannot be written to is an error of storage, and leaves nothing behind."""
    (tmp_path / "file").touch()
    assert isinstance(refusal("init", "--state", tmp_path / "file"), StorageFailed)
    (tmp_path / "folder/tidegate.toml").mkdir(parents=True)
    assert isinstance(refusal("init", "--state", tmp_path / "folder", "--force"), StorageFailed)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["tidegate.toml"]


def test_a_price_of_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A price is told that no model of an agent has, since the list would hold in its place."""
    monkeypatch.setenv("OPENAI_API_KEY", "k-secret")
    path = tmp_path / "mine.toml"
    path.write_text(
        '[model]\nprovider = "openai"\nname = "gpt-5"\n[agents.main]\n[agents.b]\nmodel = "gpt-5-mini"\n'
        + "".join(f'[prices."{name}"]\ninput = 1\noutput = 1\n' for name in ("gpt-5", "gpt-5-mini", "gtp-5"))
    )
    said = run("check", "--config", path).stdout
    assert '  note: [prices."gtp-5"] is for no model that an agent here has' in said.splitlines()
    assert said.count("[prices.") == 1
