from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from gateway_process import GatewayProcess, error_of, until

MIB = 1 << 20


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway with two agents."""
    state = tmp_path_factory.mktemp("gateway") / "state"
    with GatewayProcess(state, config="[agents.main]\n[agents.other]\n") as running:
        yield running


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway that queues little."""
    state = tmp_path_factory.mktemp("small") / "state"
    with GatewayProcess(state, config="[runs]\nsession_queue = 3\nslots = 1\nqueue = 4\n") as running:
        yield running


def complete(gateway: GatewayProcess, text: str, **headers: str) -> tuple[int, str, str]:
    """Ask once over the OpenAI route; return status, the answer or the error's code, and the session's key."""
    body = {"messages": [{"role": "user", "content": text}]}
    response = gateway.http.post("/v1/chat/completions", json=body, headers=headers)
    answer = response.json()
    said = answer["error"]["code"] if "error" in answer else answer["choices"][0]["message"]["content"]
    return response.status_code, said, response.headers.get("x-tidegate-session", "")


def test_a_message_is_kept_at_once(gateway: GatewayProcess) -> None:
    """Without `wait` the answer is 202 with the run's id and the session's key, and the run can be looked at."""
    response = gateway.send("kept", "/echo hi")
    answer = response.json()
    assert (response.status_code, set(answer), answer["session"]) == (202, {"run", "session"}, "kept")
    assert gateway.get(f"/api/runs/{answer['run']}")["session"] == "kept"


def test_waiting_brings_the_reply(gateway: GatewayProcess) -> None:
    """With `wait=1` the answer is 200 with run, session and reply, once the run is done."""
    answer = gateway.say("waits", "/echo tides  turn")
    assert answer == {"run": answer["run"], "session": "waits", "reply": "tides  turn"}
    run = gateway.get(f"/api/runs/{answer['run']}")
    assert (run["state"], run["outcome"], run["origin"], run["lane"]) == (
        "done",
        "ok",
        "message",
        "interactive",
    )


def test_a_failed_run_answers_all_the_same(gateway: GatewayProcess) -> None:
    """A run that is cancelled ends the wait with 200, an empty reply, and what became of it."""
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(gateway.say, "cancelled", "/sleep 30")
        until(lambda: gateway.http.get("/api/sessions/cancelled").status_code == 200)
        assert gateway.post("/api/sessions/cancelled/cancel").status_code == 200
        assert (waiting.result()["reply"], waiting.result()["outcome"]) == ("", "cancelled")


def test_an_unknown_key_becomes_a_chat(gateway: GatewayProcess) -> None:
    """The first message to a key creates a chat of the first agent, titled after the message."""
    gateway.say("new", "/echo the   first\nwords")
    session = gateway.session("new")
    expected = ("chat", "active", "main", "/echo the first words", 2, None)
    found = (
        session["kind"],
        session["state"],
        session["agent"],
        session["title"],
        session["entries"],
        session["parent"],
    )
    assert found == expected


def test_the_agent_is_settled_at_birth(gateway: GatewayProcess) -> None:
    """A session belongs to the agent it began with; naming another one is 409, an unknown one 404."""
    gateway.say("of-other", "/echo hi", agent="other")
    assert gateway.session("of-other")["agent"] == "other"
    assert gateway.say("of-other", "/echo again")["reply"] == "again"
    path = "/api/sessions/of-other/messages"
    wrong = gateway.http.post(path, json={"text": "x", "agent": "main"})
    assert error_of(wrong) == (409, "agent_mismatch")
    unknown = gateway.http.post("/api/sessions/fresh/messages", json={"text": "x", "agent": "nobody"})
    assert error_of(unknown) == (404, "model_not_found")
    assert gateway.http.get("/api/sessions/fresh").status_code == 404


def test_an_idempotency_key_holds(gateway: GatewayProcess) -> None:
    """Same key and body is the same run; another body is 409; another session is another scope."""
    first = gateway.send("once", "/echo one", once="k1").json()
    assert gateway.send("once", "/echo one", once="k1").json() == first
    assert gateway.send("once", "/echo one", once="k1", wait=1).json()["reply"] == "one"
    assert error_of(gateway.send("once", "/echo two", once="k1")) == (409, "idempotency_key_reused")
    assert gateway.send("once-more", "/echo two", once="k1").status_code == 202
    assert gateway.texts("once") == ["/echo one", "one"]


def test_what_was_done_stays_done(gateway: GatewayProcess) -> None:
    """Once its session is deleted a repeat is 409 `already_done`, and the session is not created again."""
    assert gateway.send("gone", "/echo one", once="k", wait=1).status_code == 200
    assert gateway.http.delete("/api/sessions/gone").status_code == 200
    assert error_of(gateway.send("gone", "/echo one", once="k")) == (409, "already_done")
    assert gateway.http.get("/api/sessions/gone").status_code == 404


