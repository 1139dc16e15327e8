"""A budget on the disk that is far too small for what comes in, on a real gateway."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway_process import GatewayProcess, Json, error_of

pytestmark = pytest.mark.serial

LIMIT = 16 << 20
CONFIG = '[limits]\ndisk = "16MB"\n'
ROUND = 4
FLOOD_S = 16.0


def ask(gateway: GatewayProcess) -> tuple[int, str]:
    """Ask for an answer without naming a session; an answer that is given has to be whole."""
    text = os.urandom(100_000).hex()
    body = {"model": "main", "messages": [{"role": "user", "content": f"/echo {text}"}]}
    answer = gateway.http.post("/v1/chat/completions", json=body)
    if answer.status_code != 200:
        return answer.status_code, answer.json()["error"]["code"]
    assert text == answer.json()["choices"][0]["message"]["content"]
    return 200, ""


def flood(gateway: GatewayProcess, counts: Counter[tuple[int, str]]) -> Json:
    """Ask for some answers, see that a person gets one too, and return how the budget stands."""
    counts.update(ask(gateway) for _ in range(ROUND))
    assert "still" == gateway.say("mine", "/echo still")["reply"]
    shown: Json = gateway.get("/api/status")["disk"]
    assert shown["live"] < LIMIT
    return shown


def test_a_flood_stays_within_the_budget(tmp_path: Path) -> None:
    """The oldest go, each refusal is a 429, people are answered throughout, also after a kill."""
    counts: Counter[tuple[int, str]] = Counter()
    gateway = GatewayProcess(tmp_path / "state", config=CONFIG)
    with gateway:
        gateway.say("mine", "/echo first")
        ends_at = time.monotonic() + FLOOD_S
        while not flood(gateway, counts)["evicted"]["api"]:
            assert time.monotonic() < ends_at
        gateway.signal(signal.SIGKILL)
        gateway.process.wait()
    with gateway:
        flood(gateway, counts)
        status = gateway.get("/api/status")

        assert {(200, ""), (429, "disk_short")} >= counts.keys()
        assert "/echo first" == gateway.texts("mine")[0]
        assert 0 == sum(status["orphans"].values())


def test_at_the_limit_reads_and_deletes_go_on(tmp_path: Path) -> None:
    """Chats alone fill the budget: none of them goes, writing is refused, reading and deleting are not."""
    with GatewayProcess(tmp_path / "state", config=CONFIG) as gateway:
        number = 0
        while (answer := gateway.send(f"c{number}", os.urandom(400_000).hex())).status_code == 202:
            number += 1
        refused = error_of(answer)
        api = ask(gateway)
        read = gateway.http.get("/api/sessions/c0/entries").status_code
        status = gateway.get("/api/status")
        for gone in range(number // 2):
            assert 200 == gateway.http.delete(f"/api/sessions/c{gone}").status_code

        assert (507, "disk_budget") == refused == api
        assert 200 == read
        assert number == sum(status["sessions"]["chat"].values())
        assert "critical" == status["disk"]["level"]
        assert "back" == gateway.say("d", "/echo back")["reply"]
