from pathlib import Path
from typing import Any

import pytest

from command_line import CommandLine
from gateway_process import TOKEN, GatewayProcess, error_of, until
from terminal import terminal

SHELL = '[agents.main]\ntools = ["shell"]\n'


@pytest.fixture
def gateway(tmp_path: Path) -> Any:
    """Start a gateway whose agent may ask for a shell."""
    with GatewayProcess(tmp_path / "state", config=SHELL) as started:
        yield started


def ask(gateway: GatewayProcess, key: str, text: str = "/run echo hello") -> dict[str, Any]:
    """Send a message whose run starts to wait, and return the question."""
    answer = gateway.send(key, text, wait=1)
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting")
    (approval,) = gateway.get("/api/approvals", state="pending", session=key)["approvals"]
    return dict(approval)


def run_of(gateway: GatewayProcess, approval: dict[str, Any]) -> Any:
    """Return the run that asked, once it is done."""
    return until(lambda: (run := gateway.get(f"/api/runs/{approval['run']}"))["state"] == "done" and run)


def test_a_question(gateway: GatewayProcess) -> None:
    """It shows the literal call and who asks; the run is listed as waiting, in its session."""
    approval = ask(gateway, "a")
    expected = {"session": "a", "agent": "main", "tool": "shell", "arguments": '{"argv":["echo","hello"]}'}
    assert expected.items() <= approval.items()
    (run,) = gateway.get("/api/runs", state="waiting")["runs"]
    assert (run["id"], run["session"]) == (approval["run"], "a")
    assert 'tidegate_approvals{state="pending"} 1.0' in gateway.http.get("/metrics").text


@pytest.mark.parametrize(
    ("decision", "state"), [("once", "allowed"), ("always", "always"), ("deny", "denied")]
)
def test_a_decision_after_a_restart(gateway: GatewayProcess, decision: str, state: str) -> None:
    """A run waits through a restart; the decision is carried out once, and repeating it changes nothing."""
    approval = ask(gateway, "a")
    gateway.stop()
    gateway.start()
    for _ in range(2):
        answer = gateway.http.post(f"/api/approvals/{approval['id']}", json={"decision": decision})
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    assert run_of(gateway, approval)["outcome"] == "ok"
    assert ("hello" in gateway.texts("a")[-1]) == (decision != "deny")
    other = {"decision": "once" if decision == "deny" else "deny"}
    again = gateway.http.post(f"/api/approvals/{approval['id']}", json=other)
    assert again.status_code == (200 if decision == "always" else 409)


def test_always_holds_for_the_same_call_alone(gateway: GatewayProcess) -> None:
    """The same call in another session runs at once; another call is asked about."""
    approval = ask(gateway, "a")
    gateway.http.post(f"/api/approvals/{approval['id']}", json={"decision": "always"})
    run_of(gateway, approval)
    assert "hello" in gateway.say("b", "/run echo hello")["reply"]
    assert ask(gateway, "b", "/run echo else")["arguments"] == '{"argv":["echo","else"]}'


def test_an_openai_client_is_told(gateway: GatewayProcess) -> None:
    """A client that knows nothing of approvals gets an error that says what to do."""
    body = {"model": "main", "messages": [{"role": "user", "content": "/run echo hello"}]}
    answer = gateway.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert "waits for a person" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "body", "error"),
    [
        ("nothing", {"decision": "once"}, (404, "approval_not_found")),
        ("nothing", {"decision": "perhaps"}, (400, "bad_json")),
        ("nothing", {}, (400, "bad_json")),
    ],
)
def test_bad_decisions(gateway: GatewayProcess, name: str, body: object, error: tuple[int, str]) -> None:
    """What is no decision, or is about nothing, is refused by name."""
    assert error_of(gateway.http.post(f"/api/approvals/{name}", json=body)) == error


def test_a_conversation_asks(gateway: GatewayProcess) -> None:
    """The chat of the command line shows the call, takes the word and goes on with the answer."""
    with terminal(CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN}), "chat", "/run echo hello") as shown:
        assert '{"argv":["echo","hello"]}' in shown.until("[l]ater: ")
        shown.type("o\n")
        assert "hello" in shown.rest()
