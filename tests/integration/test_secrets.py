import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from calling_hooks import KEY, written
from command_line import CommandLine
from gateway_process import TOKEN, GatewayProcess
from llm_server import LlmServer, Reply

KEY_OF_MODEL = "sk-proj-T1degate/0123+456=canary"
SIGNING = written(KEY)
CONFIG = """
[providers.own]
base_url = "{url}"
api_key_env = "OWN_KEY"
[model]
provider = "own"
name = "m"
[hooks.h]
secret_env = "SIGNING"
"""


def encoded(text: str) -> list[str]:
    """Return a text in base64, beginning at each of the three places of a group."""
    return [base64.b64encode(b"x" * before + text.encode()).decode() for before in range(3)]


def forms(secret: str) -> list[str]:
    """Return the forms in which a secret gets about; of base64 what no neighbour changes."""
    return [
        secret,
        json.dumps(secret)[1:-1],
        quote(secret, safe=""),
        *(one[4:-4] for one in encoded(secret)),
    ]


def spoken(secret: str) -> str:
    """Return all that somebody may say of a secret."""
    return " ".join(
        [secret, json.dumps(secret), quote(secret, safe=""), *encoded(f"Bearer {secret} and more")]
    )


def test_no_secret_is_written(tmp_path: Path) -> None:
    """Whoever says a secret, in whatever form: it is not in the store, the log, an answer, an export or a backup."""
    secrets = [KEY_OF_MODEL, TOKEN, SIGNING.removeprefix("whsec_")]
    said = " ".join(map(spoken, secrets))
    environment = {"OWN_KEY": KEY_OF_MODEL, "SIGNING": SIGNING}
    with LlmServer() as model:
        config = CONFIG.format(url=model.base_url)
        model.script += [
            Reply(calls=[("c1", "read_file", '{"path": "leak.txt"}')]),
            Reply(calls=[("c2", "list_files", json.dumps({"path": said}))]),
            Reply(text=f"I say {said}, cut anywhere"),
            Reply(status=401, body=f"no key {said}"),
        ]
        (tmp_path / "state/workspace").mkdir(parents=True)
        (tmp_path / "state/workspace/leak.txt").write_text(said)
        with GatewayProcess(tmp_path / "state", config=config, environment=environment) as gateway:
            line = CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN})
            answer = json.dumps(gateway.say("c", f"my key: {said}"))
            failed = gateway.http.post(
                "/v1/chat/completions",
                json={"model": "main", "messages": [{"role": "user", "content": said}]},
            ).text
            gateway.http.post("/api/memory", json={"text": f"the key is {said}"}).raise_for_status()
            job = {"name": "j", "prompt": f"use {said}", "every": "1d"}
            gateway.http.post("/api/jobs", json=job).raise_for_status()
            export = line.run("sessions", "export", "c", "--format", "jsonl").out
            assert line.run("backup", tmp_path / "copy.db").code == 0
            shown = [answer, failed, export, gateway.http.get("/api/jobs").text, gateway.log.read_text()]
    files = (*(tmp_path / "state").glob("tidegate.db*"), tmp_path / "copy.db")
    shown += [path.read_bytes().decode("latin-1") for path in files]
    assert export.count("[redacted]") >= 4 * len(secrets)
    for secret in secrets:
        for form in forms(secret):
            assert form in said
            assert [text[:80] for text in shown if form in text] == [], form


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory, provider: LlmServer) -> Iterator[GatewayProcess]:
    """Run a gateway that has secrets."""
    config = CONFIG.format(url=provider.base_url)
    environment = {"OWN_KEY": KEY_OF_MODEL, "SIGNING": SIGNING}
    state = tmp_path_factory.mktemp("streaming") / "state"
    with GatewayProcess(state, config=config, environment=environment) as running:
        yield running


@pytest.mark.parametrize("before", ["before ", "b", "a rather long text, so that it is cut elsewhere: "])
def test_a_stream_shows_no_secret(streaming: GatewayProcess, provider: LlmServer, before: str) -> None:
    """A secret that comes in pieces is in none of them, for any client; all else arrives."""
    provider.script = [Reply(text=f"{before}{KEY_OF_MODEL} after")]
    body = {"model": "main", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    with streaming.http.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: {")]
    deltas = [
        choice["delta"].get("content") or "" for line in lines for choice in json.loads(line)["choices"]
    ]
    assert "".join(deltas) == f"{before}[redacted] after"
