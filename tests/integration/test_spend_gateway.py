"""Money that holds, and an owner who is told, in a whole gateway with a scripted provider and a real receiver."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway_process import TOKEN, GatewayProcess, environment, error_of, until
from llm_server import USAGE, LlmServer, Reply
from receiver import Delivered, Receiver
from tidegate import signature
from tidegate.signature import Signed

SECRET = base64.b64encode(b"s" * 32).decode()
ANSWER = 0.018  # dollars: 18 tokens at 1,000 dollars a million


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """Run a scripted provider."""
    with LlmServer() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run somebody who is told."""
    with Receiver() as running:
        yield running


def config(server: LlmServer, more: str = "", *, price: str = "input = 1000\noutput = 1000") -> str:
    """Return a configuration with a model that has a price."""
    return f"""
[model]
provider = "openai"
name = "tiny"
base_url = "{server.base_url}"
{'[prices."tiny"]' if price else ""}
{price}
[[jobs]]
name = "daily"
prompt = "hello"
cron = "0 0 29 2 *"
{more}
"""


def alerts(receiver: Receiver) -> str:
    """Return a configuration of who is told."""
    return f"""
[alerts]
webhook = "me"
chat = "ops"
[egress]
allow = ["127.0.0.1"]
[webhooks.me]
url = "{receiver.url}"
secret_env = "TOLD"
"""


def gateway(state: Path, text: str) -> GatewayProcess:
    """Return a gateway that has what it needs."""
    return GatewayProcess(state, config=text, environment={"OPENAI_API_KEY": "k", "TOLD": f"whsec_{SECRET}"})


def spend(running: GatewayProcess) -> dict[str, Any]:
    """Return what the status says of money."""
    return dict(running.get("/api/status")["spend"])


def cli(running: GatewayProcess, *args: str) -> str:
    """Return what a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", *args, "--state", str(running.state)],
        capture_output=True,
        timeout=20,
        env=environment({"TIDEGATE_TOKEN": TOKEN}),
        check=True,
    )
    return done.stdout.decode()


def test_a_budget_holds(server: LlmServer, tmp_path: Path) -> None:
    """Over the limit jobs and API sessions are refused with its own code, and a chat is answered."""
    with gateway(tmp_path / "state", config(server, "[limits]\nspend = 0.02")) as running:
        assert running.say("c", "one")["reply"] == "ok"
        assert (ANSWER, "tight") == (spend(running)["today"], spend(running)["level"])
        assert running.post("/api/jobs/daily/run").status_code == 200
        until(lambda: spend(running)["level"] == "critical")

        refused = running.post("/api/jobs/daily/run")
        assert (429, "spend_short") == error_of(refused)
        assert 0 < int(refused.headers["retry-after"]) <= 3_601
        request = {"model": "main", "messages": [{"role": "user", "content": "x"}]}
        assert running.http.post("/v1/chat/completions", json=request).status_code == 429
        assert running.say("c", "two")["reply"] == "ok"
        assert running.say("new", "three")["reply"] == "ok"
        assert "critical, 0.0720 of 0.0200 dollars today" in cli(running, "status")
        scraped = running.http.get("/metrics").text
        assert 'tidegate_refused_total{reason="spend_short"} 2.0' in scraped
        assert "tidegate_spend_today_dollars 0.072" in scraped


def test_a_killed_gateway_counts_each_answer_once(server: LlmServer, tmp_path: Path) -> None:
    """Killed between an answer and the next step, it goes on with that answer, and with what it cost, once."""
    with gateway(tmp_path / "state", config(server, "[limits]\nspend = 1")) as running:
        server.script = [
            Reply(calls=[("1", "session_status", "{}")]),
            Reply(text="half", end="hang"),
            Reply(text="done"),
        ]
        run = running.send("c", "go").json()["run"]
        until(lambda: len(server.requests) == 2)
        assert spend(running)["today"] == ANSWER
        running.kill()
        running.start()
        until(lambda: running.get(f"/api/runs/{run}")["state"] == "done")
        found = spend(running)

    assert (2 * ANSWER, 3) == (found["today"], len(server.requests))


def test_an_agent_that_is_short(server: LlmServer, tmp_path: Path) -> None:
    """The status says whose limit is reached: an agent's, while the gateway has money left."""
    more = "[limits]\nspend = 5\n[agents.main]\nspend = 0.01"
    with gateway(tmp_path / "state", config(server, more)) as running:
        running.say("c", "one")
        until(lambda: spend(running)["level"] == "critical")
        assert spend(running)["gateway_level"] == "normal"
        said = cli(running, "status")
        assert "normal, 0.0180 of 5.00 dollars today; agent main critical, 0.0180 of 0.0100" in said


