import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from command_line import CommandLine
from gateway_process import TOKEN, WAIT_S, GatewayProcess, until

pytestmark = pytest.mark.serial

MIB = 1 << 20
SESSIONS = 160
AT_ONCE = 64
LARGE = "x" * 100_000
HELD = 240
BODY_BYTES = 64 << 10
TURN = {"messages": [{"role": "user", "content": "/echo hi"}]}


class Crowd:
    """Sessions that arrive fast, and a person who talks meanwhile."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.sessions: list[httpx.Response] = []
        self.chats: list[int] = []
        self._http = httpx.AsyncClient(
            base_url=gateway.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            limits=httpx.Limits(max_connections=AT_ONCE + 1),
            timeout=WAIT_S,
            trust_env=False,
        )

    async def come(self) -> None:
        """Let everybody come."""
        numbers = iter(range(SESSIONS))
        async with self._http, asyncio.TaskGroup() as tasks:
            talking = tasks.create_task(self._talk())
            async with asyncio.TaskGroup() as crowd:
                for _ in range(AT_ONCE):
                    crowd.create_task(self._arrive(numbers))
            talking.cancel()

    async def _arrive(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            text = f"/echo {number} {LARGE if number % 3 == 0 else ''}"
            body = {"messages": [{"role": "user", "content": text}]}
            self.sessions.append(await self._http.post("/v1/chat/completions", json=body))

    async def _talk(self) -> None:
        while True:
            answer = await self._http.post("/api/sessions/me/messages?wait=1", json={"text": "/echo hi"})
            self.chats.append(answer.status_code)
            await asyncio.sleep(0.05)


def test_a_crowd_in_little_memory(tmp_path: Path) -> None:
    """In 256 MiB of address space a crowd kills nothing: each refusal is a 429 with a time, and chats are answered."""
    config = '[limits]\nmemory = "128MB"\n'
    with GatewayProcess(tmp_path / "state", config=config, address_bytes=256 * MIB) as gateway:
        crowd = Crowd(gateway)
        asyncio.run(crowd.come())

        codes = Counter(answer.status_code for answer in crowd.sessions)
        assert SESSIONS == sum(codes.values())
        assert set() == codes.keys() - {200, 429}
        assert all(
            answer.headers.get("retry-after") for answer in crowd.sessions if answer.status_code == 429
        )
        assert {200} == set(crowd.chats)
        assert (128 * MIB) == gateway.get("/api/status")["pressure"]["memory_limit_bytes"]


def level(gateway: GatewayProcess) -> str:
    """Return the level."""
    return str(gateway.get("/api/status")["level"])


@contextmanager
def unfinished(gateway: GatewayProcess) -> Iterator[None]:
    """Keep a request open whose body lacks its last byte."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Length: {BODY_BYTES}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as line:
        line.sendall(head.encode() + b"x" * (BODY_BYTES - 1))
        yield


def test_memory_that_is_taken_moves_the_level(tmp_path: Path) -> None:
    """Bodies that are under way make it critical: no new sessions, chats answered; when they go, the level falls."""
    state = tmp_path / "state"
    with GatewayProcess(state) as gateway:
        gateway.say("me", "/echo warm")
        idle = int(gateway.get("/api/status")["pressure"]["memory_bytes"])
    (state / "tidegate.toml").write_text(f'[limits]\nmemory = "{int(idle / 0.72)}B"\n')
    with gateway, ExitStack() as held:
        before = level(gateway)
        for _ in range(HELD):
            held.enter_context(unfinished(gateway))
        until(lambda: level(gateway) == "critical")
        refused = gateway.http.post("/v1/chat/completions", json=TURN)
        answered = gateway.say("me", "/echo still here")
        held.close()
        until(lambda: level(gateway) != "critical")

        assert "critical" != before
        assert (429, "memory_short") == (refused.status_code, refused.json()["error"]["code"])
        assert int(refused.headers["retry-after"]) > 0
        assert "still here" == answered["reply"]
        metrics = gateway.http.get("/metrics").text
        assert 'tidegate_level_changes_total{level="critical",reason="memory"} 1.0' in metrics
        assert 'tidegate_refused_total{reason="memory_short"} 1.0' in metrics


def test_what_is_told_at_the_worst(tmp_path: Path) -> None:
    """A gateway whose limit is below what it needs holds back everything but chats, and says so everywhere."""
    with GatewayProcess(tmp_path / "state", config='[limits]\nmemory = "10MB"\n') as gateway:
        until(lambda: level(gateway) == "critical")
        answered = gateway.say("me", "/echo hi")
        hints = gateway.http.post("/v1/chat/completions", json=TURN).json()["error"]["message"]
        found, shown = (
            CommandLine(gateway.state, {"TIDEGATE_TOKEN": TOKEN}).run(name).out
            for name in ("doctor", "status")
        )

        assert "hi" == answered["reply"]
        assert "raise memory in [limits]" in hints
        assert "ok   I12" in found
        assert "critical" in next(line for line in shown.splitlines() if line.startswith("level"))
        metrics = gateway.http.get("/metrics").text
        assert "tidegate_memory_level 2.0" in metrics
        assert f"tidegate_memory_limit_bytes {float(10 * MIB)}" in metrics.replace(
            "1.048576e+07", "10485760.0"
        )
