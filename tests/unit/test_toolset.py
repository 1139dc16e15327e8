from pathlib import Path

import pytest

from tidegate.agent.offline import offline_tools
from tidegate.agent.tools import Reach
from tidegate.bounded import Registry
from tidegate.config.tree import OFFLINE_TOOLS, TOOLS, Agent, Config, Egress, Hook, Model
from tidegate.errors import ConfigError
from tidegate.toolset import BY_NAME_ALONE, Toolset, protected

OF_THE_RUNTIME = {"skill", "spawn_agent", "schedule_job", "session_status", "remember", "recall", "forget"}


def names(state: Path, agent: Agent) -> list[str]:
    """Return the names of an agent's tools."""
    return [
        tool.spec.name for tool in Toolset(Config(), state, Registry()).of("main", agent, offline_tools())
    ]


def test_the_configuration_knows_every_tool(tmp_path: Path) -> None:
    """The names that a configuration may hold are those that exist."""
    found = names(tmp_path, Agent(tools=TOOLS))
    assert sorted({*TOOLS} - OF_THE_RUNTIME) == sorted(found)
    assert {tool.spec.name for tool in offline_tools()} == OFFLINE_TOOLS


def test_a_shell_has_to_be_named(tmp_path: Path) -> None:
    """Without a list an agent has every tool but those that have to be named; with one, those alone."""
    assert sorted({*TOOLS} - OF_THE_RUNTIME - BY_NAME_ALONE) == sorted(names(tmp_path, Agent()))
    assert names(tmp_path, Agent(tools=("shell",))) == ["shell"]
    assert names(tmp_path, Agent(tools=())) == []


def test_only_what_may_be_repeated_says_so(tmp_path: Path) -> None:
    """Reading, listing, fetching and writing the same again may be repeated after a crash; a shell asks a person."""
    tools = Toolset(Config(), tmp_path, Registry()).of("main", Agent(tools=TOOLS))
    assert [tool.spec.name for tool in tools if not tool.is_idempotent] == ["edit_file", "shell"]
    assert [tool.spec.name for tool in tools if tool.asks] == ["shell"]


@pytest.mark.parametrize("below", [".", "..", "../.."])
def test_a_workspace_may_not_hold_the_state(tmp_path: Path, below: str) -> None:
    """The folder with the token and every session is out of the reach of tools."""
    state = tmp_path / "a/b"
    state.mkdir(parents=True)
    with pytest.raises(ConfigError, match="the state folder lies in it"):
        names(state, Agent(workspace=state / below))


def test_turns_have_gauges(tmp_path: Path) -> None:
    """Whatever waits for a thread, a program or a page is counted, with its bound."""
    registry = Registry()
    Toolset(Config(egress=Egress(allow=("10.0.0.5",))), tmp_path, registry)
    assert [(gauge.name, gauge.entries) for gauge in registry] == [
        ("files", 0),
        ("programs", 0),
        ("fetches", 0),
    ]


def test_what_only_reads_is_a_closed_list(tmp_path: Path) -> None:
    """A hook's session has these tools by itself; a tool that nobody has thought about is not among them."""
    tools = [*Toolset(Config(), tmp_path, Registry()).of("main", Agent(tools=TOOLS)), *offline_tools()]
    by_reach = {reach: {tool.spec.name for tool in tools if tool.reach is reach} for reach in Reach}

    assert by_reach == {
        Reach.READ: {"list_files", "read_file", *OFFLINE_TOOLS},
        Reach.WRITE: {"write_file", "edit_file", "shell"},
        Reach.OUT: {"web_fetch"},
    }


def test_a_workspace_lies_not_beside_the_store(tmp_path: Path) -> None:
    """Nothing in the state folder is a workspace but what is meant for it: the backups are not."""
    (tmp_path / "backups").mkdir()
    with pytest.raises(ConfigError, match="lies in the state folder"):
        names(tmp_path, Agent(workspace=tmp_path / "backups"))
    (tmp_path / "workspace/mine").mkdir(parents=True)
    assert "write_file" in names(tmp_path, Agent(workspace=tmp_path / "workspace/mine"))


def test_skills_of_all_agents_are_protected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place where some agent looks, the user's folders and every file with a secret are among what tools spare."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    config = Config(
        agents={
            "main": Agent(workspace=tmp_path / "a"),
            "other": Agent(workspace=tmp_path / "a/b", skills=(tmp_path / "more",)),
        },
        hooks={"h": Hook(secret_file=(tmp_path / "a/secret",))},
        model=Model(api_key_file=tmp_path / "a/key"),
    )
    wanted = {"a/skills", "a/.agents/skills", "a/b/skills", "a/b/.agents/skills", "more", "a/secret", "a/key"}
    found = protected(config, tmp_path)
    assert {tmp_path / name for name in (*wanted, "xdg/tidegate", "xdg/tidegate/skills")} <= found
