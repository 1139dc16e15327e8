from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from gateway_process import GatewayProcess, error_of, until

ACTIONS = ("archive", "restore", "pin", "unpin", "cancel")
EVERY_CHARACTER = "ABCXYZabcxyz0189._:@+!~=-"
FIELDS = {
    "id", "key", "kind", "state", "outcome", "parent", "agent", "title", "created_at", "updated_at",
    "due_at", "due_to", "entries", "hot_entries", "bytes", "snapshot", "pinned",
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway with two agents that keeps finished requests until they are asked for."""
    config = '[agents.main]\n[agents.other]\n[lifecycle.api]\narchive_after = "1h"\n'
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state", config=config) as running:
        yield running


@pytest.fixture(scope="module")
def listed(gateway: GatewayProcess) -> list[str]:
    """Create 25 sessions of several sorts and return their keys, newest first."""
    keys = []
    for number in range(23):
        keys.append(f"list-{number}")
        gateway.say(keys[-1], f"/echo {number}", agent="other" if number % 3 == 0 else "main")
        if number % 4 == 0:
            gateway.post(f"/api/sessions/list-{number}/archive")
    for _ in range(2):
        body = {"messages": [{"role": "user", "content": "/echo list"}]}
        keys.append(gateway.http.post("/v1/chat/completions", json=body).headers["x-tidegate-session"])
    return keys[::-1]


def keys_of(gateway: GatewayProcess, **query: Any) -> list[str]:
    """Return the keys of a list of sessions, however many pages it has."""
    pages = gateway.pages("/api/sessions", "sessions", **query)
    return [session["key"] for page in pages for session in page]


def test_a_session_shows_its_fields(gateway: GatewayProcess) -> None:
    """A session has the fields of the contract, and instants are RFC 3339 in UTC."""
    gateway.say("fields", "/echo hi")
    session = gateway.session("fields")
    assert set(session) == FIELDS
    assert session["created_at"].endswith("Z")
    assert (session["due_to"], session["pinned"], session["bytes"] > 0) == ("archived", False, True)


@pytest.mark.parametrize("limit", [1, 7, 24, 25, 1000])
def test_pages_have_no_gap_and_no_double(gateway: GatewayProcess, listed: list[str], limit: int) -> None:
    """Following `next` to its end gives every session once, newest first, whatever the page holds."""
    assert keys_of(gateway, limit=limit, q="list") == listed


def test_filters_choose(gateway: GatewayProcess, listed: list[str]) -> None:
    """Kind, state, agent and a part of key or title choose sessions; several values go with commas."""
    chats = [key for key in listed if key.startswith("list-")]
    old = [key for key in chats if int(key[5:]) % 4 == 0]
    others = [key for key in chats if int(key[5:]) % 3 == 0]
    assert keys_of(gateway, q="list", kind="chat", limit=5) == chats
    assert keys_of(gateway, q="LIST", kind="api") == listed[:2]
    assert (
        keys_of(gateway, q="list", kind="api,chat", state="completed,archived", limit=2) == listed[:2] + old
    )
    assert keys_of(gateway, agent="other", limit=3) == others
    assert keys_of(gateway, q="list-1", state="archived") == [key for key in old if key.startswith("list-1")]
    assert keys_of(gateway, kind="cron") == []
    assert keys_of(gateway, parent="list-1") == []
    assert error_of(gateway.http.get("/api/sessions", params={"parent": "nobody"})) == (
        404,
        "session_not_found",
    )


def test_runs_page_too(gateway: GatewayProcess) -> None:
    """Runs are listed newest first, page by page, of one session or in one state."""
    sent = [gateway.say("runs", f"/echo {number}")["run"] for number in range(7)][::-1]
    pages = list(gateway.pages("/api/runs", "runs", session="runs", limit=3))
    assert [run["id"] for page in pages for run in page] == sent
    assert [len(page) for page in pages] == [3, 3, 1]
    assert {run["state"] for run in gateway.get("/api/runs", state="done", limit=50)["runs"]} == {"done"}
    assert gateway.get("/api/runs", state="waiting") == {"runs": [], "next": None}
    first = gateway.pages("/api/runs", "runs", limit=4)
    assert [run["id"] for run in next(first)] == sent[:4]


def test_entries_page_through_archive_and_rows(gateway: GatewayProcess) -> None:
    """Entries come in order, without gap or double, from segments and rows alike, whatever the page holds."""
    said = []
    for part in range(3):
        for number in range(4):
            text = f"{part}.{number}"
            said += [f"/echo {text}", text]
            gateway.say("paged", f"/echo {text}")
        if part < 2:
            assert gateway.post("/api/sessions/paged/archive").status_code == 200
    path = "/api/sessions/paged/entries"
    for limit in (1, 5, 24, 100):
        pages = gateway.pages(path, "entries", "after", limit=limit)
        entries = [entry for page in pages for entry in page]
        assert [(entry["seq"], entry["text"]) for entry in entries] == list(enumerate(said, 1))
    assert [entry["seq"] for entry in gateway.get(path, after=22)["entries"]] == [23, 24]
    assert gateway.get(path, after=24) == {"entries": [], "next": None}
    assert set(gateway.get(path, limit=1)["entries"][0]) == {
        "seq", "type", "role", "text", "tool", "call_id", "is_error", "run", "created_at", "bytes", "blob",
    }  # fmt: skip


def test_pin_holds_and_unpin_lets_go(gateway: GatewayProcess) -> None:
    """A pinned session has no date, is not archived and not deleted; after an unpin it is as before."""
    gateway.say("pinned", "/echo hi")
    pinned = gateway.post("/api/sessions/pinned/pin").json()
    assert (pinned["pinned"], pinned["due_at"], pinned["due_to"]) == (True, None, None)
    assert gateway.session("pinned") == pinned
    assert error_of(gateway.post("/api/sessions/pinned/archive")) == (409, "session_pinned")
    assert error_of(gateway.http.delete("/api/sessions/pinned")) == (409, "session_pinned")
    unpinned = gateway.post("/api/sessions/pinned/unpin").json()
    assert (unpinned["pinned"], unpinned["due_to"]) == (False, "archived")
    assert gateway.post("/api/sessions/pinned/archive").json()["state"] == "archived"


def test_archive_and_restore(gateway: GatewayProcess) -> None:
    """Archiving twice is fine; restoring an archived chat makes it active, restoring an active one is 409."""
    gateway.say("moved", "/echo hi")
    archived = gateway.post("/api/sessions/moved/archive").json()
    assert (archived["state"], archived["hot_entries"], archived["entries"]) == ("archived", 0, 2)
    assert gateway.post("/api/sessions/moved/archive").json() == archived
    assert gateway.post("/api/sessions/moved/restore").json()["state"] == "active"
    assert error_of(gateway.post("/api/sessions/moved/restore")) == (409, "wrong_state")


def test_restoring_a_finished_session(gateway: GatewayProcess, listed: list[str]) -> None:
    """An ephemeral session goes from completed to archived and back, with a new date each time."""
    key = listed[0]
    assert gateway.session(key)["state"] == "completed"
    assert gateway.post(f"/api/sessions/{key}/archive").json()["due_to"] == "deleted"
    restored = gateway.post(f"/api/sessions/{key}/restore").json()
    assert (restored["state"], restored["outcome"], restored["due_to"]) == ("completed", "ok", "archived")
    assert gateway.post(f"/api/sessions/{key}/cancel").json() == restored


def test_nothing_running_is_moved(gateway: GatewayProcess) -> None:
    """Archiving or deleting a running session is 409; once it is cancelled both are possible."""
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(gateway.say, "running", "/sleep 30")
        until(lambda: gateway.http.get("/api/sessions/running").status_code == 200)
        assert error_of(gateway.post("/api/sessions/running/archive")) == (409, "session_running")
        assert error_of(gateway.http.delete("/api/sessions/running")) == (409, "session_running")
        (run,) = gateway.get("/api/runs", session="running")["runs"]
        cancelled = gateway.post(f"/api/runs/{run['id']}/cancel").json()
        assert (cancelled["state"], cancelled["outcome"]) == ("done", "cancelled")
        assert gateway.post(f"/api/runs/{run['id']}/cancel").json() == cancelled
        assert waiting.result()["run"] == run["id"]
    assert gateway.http.delete("/api/sessions/running").status_code == 200


def test_delete_answers_what_was(gateway: GatewayProcess) -> None:
    """DELETE answers the session as it was; afterwards it and all that belonged to it is 404."""
    run = gateway.say("deleted", "/echo hi")["run"]
    before = gateway.session("deleted")
    response = gateway.http.delete("/api/sessions/deleted")
    assert (response.status_code, response.json()) == (200, before)
    for method, path in (("DELETE", ""), ("GET", ""), ("GET", "/entries"), ("GET", "/events")):
        gone = gateway.http.request(method, f"/api/sessions/deleted{path}")
        assert error_of(gone) == (404, "session_not_found")
    assert error_of(gateway.http.get(f"/api/runs/{run}")) == (404, "run_not_found")
    assert gateway.say("deleted", "/echo again")["reply"] == "again"
    assert gateway.session("deleted")["entries"] == 2


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_need_a_session(gateway: GatewayProcess, action: str) -> None:
    """Every action on a session that is not there is 404, and creates nothing."""
    assert error_of(gateway.post(f"/api/sessions/nobody/{action}")) == (404, "session_not_found")
    assert gateway.http.get("/api/sessions/nobody").status_code == 404


def test_a_large_result_is_fetched_whole(gateway: GatewayProcess) -> None:
    """A large result shows a preview and a blob with its exact bytes; after deletion the blob is 404."""
    assert gateway.say("big", "/big 200000")["reply"] == "200000 bytes"
    entries = gateway.get("/api/sessions/big/entries")["entries"]
    (result,) = (entry for entry in entries if entry["type"] == "tool_result")
    assert (result["bytes"], result["blob"]["bytes"], len(result["text"]) < 64_000) == (
        200_000,
        200_000,
        True,
    )
    path = f"/api/blobs/{result['blob']['hash']}"
    response = gateway.http.get(path)
    lines = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/" * 3125
    assert (response.status_code, response.text) == (200, lines)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert gateway.http.head(path).headers["content-length"] == "200000"
    assert gateway.post("/api/sessions/big/archive").status_code == 200
    assert gateway.http.get(path).text == lines
    assert gateway.http.delete("/api/sessions/big").status_code == 200
    assert error_of(gateway.http.get(path)) == (404, "blob_not_found")


@pytest.mark.parametrize("key", [EVERY_CHARACTER, "k" * 256, "..", "cron:nightly:2026", "events"])
def test_keys_are_literal(gateway: GatewayProcess, key: str) -> None:
    """A key of every allowed character works plain and percent-encoded, and means the same."""
    encoded = "".join(f"%{ord(mark):02X}" for mark in key)
    gateway.say(encoded, "/echo hi")
    assert gateway.session(encoded)["key"] == key
    assert key in keys_of(gateway)
    if key != "..":  # clients take this one for the folder above
        assert gateway.session(quote(key, safe="~:@+!=")) == gateway.session(encoded)
    assert gateway.http.delete(f"/api/sessions/{encoded}").json()["key"] == key


@pytest.mark.parametrize(
    "key", ["k" * 257, "a%20b", "a%0A", "%00", "%C3%A4", "%FF", "a%2Fb", "a%5Cb", "%E2%80%AE"]
)
def test_other_keys_are_refused(gateway: GatewayProcess, key: str) -> None:
    """A key that is too long or has another character is 400 or 404, and creates nothing."""
    before = gateway.get("/api/status")["sessions"]
    for response in (gateway.http.get(f"/api/sessions/{key}"), gateway.send(key, "/echo hi")):
        assert error_of(response) in {(400, "bad_request"), (404, "not_found")}
    assert gateway.get("/api/status")["sessions"] == before


@pytest.mark.parametrize(
    "query",
    [
        "sessions?limit=0", "sessions?limit=-1", "sessions?limit=x", "sessions?limit=1e3", "sessions?cursor=x",
        "sessions?cursor=%00", "sessions?limit=9999999999999999999999", "sessions?kind=dog", "sessions?state=old",
        "sessions?parent=a%20b", "runs?cursor=x", "runs?cursor=-1", "runs?state=old", "runs?limit=0",
        "runs?state=done,queued", "sessions/bad/entries?after=x", "sessions/bad/entries?after=-1",
        "sessions/bad/entries?after=1.5", "sessions/bad/entries?limit=0", "sessions/bad/events?after=x",
    ],
)  # fmt: skip
def test_bad_queries_are_refused(gateway: GatewayProcess, query: str) -> None:
    """A query parameter that makes no sense is 400, not ignored."""
    gateway.say("bad", "/echo hi")
    assert error_of(gateway.http.get(f"/api/{query}")) == (400, "bad_request")


def test_a_large_limit_is_lowered(gateway: GatewayProcess) -> None:
    """A limit above 1,000 is lowered, not refused."""
    assert gateway.http.get("/api/sessions?limit=5000").status_code == 200