def test_a_provider_that_counts_oddly(
    server: LlmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a library has to say of it is not kept: Python keeps each different warning for ever."""
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    monkeypatch.setitem(USAGE, "prompt_tokens", 11.25)
    with gateway(tmp_path / "state", config(server)) as running:
        assert running.say("c", "one")["reply"] == "ok"
    assert "Warning" not in running.log.read_text()


def test_what_has_no_price_is_shown(server: LlmServer, tmp_path: Path) -> None:
    """A model whose price nobody knows counts as none, and status and metrics say so."""
    with gateway(tmp_path / "state", config(server, "[limits]\nspend = 1", price="")) as running:
        running.say("c", "one")
        found = spend(running)
        assert (0, 1, ["tiny"], "normal") == tuple(
            found[key] for key in ("today", "unpriced", "unpriced_models", "level")
        )
        assert "1 answer is unpriced (tiny)" in cli(running, "status")
        assert "tidegate_unpriced_answers_total 1.0" in running.http.get("/metrics").text


def test_what_came_from_a_cache(server: LlmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the provider read from its cache costs what that costs."""
    monkeypatch.setitem(USAGE, "prompt_tokens_details", {"cached_tokens": 6})
    price = "input = 1000\noutput = 100\ncached_input = 10"
    with gateway(tmp_path / "state", config(server, price=price)) as running:
        running.say("c", "one")
        assert spend(running)["today"] == (5 * 1_000 + 6 * 10 + 7 * 100) / 1_000_000


def test_an_answer_that_breaks_off(server: LlmServer, tmp_path: Path) -> None:
    """Half an answer, of which the provider has not told what it took, costs what is estimated, and says so."""
    with gateway(tmp_path / "state", config(server)) as running:
        server.script = [Reply(text="half an answer", end="cut")]
        run = running.send("c", "go").json()["run"]
        until(lambda: running.get(f"/api/runs/{run}")["state"] == "done")
        assert spend(running)["unpriced"] == 0
        assert 0 < spend(running)["today"] < 5
        marks = [entry.get("estimated", False) for entry in running.get("/api/sessions/c/entries")["entries"]]
        assert marks == [False, True, False]
        running.say("c", "/echo whole")
        assert "estimated" not in running.get("/api/sessions/c/entries")["entries"][-1]


def test_the_owner_is_told(server: LlmServer, receiver: Receiver, tmp_path: Path) -> None:
    """At 80 % and at 100 % of the limit the webhook gets a signed alert each, and the chat a notice; no more come."""
    text = config(server, f"[limits]\nspend = 0.04\n{alerts(receiver)}")
    with gateway(tmp_path / "state", text) as running:
        levels: list[str] = []
        for _ in range(3):
            running.say("c", "a secret plan")
            if spend(running)["level"] != "normal" and len(levels) < 2:
                levels.append(alert(receiver.wait())["level"])
        assert running.texts("ops")[-1].startswith(
            "[spend critical] the gateway has spent 0.0540 of 0.0400 dollars today"
        )
        report = running.get("/api/status")["alerts"]

    assert ["tight", "critical"] == levels
    assert (2, 0, 0) == tuple(report[key] for key in ("told", "failed", "untold"))
    assert "secret" not in "".join(delivered.body.decode() for delivered in receiver.delivered)


def alert(delivered: Delivered) -> dict[str, Any]:
    """Return what was told, after its signature has been verified."""
    headers = delivered.headers
    signed = Signed(
        id=headers["webhook-id"],
        timestamp=headers["webhook-timestamp"],
        signature=headers["webhook-signature"],
    )
    signature.verify([b"s" * 32], signed, delivered.body, int(headers["webhook-timestamp"]))
    message = json.loads(delivered.body)
    assert ("alert", {"event", "level", "subject", "text", "setting"}) == (
        message["type"],
        set(message["data"]),
    )
    return dict(message["data"])


def test_the_summary(server: LlmServer, tmp_path: Path) -> None:
    """One line tells what came and went, how memory is, and what it has cost; the command prints that line."""
    with gateway(tmp_path / "state", config(server)) as running:
        running.say("c", "one")
        running.say("d", "two")
        assert running.http.delete("/api/sessions/d").status_code == 200
        found = running.get("/api/growth/summary")
        line = cli(running, "growth", "summary")

    assert (2, 1, 2 * ANSWER) == (found["came"], found["went"], found["spend"])
    assert "2 sessions came and 1 went" in line
    assert "0.0360 dollars" in line


def test_the_limit_of_a_job_over_http(server: LlmServer, tmp_path: Path) -> None:
    """A job over HTTP has its limit in dollars, as a number or as text; null takes it away, and nonsense is refused."""
    with gateway(tmp_path / "state", config(server)) as running:
        job = {"name": "x", "prompt": "hi", "every": "1h", "spend": 0.5}
        assert running.http.post("/api/jobs", json=job).json()["spend"] == 0.5
        assert running.http.patch("/api/jobs/x", json={"spend": "0.75"}).json()["spend"] == 0.75
        refused = running.http.patch("/api/jobs/x", json={"spend": -1})
        assert (400, "bad_request") == error_of(refused)
        assert "spend" not in running.http.patch("/api/jobs/x", json={"spend": None}).json()
