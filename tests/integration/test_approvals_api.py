from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

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


def complete(gateway: GatewayProcess, text: str, key: str = "", *, stream: bool = False) -> str:
    """Ask as an OpenAI client does that repeats what it may, and return the text of the answer."""
    client = OpenAI(
        base_url=f"{gateway.url}/v1",
        api_key=TOKEN,
        max_retries=3,
        http_client=httpx.Client(trust_env=False, timeout=20),
        default_headers={"X-Tidegate-Session": key} if key else {},
    )
    with client:
        asked: Any = {"model": "main", "messages": [{"role": "user", "content": text}]}
        if not stream:
            return str(client.chat.completions.create(**asked).choices[0].message.content)
        pieces = client.chat.completions.create(**asked, stream=True)
        return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_without_a_session_is_refused_in_words(gateway: GatewayProcess, *, stream: bool) -> None:
    """Nobody waits: the answer says what to allow; however often it is asked, there is one question and no retry."""
    for number in range(1, 3):
        told = complete(gateway, "/run echo hello", stream=stream)
        assert "`tidegate approvals list`" in told
        runs = gateway.get("/api/runs")["runs"]
        assert [run["outcome"] for run in runs] == ["ok"] * number
    (question,) = gateway.get("/api/approvals")["approvals"]
    assert (question["state"], question["run"]) == ("pending", None)
    gateway.http.post(f"/api/approvals/{question['id']}", json={"decision": "once"})
    for _ in range(2):  # for a quarter of an hour, however often
        assert "hello" in complete(gateway, "/run echo hello", stream=stream)
    assert "`tidegate approvals list`" in complete(gateway, "/run echo other", stream=stream)
    assert gateway.get("/api/status")["orphans"] == dict.fromkeys(gateway.get("/api/status")["orphans"], 0)


def test_a_call_that_was_denied_stays_so_for_a_while(gateway: GatewayProcess) -> None:
    """What the owner has denied is not asked again by the next request."""
    complete(gateway, "/run echo hello")
    (question,) = gateway.get("/api/approvals")["approvals"]
    gateway.http.post(f"/api/approvals/{question['id']}", json={"decision": "deny"})
    assert "denied" in complete(gateway, "/run echo hello")
    assert len(gateway.get("/api/approvals")["approvals"]) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_named_session_waits_and_says_so(gateway: GatewayProcess, *, stream: bool) -> None:
    """The answer says that it waits; a repeat joins it; the next message finds what became of the call."""
    for _ in range(2):
        assert "needs the owner's word" in complete(gateway, "/run echo hello", "app", stream=stream)
    (run,) = gateway.get("/api/runs")["runs"]
    assert run["state"] == "waiting"
    assert "The message is kept" in complete(gateway, "/echo next", "app", stream=stream)
    (question,) = gateway.get("/api/approvals")["approvals"]
    gateway.http.post(f"/api/approvals/{question['id']}", json={"decision": "once"})
    run_of(gateway, question)
    assert complete(gateway, "/echo after", "app", stream=stream) == "after"
    texts = gateway.texts("app")
    assert [text for text in texts if text.startswith("/")] == [
        "/run echo hello",
        "/echo next",
        "/echo after",
    ]
    assert any("hello" in text for text in texts[1:4])


def test_questions_of_an_agent_are_bounded(gateway: GatewayProcess) -> None:
    """One agent cannot fill the room that all agents share with its questions."""
    for number in range(101):
        body = {"messages": [{"role": "user", "content": f"/run echo {number}"}]}
        assert gateway.http.post("/v1/chat/completions", json=body).status_code == 200
    assert len(gateway.get("/api/approvals", limit=1000)["approvals"]) == 100
    entries = gateway.get("/api/sessions", kind="api", limit=1)["sessions"]
    assert "too many calls wait" in str(gateway.texts(entries[0]["key"]))


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
