"""The clients of a soak in real time: they ask over HTTP, at an even rate, and look how each run ends."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, NamedTuple

from tidegate.clock import MINUTE_MS
from tidegate.domain.session import Outcome, PolicyName
from tidegate.soak.talk import Talk
from tidegate.soak.wall.line import DEADLINE_S, LOST, Answer, Line, session_path
from tidegate.soak.wall.plan import Wall

READERS = 3
READS_S = 3.0  # that one reads a stream before it hangs up
RESTS_S = 0.5  # before it reads another one
LATEST = 16  # chats that readers choose from
BURST_MS = MINUTE_MS
BURST = 200  # talks
FIRST_TEXT = f"/echo {'so that memory is taken once ' * 500}"
KNOWN = 10_000  # keys of conversations that may go on
STREAMED = 2  # every second nameless turn is a stream


class Firing(NamedTuple):
    """A job that is run by hand."""

    job: str


class End(NamedTuple):
    """How something that was asked ended: an outcome, or that it was kept out; and why, if that is known."""

    outcome: str
    why: str = ""


class Load:
    """What has been asked so far."""

    def __init__(self, line: Line, plan: Wall) -> None:
        #: sessions that came by a message, by the kinds that are told apart over HTTP
        self.born: Counter[PolicyName] = Counter()
        self.most_a_wave: Counter[PolicyName] = Counter()
        #: runs that ended otherwise than they must, and what the first one was
        self.astray = 0
        self.first_astray = ""
        #: by shape; a closed set
        self.shapes: Counter[str] = Counter()
        self._line = line
        self._plan = plan
        self._started_s = time.monotonic()
        self._chats: deque[str] = deque(maxlen=LATEST)
        self._known: dict[str, None] = {}
        self._before: Counter[PolicyName] = Counter()

    @property
    def passed_ms(self) -> int:
        """How long it has gone on."""
        return round(1_000 * (time.monotonic() - self._started_s))

    async def open(self) -> None:
        """Let the gateway import what it does with the first prompts, and find its size; time counts from then on.

        Before a run that is long enough for memory to be judged, all clients ask at once, as they may later.
        """
        names = list(self._plan.config.agents)
        for name in names:
            await self._carry_out(Talk("first", "/echo ready", name))
        if self._plan.wall_ms >= BURST_MS:
            crowd: Iterator[tuple[float, Talk | Firing]] = iter(
                [(0.0, Talk("first", FIRST_TEXT, names[at % len(names)])) for at in range(BURST)]
            )
            async with asyncio.TaskGroup() as clients:
                for _ in range(self._plan.clients):
                    clients.create_task(self._client(crowd))
        self._started_s = time.monotonic()

    async def run(self) -> None:
        """Ask until the wall time is over, and wait for the last answers."""
        coming = self._coming()
        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(self._read()) for _ in range(READERS)]
            async with asyncio.TaskGroup() as clients:
                for _ in range(self._plan.clients):
                    clients.create_task(self._client(coming))
            for reader in readers:
                reader.cancel()

    def _coming(self) -> Iterator[tuple[float, Talk | Firing]]:
        """Yield what is to be asked, each with its moment in ms; on a slow machine the rest does not come."""
        plan, jobs, wave = self._plan, self._plan.asked_for, 0
        while True:
            asked: list[Talk | Firing] = [*plan.talks(wave)]
            if jobs:
                asked.insert(len(asked) // 2, Firing(jobs[wave % len(jobs)]))
            for at, one in enumerate(asked):
                moment = (wave + at / len(asked)) * plan.gap_ms
                if max(moment, self.passed_ms) >= plan.wall_ms:
                    return
                yield moment, one
            self._turn()
            wave += 1

    def _turn(self) -> None:
        for name, count in self.born.items():
            self.most_a_wave[name] = max(self.most_a_wave[name], count - self._before[name])
        self._before = self.born.copy()

    async def _client(self, coming: Iterator[tuple[float, Talk | Firing]]) -> None:
        for moment, asked in coming:
            await asyncio.sleep(max(0.0, moment - self.passed_ms) / 1_000)
            await self._carry_out(asked)

    async def _carry_out(self, asked: Talk | Firing) -> None:
        """Ask for one thing; that there is no answer is counted, and goes on."""
        try:
            if isinstance(asked, Firing):
                await self._fire(asked)
            else:
                self._take(asked, await self._ask(asked))
        except (*LOST, TimeoutError) as error:
            self._count(asked.job if isinstance(asked, Firing) else asked.shape, f"{error!r}")

    async def _fire(self, firing: Firing) -> None:
        """Run a job by hand; that it still runs is no fault."""
        answer = await self._line.ask("POST", f"/api/jobs/{firing.job}/run")
        match answer.status:
            case 200:
                self.shapes["firing"] += 1
            case 409 | 429:
                self.shapes["firing_kept_out"] += 1
            case status:
                self._count(firing.job, f"{status} {answer.error}")

    def _take(self, said: Talk, end: End) -> None:
        if end.outcome == "kept_out" and said.may_be_refused:
            self.shapes["kept_out"] += 1
            return
        if said.key is None or said.key not in self._known:
            self.born[PolicyName.CHAT if said.kind is PolicyName.CHAT else PolicyName.API] += 1
        self._note(said)
        self.shapes[said.shape] += 1
        must = "ok" if said.outcome is Outcome.OK else "not ok"
        if end.outcome not in {said.outcome.value, must}:
            self._count(said.shape, f"{end.outcome} {end.why}".strip())

    def _note(self, said: Talk) -> None:
        """Remember which conversations there are, as many as may go on."""
        if said.key is not None:
            self._known[said.key] = None
            if len(self._known) > KNOWN:
                del self._known[next(iter(self._known))]

    def _count(self, shape: str, why: str) -> None:
        self.astray += 1
        self.first_astray = self.first_astray or f"{shape}: {why}"

    async def _ask(self, said: Talk) -> End:
        if said.kind is PolicyName.CHAT:
            return await self._chat(said)
        body = {"model": said.agent, "messages": [{"role": "user", "content": said.text}]}
        headers = {"X-Tidegate-Session": said.key} if said.key else {}
        if said.is_cancelled or (not said.key and self.shapes[said.shape] % STREAMED):
            return await self._stream(said, body | {"stream": True})
        return _end(await self._line.ask("POST", "/v1/chat/completions", body, headers))

    async def _chat(self, said: Talk) -> End:
        body = {"text": said.text, "agent": said.agent}
        key = said.key or ""  # a chat has one
        answer = await self._line.ask("POST", session_path(key, "messages?wait=1"), body)
        self._chats.append(key)
        if answer.error:
            return _end(answer)
        return End("ok" if answer.json.get("reply") else "not ok", f"answered {answer.status}")

    async def _stream(self, said: Talk, body: dict[str, object]) -> End:
        """Read an answer as it comes; take the message back after the first piece if that is the idea."""
        end = End("ok")
        async with asyncio.timeout(DEADLINE_S), aclosing(self._pieces(body)) as pieces:
            async for piece in pieces:
                if error := piece.get("error"):
                    end = _refused(error.get("code") or error.get("type"), error.get("message", ""))
                elif said.is_cancelled and end.outcome == "ok":
                    end = End("not ok")
                    run = piece["id"].removeprefix("chatcmpl-")
                    await self._line.ask("POST", f"/api/runs/{run}/cancel")
        return end

    def _pieces(self, body: dict[str, object]) -> AsyncGenerator[Any, None]:
        return self._line.events("POST", "/v1/chat/completions", body)

    async def _read(self) -> None:
        """Follow one chat after the other for a while, as pages do that are opened and closed."""
        while True:
            await asyncio.sleep(RESTS_S)
            if not self._chats:
                continue
            path = session_path(self._chats[-1], "events")
            try:
                async with asyncio.timeout(READS_S), aclosing(self._line.events("GET", path)) as events:
                    async for _ in events:
                        self.shapes["event_read"] += 1
            except (*LOST, TimeoutError):
                self.shapes["stream_left"] += 1


def _end(answer: Answer) -> End:
    if answer.status >= 400:
        return _refused(answer.error, f"{answer.json.get('error', {}).get('message', answer.status)}")
    return End("ok")


def _refused(code: str, why: str) -> End:
    match code:
        case "no_answer" | "over_budget" | "model_failed" | "model_busy" | "model_limited" | "model_cut":
            return End("not ok", why)
        case "queue_full" | "session_busy" | "max_running" | "limit_reached":
            return End("kept_out", why)
        case _:
            return End(f"refused ({code})", why)
