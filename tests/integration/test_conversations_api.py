from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from command_line import CommandLine, key_of
from gateway_process import GatewayProcess, error_of, until

LONG = "x" * 3_000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run a gateway whose model reads little."""
    config = "[model]\ncontext_window = 8000\n"
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state", config=config) as running:
        yield running


def entries(gateway: GatewayProcess, key: str) -> list[dict[str, Any]]:
    """Return a whole transcript."""
    pages = gateway.pages(f"/api/sessions/{key}/entries", "entries", "after")
    return [entry for page in pages for entry in page]


def test_a_long_chat_is_compacted_by_itself(gateway: GatewayProcess) -> None:
    """Hot entries stay few, the transcript whole: every message can be read, in order, and summaries among them."""
    for number in range(30):
        gateway.say("long", f"/echo {number} {LONG}")
    found = entries(gateway, "long")

    assert [entry["seq"] for entry in found] == list(range(1, len(found) + 1))
    said = [entry["text"] for entry in found if entry["role"] == "user"]
    assert said == [f"/echo {number} {LONG}" for number in range(30)]
    summaries = [entry for entry in found if entry["type"] == "summary"]
    assert len(summaries) >= 3
    assert all(entry["text"].startswith("offline summary of") for entry in summaries)
    assert {entry["role"] for entry in summaries} == {"system"}
    assert gateway.session("long")["hot_entries"] < 20
    metrics = gateway.http.get("/metrics").text
    assert f'tidegate_compactions_total{{outcome="ok"}} {len(summaries)}.0' in metrics


def test_compact_answers_with_the_session(gateway: GatewayProcess) -> None:
    """The route answers 200 with the session after it, once for all who ask at the same time."""
    for number in range(3):
        gateway.say("asked", f"/echo {number}")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.http.post("/api/sessions/asked/compact"), range(8)))

    assert {answer.status_code for answer in answers} == {200}
    kinds = [entry["type"] for entry in entries(gateway, "asked")]
    assert 1 <= kinds.count("summary") <= 2
    assert gateway.session("asked")["hot_entries"] <= 6
    assert gateway.say("asked", "/echo on")["reply"] == "on"


def test_what_cannot_be_compacted(gateway: GatewayProcess) -> None:
    """An unknown key is 404; what is archived, or is no conversation, is 409."""
    assert error_of(gateway.http.post("/api/sessions/nobody/compact")) == (404, "session_not_found")
    gateway.say("away", "/echo x")
    gateway.post("/api/sessions/away/archive")
    assert error_of(gateway.http.post("/api/sessions/away/compact")) == (409, "wrong_state")
    body = {"messages": [{"role": "user", "content": "/echo x"}]}
    key = gateway.http.post("/v1/chat/completions", json=body).headers["x-tidegate-session"]
    for action in ("compact", "new"):
        assert error_of(gateway.http.post(f"/api/sessions/{key}/{action}")) == (409, "wrong_state")
    fork = gateway.http.post(f"/api/sessions/{key}/fork", json={"before": 1})
    assert error_of(fork) == (409, "wrong_state")


def test_new_keeps_the_old(gateway: GatewayProcess) -> None:
    """After /new the key has another session; the old one is there under the key that both name."""
    gateway.say("fresh", "/echo old")
    old = gateway.session("fresh")
    reply = gateway.say("fresh", "/new")["reply"]
    former = f"fresh~{old['id']}"

    assert former in reply
    assert gateway.session("fresh")["id"] != old["id"]
    assert (gateway.session(former)["id"], gateway.session(former)["state"]) == (old["id"], "archived")
    assert [entry["text"] for entry in entries(gateway, former)] == ["/echo old", "old"]
    answer = gateway.post("/api/sessions/fresh/new").json()
    assert answer["former"] == f"fresh~{gateway.session(answer['former'])['id']}"
    assert gateway.post("/api/sessions/fresh/new").json()["former"] is None
    assert gateway.say(former, "/echo again")["reply"] == "again"


def test_new_once(gateway: GatewayProcess) -> None:
    """A repeated /new with the same key for doing it once begins afresh once."""
    gateway.say("once", "/echo old")
    first = gateway.send("once", "/new", once="n").json()
    gateway.send("once", "/new", once="m")
    gateway.say("once", "/echo kept")
    assert gateway.send("once", "/new", once="n").json() == first
    assert [entry["text"] for entry in entries(gateway, "once")][-1] == "kept"
    assert gateway.session("once")["state"] == "active"


def test_new_for_openai_clients(gateway: GatewayProcess) -> None:
    """A named api session begins afresh and is compacted by the same messages."""
    headers = {"X-Tidegate-Session": "voice"}

    def say(text: str, instructions: str = "") -> str:
        told = [{"role": "system", "content": instructions}] if instructions else []
        body = {"messages": [*told, {"role": "user", "content": text}]}
        answer = gateway.http.post("/v1/chat/completions", json=body, headers=headers)
        return str(answer.json()["choices"][0]["message"]["content"])

    assert say("/echo a") == "a"
    assert say("/echo b") == "b"
    assert say("/compact") == "2 entries are now a summary."
    assert "voice~" in say("/new")
    assert gateway.session("voice")["kind"] == "api"
    assert say("/echo c", "be kind") == "c"
    assert say("/compact", "be kind").endswith("entries are now a summary.")
    assert "voice~" in say("/new", "be kind")


def test_edit_and_resend(gateway: GatewayProcess) -> None:
    """A fork before a question shares what came before it and answers another one; the original is untouched."""
    gateway.say("origin", "/echo one")
    gateway.say("origin", "/big 70000")
    gateway.say("origin", "/echo wrong")
    before, said = gateway.session("origin"), entries(gateway, "origin")
    seq = next(entry["seq"] for entry in said if entry["text"] == "/echo wrong")
    path = "/api/sessions/origin/fork"
    forked = gateway.http.post(path, json={"before": seq, "text": "/echo right", "key": "branch"}).json()

    assert (forked["key"], forked["kind"], forked["forked_from"]) == ("branch", "chat", "origin")
    until(lambda: gateway.get(f"/api/runs/{forked['run']}")["state"] == "done")
    shared = entries(gateway, "branch")
    plain = [{**entry, "seq": 0} for entry in said[: seq - 1]]
    assert [{**entry, "seq": 0} for entry in shared[: seq - 1]] == plain
    assert [entry["text"] for entry in shared[-2:]] == ["/echo right", "right"]
    assert (gateway.session("origin"), entries(gateway, "origin")) == (before, said)
    assert error_of(gateway.http.post(path, json={"before": 1, "key": "branch"})) == (409, "session_exists")
    assert error_of(gateway.http.post(path, json={"before": 99})) == (400, "bad_request")
    assert error_of(gateway.http.post(path, json={"before": 10**30})) == (400, "bad_request")
    assert error_of(gateway.http.post(path, json={})) == (400, "bad_json")
    assert error_of(gateway.http.post(path, json={"before": 1, "key": "no spaces"})) == (400, "bad_request")
    assert error_of(gateway.http.post(path, json={"before": 1, "text": "\0"})) == (400, "bad_text")
    assert error_of(gateway.http.post(path, json={"before": 1, "text": " /new"})) == (400, "bad_request")
    gateway.http.delete("/api/sessions/origin")
    blob = next(entry["blob"]["hash"] for entry in shared if entry["blob"])
    assert len(gateway.http.get(f"/api/blobs/{blob}").content) == 70_000
    assert sum(gateway.get("/api/status")["orphans"].values()) == 0


def test_a_stream_says_that_the_key_has_gone(gateway: GatewayProcess) -> None:
    """Who follows a session whose key goes to another one is told, and finds the new one by asking again."""
    gateway.say("followed", "/echo one")
    with gateway.http.stream("GET", "/api/sessions/followed/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        gateway.post("/api/sessions/followed/new")
        assert 'data: {"reason":"renamed"}' in lines
    gateway.say("followed", "/echo two")


def test_on_the_command_line(tidegate_up: CommandLine, request: pytest.FixtureRequest) -> None:
    """Conversations are compacted, begun afresh and branched off on the command line, and go on in a chat."""
    key = key_of(request)
    for text in ("one", "two"):
        tidegate_up.run("chat", f"/echo {text}", "--session", key)
    assert tidegate_up.run("sessions", "compact", key) == (0, f"compacted {key}\n", "")
    forked = tidegate_up.run(
        "sessions", "fork", key, "--before", "3", "--text", "/echo x", "--as", f"{key}-2"
    )
    assert forked == (0, f"forked {key} as {key}-2\n", "")
    assert tidegate_up.json("sessions", "fork", key)["forked_from"] == key
    head = tidegate_up.json("sessions", "show", key)["session"]
    assert tidegate_up.run("sessions", "new", key) == (
        0,
        f"begun afresh: {key}; what was said before stands in {key}~{head['id']}\n",
        "",
    )
    assert tidegate_up.run("sessions", "new", key) == (0, f"{key} is new already\n", "")
    assert tidegate_up.run("sessions", "compact", key) == (0, f"there is nothing to compact in {key}\n", "")
    assert tidegate_up.json("sessions", "compact", key)["sessions"][0]["compacted"] is False
    tidegate_up.run("chat", "/echo three", "--session", key)
    told = tidegate_up.run("chat", "/new", "--session", key)
    assert (told.code, told.out.startswith(f"A new conversation. What was said before stands in {key}~")) == (
        0,
        True,
    )
    assert tidegate_up.run("sessions", "fork", "nobody").code == 1


def test_a_job_does_not_begin_afresh(gateway: GatewayProcess) -> None:
    """A job whose prompt is /new is read by the model: it does not say that there is a new conversation."""
    gateway.say("kept", "/echo old")
    gateway.say("kept", "/new")
    job = {"name": "fresh", "prompt": "/new", "every": "1h", "session": "kept"}
    gateway.http.post("/api/jobs", json=job).raise_for_status()
    run = gateway.post("/api/jobs/fresh/run").json()["run"]
    until(lambda: gateway.get(f"/api/runs/{run}")["state"] == "done")
    assert "cannot answer “/new”" in entries(gateway, "kept")[-1]["text"]


def test_who_begins_afresh_at_once_shares_it(gateway: GatewayProcess) -> None:
    """Many who ask at the same time begin afresh once: what was said before stands where the new one says."""
    gateway.say("crowd", "/echo old")
    former = f"crowd~{gateway.session('crowd')['id']}"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.post("/api/sessions/crowd/new").json(), range(8)))

    assert [answer["former"] for answer in answers if answer["former"]] == [former]
    assert {answer["key"] for answer in answers} == {"crowd"}
    assert [entry["text"] for entry in entries(gateway, former)] == ["/echo old", "old"]
    assert former in entries(gateway, "crowd")[0]["text"]
