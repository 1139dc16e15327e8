from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_process import GatewayProcess, Json, error_of, until

CONFIG = """
[[jobs]]
name = "fixed"
cron = "0 9 * * 1-5"
timezone = "Europe/Berlin"
prompt = "/echo fixed"
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Start a gateway whose configuration has one job."""
    with GatewayProcess(tmp_path_factory.mktemp("state"), config=CONFIG) as process:
        yield process


def make(gateway: GatewayProcess, name: str, **changes: object) -> Json:
    """Make a job."""
    body = {"name": name, "prompt": "/echo hi", "every": "1h", **changes}
    response = gateway.http.post("/api/jobs", json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_a_job_of_the_configuration(gateway: GatewayProcess) -> None:
    """It is there, with every key that it has, and only the configuration changes it."""
    job = gateway.get("/api/jobs/fixed")
    assert ("config", "main", "isolated", "none") == tuple(
        job[key] for key in ("origin", "agent", "session", "deliver")
    )
    assert ("0 9 * * 1-5", "Europe/Berlin", "once", "1d") == tuple(
        job[key] for key in ("cron", "timezone", "missed", "max_lateness")
    )
    assert job["next_at"] > gateway.get("/api/jobs/fixed")["created_at"]
    changed = gateway.http.patch("/api/jobs/fixed", json={"prompt": "other"})
    assert (409, "job_in_config") == error_of(changed)
    assert (409, "job_in_config") == error_of(gateway.http.delete("/api/jobs/fixed"))
    paused = gateway.http.patch("/api/jobs/fixed", json={"paused": True}).json()
    assert (True, None) == (paused["paused"], paused["next_at"])
    assert gateway.http.patch("/api/jobs/fixed", json={"paused": False}).json()["next_at"] == job["next_at"]


def test_a_job_over_http(gateway: GatewayProcess) -> None:
    """It is made, listed, changed and removed; the history goes with it."""
    made = make(gateway, "one", deliver="chat:me")
    assert gateway.get("/api/jobs/one") == made
    assert "one" in [job["name"] for page in gateway.pages("/api/jobs", "jobs", limit=1) for job in page]
    changed = gateway.http.patch("/api/jobs/one", json={"cron": "@daily", "deliver": None}).json()
    assert ("@daily", "none", None) == (changed["cron"], changed["deliver"], changed.get("every"))
    assert (409, "job_exists") == error_of(gateway.http.post("/api/jobs", json={**wanted(), "name": "one"}))
    assert changed == gateway.http.delete("/api/jobs/one").json()
    assert (404, "job_not_found") == error_of(gateway.http.get("/api/jobs/one/firings"))
    assert (404, "job_not_found") == error_of(gateway.http.patch("/api/jobs/one", json={"paused": True}))


def wanted(**changes: object) -> Json:
    """Return the body of a job."""
    return {"name": "x", "prompt": "/echo hi", "every": "1h", **changes}


def test_run_now(gateway: GatewayProcess) -> None:
    """A job that is asked for runs at once; its answer is delivered, and the history tells of it."""
    make(gateway, "asked", deliver="chat:me")
    answer = gateway.http.post("/api/jobs/asked/run").json()
    until(lambda: gateway.get(f"/api/runs/{answer['run']}")["state"] == "done")
    (firing,) = gateway.get("/api/jobs/asked/firings")["firings"]
    assert ("fired", True, "ok", answer["run_session"]) == tuple(
        firing[key] for key in ("outcome", "asked", "result", "session")
    )
    assert [f"[job asked, session {answer['run_session']}]\nhi"] == gateway.texts("me")
    session = gateway.session(answer["run_session"])
    assert ("cron", "ok") == (session["kind"], session["outcome"])
    status = gateway.get("/api/status")
    assert status["jobs"]["active"] >= 2
    assert 'tidegate_firings_total{outcome="fired"} 1.0' in gateway.http.get("/metrics").text


def test_it_still_runs(gateway: GatewayProcess) -> None:
    """A job that may not overlap is refused while it runs; removing it ends what it has running."""
    make(gateway, "long", prompt="/sleep 600")
    answer = gateway.http.post("/api/jobs/long/run").json()
    assert (409, "job_running") == error_of(gateway.http.post("/api/jobs/long/run"))
    gateway.http.delete("/api/jobs/long")
    assert "cancelled" == gateway.get(f"/api/runs/{answer['run']}")["outcome"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"every": "10s"}, "every: must be at least 1m"),
        ({"every": None}, "it has no time"),
        ({"cron": "@daily"}, "every and cron exclude each other"),
        ({"every": None, "cron": "* * *"}, "'* * *' is no cron expression"),
        ({"every": None, "cron": "0 0 30 2 *"}, "bad day-of-month"),
        ({"every": None, "cron": "@daily", "timezone": "Mars/Here"}, "there is no time zone 'Mars/Here'"),
        ({"every": None, "at": "tomorrow"}, "'tomorrow' is no instant"),
        ({"every": None, "at": "2026-12-01T09:00:00"}, "is no instant"),
        ({"every": None, "at": "2020-01-01T00:00:00Z"}, "is over"),
        ({"name": "Über"}, "is no name for a job"),
        ({"name": "../x"}, "is no name for a job"),
        ({"prompt": " "}, "it says nothing"),
        ({"prompt": "x" * 70_000}, "64 KiB"),
        ({"deliver": "mail:me"}, "is no target"),
        ({"deliver": "webhook:nope"}, "there is no webhook 'nope'"),
        ({"deliver": "chat:a b"}, "is no target"),
        ({"session": "a b"}, "cannot be a session key"),
        ({"session": "me", "deliver": "chat:me"}, "is for isolated sessions"),
        ({"jitter": "2h"}, "jitter: must be at most 1h"),
        ({"alert_after": 0}, "alert_after: must be at least 1"),
        ({"allow_tools": ["no_such"]}, "has no tool 'no_such'"),
        ({"missed": "twice"}, "missed"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_nonsense_is_refused(gateway: GatewayProcess, changes: Json, says: str) -> None:
    """What makes no sense is refused with the key and the reason, and nothing is made."""
    body = {key: value for key, value in wanted(**changes).items() if value is not None}
    response = gateway.http.post("/api/jobs", json=body)
    assert 400 == response.status_code
    assert says in response.json()["error"]["message"]
    assert 404 == gateway.http.get("/api/jobs/x").status_code


@pytest.mark.parametrize("name", ["nope", "%ED%A0%80", "%00", "a" * 300, "..", "%2e%2e%2fx"])
def test_no_such_job(gateway: GatewayProcess, name: str) -> None:
    """Whatever name is asked for, it is a clean 404."""
    for response in (
        gateway.http.get(f"/api/jobs/{name}/firings"),
        gateway.http.post(f"/api/jobs/{name}/run"),
        gateway.http.request("PATCH", f"/api/jobs/{name}/", json={"paused": True}),
    ):
        assert 404 == response.status_code


@pytest.mark.parametrize("query", [{"cursor": "Ü"}, {"cursor": "\ud800"}, {"limit": "0"}, {"limit": "x"}])
def test_wrong_pages(gateway: GatewayProcess, query: Json) -> None:
    """A page that cannot be is refused."""
    query = {key: value.encode(errors="surrogatepass") for key, value in query.items()}
    assert 400 == gateway.http.get("/api/jobs", params=query).status_code


def test_an_agent_that_is_not_there(gateway: GatewayProcess) -> None:
    """A job needs an agent that there is."""
    assert (404, "model_not_found") == error_of(gateway.http.post("/api/jobs", json=wanted(agent="nobody")))


def test_the_configuration_at_a_start(tmp_path: Path) -> None:
    """Jobs that were taken out of the file are gone after a start, those over HTTP stay; a wrong tool stops it."""
    gateway = GatewayProcess(tmp_path / "state", config=CONFIG)
    with gateway:
        make(gateway, "mine")
    (gateway.state / "tidegate.toml").write_text(CONFIG.replace("fixed", "new"))
    with gateway:
        assert ["mine", "new"] == [job["name"] for job in gateway.get("/api/jobs")["jobs"]]