@pytest.mark.parametrize("key", ["", "a b", "k" * 257, "a\tb"])
def test_an_odd_idempotency_key_is_refused(gateway: GatewayProcess, key: str) -> None:
    """An idempotency key is 1 to 256 visible ASCII characters."""
    assert error_of(gateway.send("odd", "x", once=key)) == (400, "bad_request")


def test_completions_are_idempotent_too(gateway: GatewayProcess) -> None:
    """On the OpenAI route the same key answers from the same session; another body or a deleted one is 409."""
    headers = {"Idempotency-Key": "c1"}
    first = complete(gateway, "/echo one", **headers)
    assert first[:2] == (200, "one")
    assert complete(gateway, "/echo one", **headers) == first
    assert complete(gateway, "/echo two", **headers)[:2] == (409, "idempotency_key_reused")
    assert gateway.http.delete(f"/api/sessions/{first[2]}").status_code == 200
    assert complete(gateway, "/echo one", **headers)[:2] == (409, "already_done")


@pytest.mark.parametrize(
    ("size", "status"), [(MIB, 202), (MIB + 1, 413)], ids=["one mebibyte", "a byte more"]
)
def test_a_message_has_at_most_a_mebibyte(gateway: GatewayProcess, size: int, status: int) -> None:
    """A text of 1 MiB is taken and kept exactly; a byte more is 413."""
    key, text = f"large-{size}", "ä" * (size // 2) + "x" * (size % 2)
    response = gateway.send(key, text, wait=0)
    assert response.status_code == status
    if status == 413:
        assert error_of(response) == (413, "too_large")
        return
    entry = until(lambda: gateway.get(f"/api/sessions/{key}/entries")["entries"])[0]
    assert (entry["bytes"], entry["blob"]["bytes"]) == (size, size)
    assert gateway.http.get(f"/api/blobs/{entry['blob']['hash']}").text == text


def test_a_finished_session_takes_nothing_more(gateway: GatewayProcess) -> None:
    """A message to an ephemeral session that has completed is 409."""
    _, _, key = complete(gateway, "/echo once")
    assert gateway.session(key)["outcome"] == "ok"
    assert error_of(gateway.send(key, "more")) == (409, "session_finished")


def test_an_archived_chat_is_carried_on(gateway: GatewayProcess) -> None:
    """The next message restores an archived chat; every entry, old and new, is there in order."""
    for number in range(3):
        gateway.say("resumed", f"/echo {number}")
    assert gateway.post("/api/sessions/resumed/archive").json()["state"] == "archived"
    gateway.say("resumed", "/echo 3")
    session = gateway.session("resumed")
    assert (session["state"], session["entries"], session["hot_entries"]) == ("active", 8, 2)
    said = [text for number in range(4) for text in (f"/echo {number}", str(number))]
    assert gateway.texts("resumed") == said
    entries = gateway.get("/api/sessions/resumed/entries")["entries"]
    assert [entry["seq"] for entry in entries] == list(range(1, 9))


def test_a_session_answers_one_at_a_time(gateway: GatewayProcess) -> None:
    """Messages that arrive while one is answered wait their turn, and are answered in the order of arrival."""
    gateway.send("queue", "/sleep 0.2")
    for number in range(9):
        assert gateway.send("queue", f"/echo {number}").status_code == 202
    gateway.say("queue", "/echo 9")
    entries = gateway.get("/api/sessions/queue/entries")["entries"]
    said = [entry["text"] for entry in entries if entry["role"] == "user"]
    assert said == ["/sleep 0.2", *(f"/echo {number}" for number in range(10))]
    runs = [entry["run"] for entry in entries]
    assert sum(run != following for run, following in pairwise(runs)) == 10


def test_a_full_session_refuses(small: GatewayProcess) -> None:
    """Above `session_queue` open messages the next is 429 with Retry-After; once there is room it is taken."""
    sent = [small.send("full", text) for text in ("/sleep 30", "/echo 1", "/echo 2")]
    assert [response.status_code for response in sent] == [202] * 3
    refused = small.send("full", "/echo 3")
    assert error_of(refused) == (429, "session_busy")
    assert int(refused.headers["retry-after"]) >= 1
    assert small.post("/api/sessions/full/cancel").status_code == 200
    assert small.say("full", "/echo 3")["reply"] == "3"
    assert [text for text in small.texts("full") if text.startswith("/")] == [
        "/sleep 30",
        "/echo 1",
        "/echo 2",
        "/echo 3",
    ]


def test_a_full_lane_refuses(small: GatewayProcess) -> None:
    """Above `queue` waiting messages in all sessions the next is 429; it leaves no session behind."""
    assert small.send("lane-0", "/sleep 30").status_code == 202
    until(lambda: small.session("lane-0")["state"] == "active")
    for number in range(1, 5):
        assert small.send(f"lane-{number}", "/echo hi").status_code == 202
    assert error_of(small.send("lane-5", "/echo hi")) == (429, "queue_full")
    assert small.http.get("/api/sessions/lane-5").status_code == 404
    for number in range(5):
        assert small.post(f"/api/sessions/lane-{number}/cancel").status_code == 200
