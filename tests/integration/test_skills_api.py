from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_process import GatewayProcess, Json, error_of, until
from shelves import raw, skill

FIELDS = {"name", "description", "source", "path", "hash", "bytes", "used", "shadowed", "problems", "license",
          "compatibility", "metadata", "allowed_tools"}  # fmt: skip
BUNDLED = ["daily-brief", "review-a-change", "write-a-skill"]
CONFIG = """
[agents.main]
[agents.few]
allow_skills = ["foo", "gone"]
skills = ["named"]
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway with skills in each place."""
    state = tmp_path_factory.mktemp("gateway") / "state"
    home = state.with_name("home")
    skill(state / "workspace" / "skills", "foo", description="Mine.")
    skill(state / "workspace" / ".agents" / "skills", "shared")
    skill(state / "named", "foo", description="Named.")
    skill(home / ".agents" / "skills", "foo", description="The user's.")
    raw(home / "config" / "tidegate" / "skills", "broken", "nonsense")
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    with GatewayProcess(state, config=CONFIG, environment=environment) as running:
        yield running


def listed(gateway: GatewayProcess, **query: str) -> list[Json]:
    """Return the skills of an agent."""
    return list(gateway.get("/api/skills", **query)["skills"])


def test_every_place(gateway: GatewayProcess) -> None:
    """Skills of the workspace, the user and the package are listed by name, each with all its fields."""
    found = listed(gateway)
    assert [(one["name"], one["source"], one["used"], one["shadowed"]) for one in found] == [
        ("broken", "user", False, False),
        ("daily-brief", "bundled", True, False),
        ("foo", "workspace", True, False),
        ("foo", "user", False, True),
        ("review-a-change", "bundled", True, False),
        ("shared", "workspace", True, False),
        ("write-a-skill", "bundled", True, False),
    ]
    assert {frozenset(one) for one in found} == {frozenset(FIELDS)}
    assert [one["severity"] for one in found[0]["problems"]] == ["error"]
    for one in found[1:]:
        assert Path(one["path"]).stat().st_size == one["bytes"]


def test_an_agent_of_its_own(gateway: GatewayProcess) -> None:
    """An agent has the places that its configuration names, and the names that it allows."""
    answer = gateway.get("/api/skills", agent="few")
    assert [(one["source"], one["shadowed"]) for one in answer["skills"]] == [
        ("workspace", False),
        ("agent", True),
        ("user", True),
    ]
    assert [problem["message"] for problem in answer["problems"]] == ["there is no skill 'gone'"]


def test_pages(gateway: GatewayProcess) -> None:
    """The list comes in pages, without a gap."""
    pages = list(gateway.pages("/api/skills", "skills", limit=3))
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [one for page in pages for one in page] == listed(gateway)


def test_what_is_refused(gateway: GatewayProcess) -> None:
    """An agent that is not there, and a cursor that is none, are told."""
    assert error_of(gateway.http.get("/api/skills", params={"agent": "x"})) == (404, "model_not_found")
    assert error_of(gateway.http.get("/api/skills", params={"cursor": "x"})) == (400, "bad_request")


def test_a_session_shows_its_snapshot(gateway: GatewayProcess) -> None:
    """Sessions with the same skills show the same snapshot, those of another agent another one."""
    for key, agent in (("one", "main"), ("two", "main"), ("few", "few")):
        gateway.say(key, "/echo hi", agent=agent)
    one, two, few = (gateway.session(key)["snapshot"] for key in ("one", "two", "few"))
    assert one == two != few
    assert len(one) == len(few) == 64


def test_a_change_reaches_new_sessions(gateway: GatewayProcess) -> None:
    """A skill that comes is read by the next session; one that changes is another one there."""
    place = gateway.state / "workspace" / "skills"
    skill(place, "later", body="# First\n")
    until(lambda: any(one["name"] == "later" for one in listed(gateway)))
    assert gateway.say("first", "/skill later")["reply"] == "First"
    before = gateway.session("first")["snapshot"]
    skill(place, "later", body="# Second\n")
    until(lambda: gateway.say("second", "/skill later")["reply"] == "Second")
    assert gateway.session("second")["snapshot"] != before == gateway.session("first")["snapshot"]


def test_it_is_the_same_after_a_crash(tmp_path: Path) -> None:
    """After a kill a session has the skills that it had, and nothing of them is orphaned or counted wrong."""
    state = tmp_path / "state"
    skill(state / "workspace" / "skills", "foo")
    with GatewayProcess(state) as gateway:
        gateway.say("c", "/echo hi")
        before = gateway.session("c")["snapshot"]
        gateway.kill()
        gateway.start()
        assert gateway.session("c")["snapshot"] == before
        assert gateway.say("c", "/skill foo")["reply"] == "Heading"
        assert set(gateway.get("/api/status")["orphans"].values()) == {0}
        assert gateway.stop() == 0
