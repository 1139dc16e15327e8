from collections.abc import Iterator
from itertools import product

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway_process import GatewayProcess

KINDS = ("chat", "subagent", "cron", "hook", "api")
STATES = ("created", "active", "completed", "archived")
LANES = ("interactive", "cron", "subagent")
OUTCOMES = ("ok", "failed", "cancelled", "timed_out", "interrupted")
PARTS = ["live", "main", "wal", "free", "blobs", "segments"]

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state") as running:
        yield running


def scrape(gateway: GatewayProcess) -> Series:
    """Return every series, read as Prometheus reads it."""
    response = gateway.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(response.text)
    samples = [sample for family in families for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def series(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Name one series."""
    return f"tidegate_{name}", frozenset(labels.items())


def expected() -> dict[str, list[tuple[str, frozenset[tuple[str, str]]]]]:
    """Return the series of the contract with a closed set of labels, by what they start at."""
    zero = [series("sessions", kind=kind, state=state) for kind, state in product(KINDS, STATES)]
    zero += [
        series("runs", lane=lane, state=s)
        for lane, s in product(LANES, ("queued", "running", "waiting", "done"))
    ]
    zero += [series("run_seconds_count", lane=lane, outcome=one) for lane, one in product(LANES, OUTCOMES)]
    zero += [
        series(name) for name in ("sessions_overdue", "blobs", "blob_bytes", "blob_references", "snapshots")
    ]
    zero += [
        series("refused_total", reason=reason) for reason in ("queue_full", "session_busy", "max_running")
    ]
    zero += [series("orphans", type=kind) for kind in ("entry", "segment", "blob", "run", "child")]
    present = [series("storage_bytes", part=part) for part in PARTS]
    present += [series(name) for name in ("storage_budget_bytes", "rss_bytes", "rss_slope_bytes_per_hour")]
    present += [series(f"{name}_seconds_count") for name in ("sweep", "commit", "loop_lag")]
    return {"zero": zero, "present": present}


def test_every_series_is_there_from_the_start(gateway: GatewayProcess) -> None:
    """Each series of a closed set is there before anything has happened, at zero where it counts something."""
    found = scrape(gateway)
    missing = [one for ones in expected().values() for one in ones if one not in found]
    assert missing == []
    assert {one: found[one] for one in expected()["zero"] if found[one]} == {}
    moves = [labels for name, labels in found if name == "tidegate_session_transitions_total"]
    assert {name for labels in moves for name, _ in labels} == {"from", "to", "reason"}
    assert (
        sum(value for (name, _), value in found.items() if name == "tidegate_session_transitions_total") == 0
    )


def test_the_budget_of_the_disk_is_a_number(gateway: GatewayProcess) -> None:
    """What the state may take is known without being configured, and the same everywhere; an unknown slope is NaN."""
    found, shown = scrape(gateway), gateway.get("/api/status")["disk"]
    assert 0 < found[series("storage_budget_bytes")] == shown["limit"] <= 10 << 30
    assert found[series("disk_reserve_bytes")] == shown["reserve"] == 24 << 20
    assert 0 < found[series("storage_bytes", part="live")] < shown["high"]
    assert found[series("rss_slope_bytes_per_hour")] != found[series("rss_slope_bytes_per_hour")]


def test_use_adds_no_series(gateway: GatewayProcess) -> None:
    """Labels are closed sets: whatever sessions there are and however they end, no series comes or goes."""
    before = scrape(gateway)
    gateway.say("counted", "/big 100000")
    gateway.say("archived", "/echo hi")
    for action in ("archive", "restore", "pin", "unpin", "archive"):
        assert gateway.post(f"/api/sessions/archived/{action}").status_code == 200
    for text in ("/echo once", "/echo twice"):
        body = {"messages": [{"role": "user", "content": text}]}
        assert gateway.http.post("/v1/chat/completions", json=body).status_code == 200
    assert gateway.send("x", "x" * (1 << 20) + "x").status_code == 413
    assert gateway.http.delete("/api/sessions/archived").status_code == 200
    gateway.post("/api/sweep")
    after = scrape(gateway)
    assert set(after) == set(before)
    assert len(after) <= 2_048
    assert not any("counted" in value for _, labels in after for _, value in labels)
    assert after[series("refused_total", reason="too_large")] == 1
    assert after[series("run_seconds_count", lane="interactive", outcome="ok")] == 4
    sizes = [100_000, *(skill["bytes"] for skill in gateway.get("/api/skills")["skills"] if skill["used"])]
    assert (after[series("blobs")], after[series("blob_bytes")]) == (len(sizes), sum(sizes))


def test_transitions_add_up_to_the_sessions(gateway: GatewayProcess) -> None:
    """Transitions into a state less those out of it are the sessions in it, so none goes uncounted."""
    gateway.say("moved", "/echo hi")
    gateway.post("/api/sessions/moved/archive")
    found = scrape(gateway)
    for state in STATES:
        into = out = 0.0
        for (name, labels), value in found.items():
            if name == "tidegate_session_transitions_total":
                into += value * (("to", state) in labels)
                out += value * (("from", state) in labels)
        assert into - out == sum(found[series("sessions", kind=kind, state=state)] for kind in KINDS), state


def test_status_and_metrics_agree(gateway: GatewayProcess) -> None:
    """`/api/status` shows the same counts, each kind and state present."""
    status = gateway.get("/api/status")
    found = scrape(gateway)
    shown = {
        (kind, state): count for kind, states in status["sessions"].items() for state, count in states.items()
    }
    assert set(shown) == set(product(KINDS, STATES))
    assert shown == {pair: found[series("sessions", kind=pair[0], state=pair[1])] for pair in shown}
    assert status["overdue"] == found[series("sessions_overdue")] == 0
    assert status["orphans"] == {kind: found[series("orphans", type=kind)] for kind in status["orphans"]}
    assert set(status["storage"]) == set(PARTS)
